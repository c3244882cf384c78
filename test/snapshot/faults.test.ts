/** A disk that is full, or fails: nobody reads wrong bytes, whoever cannot be kept is marked before it is lost. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryHost } from '../sim/memory-host.ts';
import type { Operation } from '../sim/session.ts';
import { systemError } from '../sim/system-error.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { create, makeImage, noise, rawImage, read, write } from '../support/image.ts';

const CLUSTER_BYTES = 4096;

interface Scene {
  readonly host: MemoryHost;
  readonly context: TestContext;
  readonly frozen: Buffer;
}

/** An image of eight clusters. */
async function makeScene(): Promise<Scene> {
  const host = new MemoryHost();
  const frozen = noise(1, 8 * CLUSTER_BYTES);
  await makeImage(host, frozen);
  return { host, context: testContext(host), frozen };
}

function isStore({ path }: Operation): boolean {
  return path.endsWith('.cow');
}

/** New slots need space; flush records and tables have theirs. */
function needsSpace(operation: Operation): boolean {
  return isStore(operation) && (operation.lengthBytes ?? 0) >= CLUSTER_BYTES;
}

/** Lets `work` meet a full disk wherever `where` says. */
async function whileFull<T>(
  host: MemoryHost,
  where: (operation: Operation) => boolean,
  work: () => Promise<T>,
) {
  host.files.onOperation = (operation) => {
    if ((operation.kind === 'write' || operation.kind === 'create') && where(operation)) {
      throw systemError('ENOSPC');
    }
  };
  try {
    return await work();
  } finally {
    host.files.onOperation = undefined;
  }
}

const cluster = { clusterSizeBytes: CLUSTER_BYTES };

test('full disk, invalidate: the write goes on; whose chain lacks the cluster ends, whose has it stays right', async () => {
  const { host, context, frozen } = await makeScene();
  await create(context, 'a', cluster);
  await write(context, 0, noise(2, CLUSTER_BYTES));
  await create(context, 'b');
  await create(context, 'c');
  const data = noise(3, CLUSTER_BYTES);
  const { failure } = await whileFull(host, needsSpace, () => write(context, 0, data));
  assert.equal(failure, undefined);
  assert.deepEqual((await rawImage(host)).subarray(0, CLUSTER_BYTES), data);
  assert.deepEqual(await read(context, 'a'), frozen);
  for (const name of ['b', 'c']) await assert.rejects(read(context, name), { code: 'invalid' });
  assert.deepEqual(
    context.warnings.map(({ loss }) => loss),
    [true, true],
  );
});

test('full disk, one refuses: nothing is written and all stay right', async () => {
  const { host, context, frozen } = await makeScene();
  await create(context, 'a', { ...cluster, onFull: 'refuse' });
  await create(context, 'b');
  const { failure, summary } = await whileFull(host, needsSpace, () => write(context, 0, noise(2, 100)));
  assert.equal(failure?.code, 'no-space');
  assert.equal(failure?.snapshot, '/disk.img@a');
  assert.equal(summary.bytesWritten, 0);
  assert.deepEqual(await rawImage(host), frozen);
  for (const name of ['a', 'b']) assert.deepEqual(await read(context, name), frozen);
  assert.deepEqual(context.warnings, []);
  assert.equal((await write(context, 0, noise(2, 100))).failure, undefined);
  for (const name of ['a', 'b']) assert.deepEqual(await read(context, name), frozen);
});

test('a disk so full that no mark can be made durable: the write is refused', async () => {
  const { host, context, frozen } = await makeScene();
  await create(context, 'a', cluster);
  const grows = (operation: Operation) => needsSpace(operation) || operation.path.includes('catalog');
  const { failure } = await whileFull(host, grows, () => write(context, 0, noise(2, 100)));
  assert.equal(failure?.code, 'no-space');
  assert.deepEqual(await rawImage(host), frozen);
  assert.deepEqual(await read(context, 'a'), frozen);
  assert.equal((await write(context, 0, noise(2, 100))).failure, undefined);
  assert.deepEqual(await read(context, 'a'), frozen);
});

test('a disk without a free page: the reserve lets the mark be committed', async () => {
  for (const onFull of ['invalidate', 'refuse'] as const) {
    const { host, context, frozen } = await makeScene();
    await create(context, 'a', { ...cluster, onFull });
    const { budget } = host.files.volume;
    budget.limitPages = budget.usedPages;
    const { failure } = await write(context, 0, noise(2, 2 * CLUSTER_BYTES));
    budget.limitPages = undefined;
    if (onFull === 'refuse') {
      assert.equal(failure?.code, 'no-space');
      assert.deepEqual(await rawImage(host), frozen);
      assert.deepEqual(await read(context, 'a'), frozen);
    } else {
      assert.equal(failure, undefined);
      assert.deepEqual((await rawImage(host)).subarray(0, 2 * CLUSTER_BYTES), noise(2, 2 * CLUSTER_BYTES));
      await assert.rejects(read(context, 'a'), { code: 'invalid' });
    }
  }
});

test('a flush that fails once: the batch is not applied, snapshots are right, the next write works', async () => {
  const { host, context, frozen } = await makeScene();
  await create(context, 'a', cluster);
  await write(context, 0, noise(2, 10));
  const before = await rawImage(host);
  let fails = 1;
  host.files.onOperation = (operation) => {
    if (operation.kind !== 'syncData' || !isStore(operation) || fails === 0) return;
    fails -= 1;
    throw systemError('EIO');
  };
  const { failure, summary } = await write(context, CLUSTER_BYTES, noise(3, 3 * CLUSTER_BYTES));
  host.files.onOperation = undefined;
  assert.equal(fails, 0);
  assert.equal(failure?.code, 'io');
  assert.equal(summary.bytesWritten, 0);
  assert.deepEqual(await rawImage(host), before);
  assert.deepEqual(await read(context, 'a'), frozen);
  const again = await write(context, CLUSTER_BYTES, noise(3, 3 * CLUSTER_BYTES));
  assert.equal(again.failure, undefined);
  assert.equal(again.summary.clustersCopied, 3, 'what a failed flush left behind is not believed');
  assert.deepEqual(await read(context, 'a'), frozen);
});

test('a write to the image that fails: what the snapshot has was copied before', async () => {
  const { host, context, frozen } = await makeScene();
  await create(context, 'a', cluster);
  host.files.onOperation = ({ kind, path }) => {
    if (kind === 'write' && path === '/disk.img') throw systemError('EIO');
  };
  const { failure, summary } = await write(context, 0, noise(2, 5000));
  host.files.onOperation = undefined;
  assert.equal(failure?.code, 'io');
  assert.equal(summary.bytesWritten, 0);
  assert.deepEqual(await read(context, 'a'), frozen);
  assert.equal((await write(context, 0, noise(2, 5000))).summary.clustersCopied, 0);
  assert.deepEqual(await read(context, 'a'), frozen);
  assert.deepEqual(context.warnings, []);
});
