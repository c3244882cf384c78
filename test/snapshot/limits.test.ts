/** A snapshot's limit: who ends or refuses when it is reached, on whose account copies go, and who stays right. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { collectSnapshots } from '../../core/snapshot/collect.ts';
import { readSnapshot } from '../../core/snapshot/read.ts';
import type { WriteOptions } from '../../core/snapshot/write.ts';
import { MemoryHost } from '../sim/memory-host.ts';
import { type TestContext, testContext } from '../support/context.ts';
import {
  CollectingSink,
  create,
  IMAGE,
  limitOf,
  makeImage,
  noise,
  rawImage,
  read,
  write,
} from '../support/image.ts';

const CLUSTER_BYTES = 4096;
const COUNT = 8;

interface Scene {
  readonly context: TestContext;
  readonly host: MemoryHost;
  /** The image as it is made. */
  readonly frozen: Buffer;
  limited(name: string, clusters: number, onFull: 'invalidate' | 'refuse'): Promise<unknown>;
  /** Writes a byte into a cluster; the code of the failure, if any. */
  touch(clusterIndex: number): Promise<string | undefined>;
}

const losses = (context: TestContext) =>
  context.warnings.filter(({ loss }) => loss).map(({ message }) => message);
const notices = (context: TestContext) =>
  context.warnings.filter(({ loss }) => !loss).map(({ message }) => message);

async function makeScene(): Promise<Scene> {
  const host = new MemoryHost();
  const context = testContext(host);
  const frozen = noise(1, COUNT * CLUSTER_BYTES);
  // The last one is zero: it costs nothing.
  frozen.fill(0, (COUNT - 1) * CLUSTER_BYTES);
  await makeImage(host, frozen);
  let seed = 1;
  return {
    context,
    host,
    frozen,
    limited: (name, clusters, onFull) =>
      create(context, name, {
        clusterSizeBytes: CLUSTER_BYTES,
        maxSizeBytes: limitOf(clusters, CLUSTER_BYTES),
        onFull,
      }),
    touch: async (clusterIndex) => {
      seed += 1;
      const { failure } = await write(context, clusterIndex * CLUSTER_BYTES + 5, noise(seed, 10));
      return failure?.code;
    },
  };
}

test('refuse: nothing is written, the snapshot stays, and what it has already may be written again', async () => {
  const { context, host, frozen, limited, touch } = await makeScene();
  await limited('a', 2, 'refuse');
  assert.equal(await touch(0), undefined);
  assert.equal(await touch(1), undefined);
  const before = await rawImage(host);
  const { failure, summary } = await write(context, 0, noise(9, 3 * CLUSTER_BYTES));
  assert.equal(failure?.code, 'no-space');
  assert.equal(summary.bytesWritten, 0);
  assert.ok((await rawImage(host)).equals(before), 'nothing of a refused write is in the image');
  assert.deepEqual(await read(context, 'a'), frozen);
  assert.equal(await touch(0), undefined);
  assert.equal(await touch(COUNT - 1), undefined, 'a zero cluster takes no space');
  assert.equal(await touch(5), 'no-space');
  assert.deepEqual(await read(context, 'a'), frozen);
  assert.deepEqual(losses(context), []);
});

test('invalidate: the write goes on, the snapshot ends, and the loss is told', async () => {
  const { context, host, limited, touch } = await makeScene();
  await limited('a', 2, 'invalidate');
  await touch(0);
  await touch(1);
  assert.deepEqual(losses(context), []);
  const { failure, summary } = await write(context, 2 * CLUSTER_BYTES, noise(9, 100));
  assert.equal(failure, undefined);
  assert.equal(summary.snapshot, undefined);
  assert.deepEqual((await rawImage(host)).subarray(2 * CLUSTER_BYTES).subarray(0, 100), noise(9, 100));
  await assert.rejects(read(context, 'a'), { code: 'invalid' });
  assert.deepEqual(
    losses(context).map((message) => message.includes('disk.img@a: ended at cluster 2: its limit')),
    [true],
  );
});

test('an older snapshot stays right after the newest has ended, and copying goes on for it', async () => {
  const { context, frozen, limited, touch } = await makeScene();
  await create(context, 'a', { clusterSizeBytes: CLUSTER_BYTES });
  await limited('b', 1, 'invalidate');
  for (const clusterIndex of [0, 1, 2, 3]) assert.equal(await touch(clusterIndex), undefined);
  await assert.rejects(read(context, 'b'), { code: 'invalid' });
  for (const clusterIndex of [0, 1, 4, 5, 7]) assert.equal(await touch(clusterIndex), undefined);
  assert.deepEqual(await read(context, 'a'), frozen);
});

test('what is copied after an invalid snapshot counts for the next older one', async () => {
  const { context, frozen, limited, touch } = await makeScene();
  await limited('a', 3, 'refuse');
  await limited('b', 1, 'invalidate');
  assert.equal(await touch(0), undefined);
  assert.equal(await touch(1), undefined);
  await assert.rejects(read(context, 'b'), { code: 'invalid' });
  assert.equal(await touch(2), undefined);
  assert.equal(await touch(3), 'no-space', 'three copies were made on its account');
  assert.deepEqual(await read(context, 'a'), frozen);
});

test("an older snapshot's own copies count beside those made on its account later", async () => {
  const { context, frozen, limited, touch } = await makeScene();
  await limited('a', 3, 'refuse');
  await touch(0);
  await limited('b', 1, 'invalidate');
  await touch(1);
  assert.equal(await touch(2), undefined, 'b has ended: one copy of its own and two on its account');
  assert.equal(await touch(3), 'no-space');
  assert.deepEqual(await read(context, 'a'), frozen);
});

test('what is copied after a hidden snapshot counts for the next older one', async () => {
  const { context, frozen, limited, touch } = await makeScene();
  await limited('a', 2, 'refuse');
  await create(context, 'b');
  const outcomes: (string | undefined)[] = [];
  const sink = new CollectingSink(async () => {
    await collectSnapshots(context, IMAGE, { names: ['b'], dryRun: false });
    for (const clusterIndex of [0, 1, 2]) outcomes.push(await touch(clusterIndex));
  });
  const options = { offsetBytes: 0, allowModifiedOrigin: false, digest: false };
  await readSnapshot(context, { image: IMAGE, name: 'b' }, options, sink);
  assert.deepEqual(outcomes, [undefined, undefined, 'no-space']);
  assert.deepEqual(sink.bytes(), frozen);
  assert.deepEqual(await read(context, 'a'), frozen);
});

test('what was handed over from a removed snapshot counts against no limit', async () => {
  const { context, frozen, limited, touch } = await makeScene();
  await limited('a', 1, 'refuse');
  await create(context, 'b');
  for (const clusterIndex of [0, 1, 2]) await touch(clusterIndex);
  await collectSnapshots(context, IMAGE, { names: ['b'], dryRun: false });
  assert.equal(await touch(3), undefined);
  assert.equal(await touch(4), 'no-space');
  assert.deepEqual(await read(context, 'a'), frozen);
});

test('an older snapshot that has the cluster already neither ends nor refuses when the newest ends', async () => {
  for (const onFull of ['invalidate', 'refuse'] as const) {
    const { context, frozen, limited, touch } = await makeScene();
    await limited('a', 2, onFull);
    await touch(0);
    await limited('b', 1, 'invalidate');
    await touch(1);
    assert.equal(await touch(0), undefined, 'only b lacks the cluster');
    await assert.rejects(read(context, 'b'), { code: 'invalid' });
    assert.deepEqual(await read(context, 'a'), frozen);
  }
});

test('less than a tenth of a limit left: told once a command, by whoever copies, and not before', async () => {
  const host = new MemoryHost();
  const frozen = noise(1, 20 * CLUSTER_BYTES);
  await makeImage(host, frozen);
  const limit = { clusterSizeBytes: CLUSTER_BYTES, maxSizeBytes: 40_960 };
  await create(testContext(host), 'a', { ...limit, onFull: 'refuse' });
  const told = async (cluster: number, count: number, options: Partial<WriteOptions> = {}) => {
    const context = testContext(host);
    await write(context, cluster * CLUSTER_BYTES, noise(2, count * CLUSTER_BYTES), options);
    assert.deepEqual(losses(context), []);
    return notices(context);
  };
  // A tenth is left then, not less.
  assert.deepEqual(await told(0, 9), []);
  assert.deepEqual(await told(9, 1), [
    '/disk.img@a: 0 left of its limit of 40K, past which writes are refused',
  ]);
  assert.deepEqual(await told(0, 10), [], 'what is copied already takes nothing');
  assert.deepEqual(await told(12, 1), [], 'nor does what was refused');

  await create(testContext(host), 'b', { ...limit, maxSizeBytes: limit.maxSizeBytes + 1 });
  const pace = { batchBytes: CLUSTER_BYTES, flushAheadBytes: CLUSTER_BYTES };
  assert.deepEqual(await told(0, 10, { pace }), [
    '/disk.img@b: 1 left of its limit of 41K, past which it ends',
  ]);
  assert.deepEqual(await read(testContext(host), 'a'), frozen);
});

test('what is copied on the account of an older one uses up its limit, and is told of that one', async () => {
  const { context, limited, touch } = await makeScene();
  await limited('a', 2, 'invalidate');
  await limited('b', 1, 'invalidate');
  await touch(0);
  await touch(1);
  assert.deepEqual(losses(context).length, 1);
  await touch(2);
  assert.deepEqual(notices(context), [
    '/disk.img@b: 32 left of its limit of 4.1K, past which it ends',
    '/disk.img@a: 32 left of its limit of 8.1K, past which it ends',
  ]);
});
