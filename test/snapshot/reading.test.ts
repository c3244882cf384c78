/** Reads of several runs, with a slow consumer and with others at work between the runs. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CollectRequest, collectSnapshots } from '../../core/snapshot/collect.ts';
import { listImage } from '../../core/snapshot/list.ts';
import { readSnapshot } from '../../core/snapshot/read.ts';
import { removeDelivered } from '../../core/snapshot/then-delete.ts';
import { MemoryHost } from '../sim/memory-host.ts';
import { type TestContext, testContext } from '../support/context.ts';
import {
  CollectingSink,
  create,
  IMAGE,
  makeImage,
  noise,
  rawImage,
  read,
  withFile,
  write,
} from '../support/image.ts';

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

interface Way {
  readonly how: string;
  readonly remove: (context: TestContext, name: string) => Promise<unknown>;
}

/** Every way in which a snapshot is removed. */
const WAYS: readonly Way[] = [
  { how: 'by name', remove: (context, name) => collect(context, { names: [name] }) },
  { how: 'all by name', remove: (context) => collect(context, { names: ['a', 'b', 'c'] }) },
  { how: 'by a rule', remove: (context) => collect(context, { rules: { keepLast: 1 } }) },
  { how: 'for its size', remove: (context) => collect(context, { maxTotalBytes: 1 }) },
  {
    how: 'by another reader that was the last',
    remove: async (context, name) => {
      const sink = new CollectingSink();
      const { uuid = '' } = await readSnapshot(context, { image: IMAGE, name }, options, sink);
      return removeDelivered(context, IMAGE, { uuid, name });
    },
  },
];

function collect(context: TestContext, request: Omit<CollectRequest, 'dryRun'>): Promise<unknown> {
  return collectSnapshots(context, IMAGE, { ...request, dryRun: false });
}

for (const { how, remove } of WAYS) {
  test(`a reader is not disturbed by a removal ${how}, nor by what follows it`, async () => {
    for (const name of ['a', 'b', 'c']) {
      const { host, context, frozen } = await makeScene();
      const contents = new Map([['a', frozen]]);
      for (const [index, next] of ['b', 'c'].entries()) {
        for (let at = index * CLUSTER_BYTES; at < SIZE_BYTES; at += 3 * CLUSTER_BYTES) {
          await write(context, at, noise(10 + index, Math.min(CLUSTER_BYTES, SIZE_BYTES - at)));
        }
        await create(context, next);
        contents.set(next, await rawImage(host));
      }
      await write(context, 2 * CLUSTER_BYTES, noise(20, CLUSTER_BYTES));
      const between: ((other: TestContext) => Promise<unknown>)[] = [
        (other) => remove(other, name),
        (other) => write(other, 0, noise(21, SIZE_BYTES)),
        (other) => collect(other, {}),
        async (other) => {
          await create(other, 'later');
          await write(other, 0, noise(22, SIZE_BYTES));
        },
      ];
      const sink = new CollectingSink(async (count) => {
        await between[count - 1]?.(testContext(host.session()));
      });
      await readSnapshot(context, { image: IMAGE, name }, options, sink);
      assert.ok(sink.bytes().equals(contents.get(name) ?? Buffer.alloc(0)), name);
      await collect(context, {});
      const { snapshots } = await listImage(context, IMAGE);
      const left = snapshots.map((each) => each.name);
      const stores = (await host.files.list(`${IMAGE}.snap`)).filter((each) => each.endsWith('.cow'));
      assert.equal(stores.length, left.length, `${name}: what was read is reclaimed`);
      for (const other of left.filter((each) => each !== 'later')) {
        assert.ok((await read(context, other)).equals(contents.get(other) ?? Buffer.alloc(0)), other);
      }
    }
  });
}
