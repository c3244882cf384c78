/** A long write from a slow source, with others at work between its batches: nothing cached may be believed blindly. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { collectSnapshots } from '../../core/snapshot/collect.ts';
import { writeImage } from '../../core/snapshot/write.ts';
import { PACE } from '../../core/store/append.ts';
import { MemoryHost } from '../sim/memory-host.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { create, IMAGE, makeImage, noise, rawImage, read, sourceOf, write } from '../support/image.ts';

const CLUSTER_BYTES = 65_536;
const BATCH_BYTES = PACE.batchBytes;
const SIZE_BYTES = 2 * BATCH_BYTES;
/** The second batch ends here, in the middle of a byte of the copied bitmap. */
const END_BYTES = SIZE_BYTES - 4 * CLUSTER_BYTES;

interface Interlude {
  readonly frozen: Buffer;
  /** What the image held between the two batches. */
  readonly between: Buffer;
  readonly context: TestContext;
}

/** Writes two batches over an image with a snapshot `a`, and lets another process work between the two. */
async function writeWhile(work: (other: TestContext) => Promise<unknown>): Promise<Interlude> {
  const host = new MemoryHost();
  const frozen = noise(1, SIZE_BYTES);
  await makeImage(host, frozen);
  await create(testContext(host), 'a', { clusterSizeBytes: CLUSTER_BYTES });
  const data = noise(2, END_BYTES);
  const source = sourceOf(data, 1 << 20);
  let given = 0;
  const seen: Buffer[] = [];
  const slow = {
    read: async (target: Buffer) => {
      if (given >= BATCH_BYTES && seen.length === 0) {
        await work(testContext(host.session()));
        seen.push(await rawImage(host));
      }
      const got = await source.read(target);
      given += got;
      return got;
    },
  };
  const options = { offsetBytes: 0, extend: false, delta: false, sync: true };
  const context = testContext(host.session());
  const { failure } = await writeImage(context, IMAGE, options, slow);
  assert.equal(failure, undefined);
  const image = await rawImage(host);
  assert.ok(image.subarray(0, END_BYTES).equals(data));
  const [between] = seen;
  assert.ok(between !== undefined, 'there was no second batch');
  assert.ok(between.subarray(0, BATCH_BYTES).equals(data.subarray(0, BATCH_BYTES)));
  return { frozen, between, context };
}

test('another write between two batches: what it copied is kept', async () => {
  const lastCluster = SIZE_BYTES - CLUSTER_BYTES;
  const { frozen, context } = await writeWhile((other) => write(other, lastCluster, noise(3, 100)));
  assert.ok((await read(context, 'a')).equals(frozen));
});

test('a write between two batches to what the second one writes: it is copied once', async () => {
  const { frozen, context } = await writeWhile((other) => write(other, BATCH_BYTES, noise(3, 100)));
  assert.ok((await read(context, 'a')).equals(frozen));
});

test('a snapshot taken between two batches has the first and not the second', async () => {
  const { frozen, between, context } = await writeWhile((other) => create(other, 'b'));
  assert.ok((await read(context, 'a')).equals(frozen));
  assert.ok((await read(context, 'b')).equals(between));
});

test('the newest removed between two batches: the second is copied for the older one', async () => {
  const { frozen, context } = await writeWhile(async (other) => {
    await create(other, 'b');
    await write(other, SIZE_BYTES - CLUSTER_BYTES, noise(3, 100));
    await collectSnapshots(other, IMAGE, { names: ['b'], dryRun: false });
  });
  assert.ok((await read(context, 'a')).equals(frozen));
});

test('all removed between two batches, and one taken anew: the new one is right', async () => {
  const { between, context } = await writeWhile(async (other) => {
    await collectSnapshots(other, IMAGE, { names: ['a'], dryRun: false });
    await create(other, 'a', { clusterSizeBytes: 4096 });
  });
  assert.ok((await read(context, 'a')).equals(between));
});
