/** Reads of several runs, with a slow consumer and with others at work between the runs. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { collectSnapshots } from '../../core/snapshot/collect.ts';
import { readSnapshot } from '../../core/snapshot/read.ts';
import { MemoryHost } from '../sim/memory-host.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { CollectingSink, create, IMAGE, makeImage, noise, read, withFile, write } from '../support/image.ts';

const CLUSTER_BYTES = 65_536;
const SIZE_BYTES = 5 * (1 << 20) + 1;
const options = { offsetBytes: 0, allowModifiedOrigin: false, digest: false };

async function makeScene(): Promise<{ host: MemoryHost; context: TestContext; frozen: Buffer }> {
  const host = new MemoryHost();
  const frozen = noise(1, SIZE_BYTES);
  await makeImage(host, frozen);
  const context = testContext(host);
  await create(context, 'a', { clusterSizeBytes: CLUSTER_BYTES });
  return { host, context, frozen };
}

test('a slow consumer gets every run as it was read, though the next one is read meanwhile', async () => {
  const { host, context, frozen } = await makeScene();
  for (const name of ['a', undefined]) {
    const got: Buffer[] = [];
    const sink = {
      write: async (chunk: Buffer) => {
        await host.sleep(50);
        got.push(Buffer.from(chunk));
      },
    };
    await readSnapshot(
      context,
      name === undefined ? { image: IMAGE } : { image: IMAGE, name },
      options,
      sink,
    );
    assert.ok(got.length > 4);
    assert.ok(Buffer.concat(got).equals(frozen));
  }
});

test('everything is overwritten between the runs: the read is of the snapshot', async () => {
  const { host, context, frozen } = await makeScene();
  const sink = new CollectingSink(async (count) => {
    await write(testContext(host.session()), 0, noise(count + 1, SIZE_BYTES));
  });
  await readSnapshot(context, { image: IMAGE, name: 'a' }, options, sink);
  assert.ok(sink.bytes().equals(frozen));
});

test('a newer snapshot is removed between the runs: what it had is read where it was handed to', async () => {
  const { host, context, frozen } = await makeScene();
  await create(context, 'b');
  for (let at = 0; at < SIZE_BYTES; at += 3 * CLUSTER_BYTES) await write(context, at, noise(2, 100));
  await create(context, 'c');
  await write(context, 0, noise(3, SIZE_BYTES));
  const sink = new CollectingSink(async (count) => {
    const other = testContext(host.session());
    const name = ['b', 'c'][count - 1];
    if (name !== undefined) await collectSnapshots(other, IMAGE, { names: [name], dryRun: false });
  });
  await readSnapshot(context, { image: IMAGE, name: 'a' }, options, sink);
  assert.ok(sink.bytes().equals(frozen));
  assert.ok((await read(context, 'a')).equals(frozen));
});

test('the image is changed from outside between the runs: the read fails, and passes nothing wrong on', async () => {
  const { host, context, frozen } = await makeScene();
  const sink = new CollectingSink(async (count) => {
    if (count === 2) await withFile(host, 'update', (file) => file.write(noise(9, SIZE_BYTES), 0));
  });
  await assert.rejects(readSnapshot(context, { image: IMAGE, name: 'a' }, options, sink), {
    code: 'modified',
  });
  const got = sink.bytes();
  assert.ok(got.length > 0 && got.equals(frozen.subarray(0, got.length)));
});
