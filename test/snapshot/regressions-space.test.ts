/** What went wrong once when there was no room: who ends, what a refused write leaves, what the summary says. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SnapError } from '../../core/base/errors.ts';
import { ACTIVE_LOCK_OFFSET_BYTES } from '../../core/io/lock-offsets.ts';
import { collectSnapshots } from '../../core/snapshot/collect.ts';
import { listImage } from '../../core/snapshot/list.ts';
import { PACE } from '../../core/store/append.ts';
import { MemoryHost } from '../sim/memory-host.ts';
import type { Operation } from '../sim/session.ts';
import { systemError } from '../sim/system-error.ts';
import { testContext } from '../support/context.ts';
import { create, IMAGE, limitOf, makeImage, noise, rawImage, read, write } from '../support/image.ts';

const SIDECAR = `${IMAGE}.snap`;
const CLUSTER_BYTES = 4096;

async function storeOf(host: MemoryHost, name: string): Promise<string> {
  const found = (await host.files.list(SIDECAR)).find((each) => each.startsWith(`${name}-`));
  assert.ok(found !== undefined, `no store of ${name}`);
  return `${SIDECAR}/${found}`;
}

async function imageOf(sizeBytes: number): Promise<{ host: MemoryHost; frozen: Buffer }> {
  const host = new MemoryHost();
  const frozen = noise(1, sizeBytes);
  await makeImage(host, frozen);
  return { host, frozen };
}

for (const onFull of ['invalidate', 'refuse'] as const) {
  test(`full disk, and only the newest lacks the cluster: the older one, which says ${onFull}, stays`, async () => {
    const { host, frozen } = await imageOf(64 * CLUSTER_BYTES);
    await create(testContext(host), 'a', { clusterSizeBytes: CLUSTER_BYTES, onFull });
    await write(testContext(host), 0, noise(2, CLUSTER_BYTES));
    await create(testContext(host), 'b');
    const store = await storeOf(host, 'b');
    const session = host.session();
    session.files.onOperation = ({ kind, path, lengthBytes = 0 }) => {
      if (kind === 'write' && path === store && lengthBytes >= CLUSTER_BYTES) throw systemError('ENOSPC');
    };
    const data = noise(3, CLUSTER_BYTES);
    const { failure } = await write(testContext(session), 0, data);
    assert.equal(failure, undefined);
    assert.deepEqual((await rawImage(host)).subarray(0, CLUSTER_BYTES), data);
    await assert.rejects(read(testContext(host), 'b'), { code: 'invalid' });
    assert.deepEqual(await read(testContext(host), 'a'), frozen);
  });
}

test('a write refused on a full disk gives back what it took, however often it is tried', async () => {
  const sizeBytes = 8 << 20;
  const { host, frozen } = await imageOf(sizeBytes);
  await create(testContext(host), 'a', { clusterSizeBytes: 65_536, onFull: 'refuse' });
  const store = await storeOf(host, 'a');
  const allocated = async () => (await host.files.stat(store))?.allocatedBytes ?? 0;
  const before = await allocated();
  const { budget } = host.files.volume;
  budget.limitPages = budget.usedPages + (4 << 20) / 4096;
  for (let attempt = 0; attempt < 3; attempt += 1) {
    const { failure, summary } = await write(testContext(host), 0, noise(2, sizeBytes));
    assert.equal(failure?.code, 'no-space');
    assert.equal(summary.bytesWritten, 0);
    // Tables and the bitmap may stay.
    assert.ok((await allocated()) - before <= 4 * 4096, `${await allocated()} bytes after ${attempt}`);
  }
  assert.ok((await read(testContext(host), 'a')).equals(frozen));
  budget.limitPages = undefined;
  assert.equal((await write(testContext(host), 0, noise(2, sizeBytes))).failure, undefined);
  assert.ok((await read(testContext(host), 'a')).equals(frozen));
});

test('the summary names no snapshot that received copies and then ended', async () => {
  const { batchBytes } = PACE;
  const { host } = await imageOf(3 * batchBytes);
  await create(testContext(host), 'a', { clusterSizeBytes: 65_536, maxSizeBytes: batchBytes + (1 << 20) });
  const context = testContext(host);
  const { failure, summary } = await write(context, 0, noise(2, 3 * batchBytes));
  assert.equal(failure, undefined);
  assert.equal(summary.clustersCopied, batchBytes / 65_536);
  assert.equal(summary.snapshot, undefined);
  assert.equal(context.warnings.filter(({ loss }) => loss).length, 1);
  await assert.rejects(read(testContext(host), 'a'), { code: 'invalid' });
});

test("an older snapshot's limit that refuses: nobody ends", async () => {
  const { host, frozen } = await imageOf(8 * CLUSTER_BYTES);
  const limit = { clusterSizeBytes: CLUSTER_BYTES, maxSizeBytes: limitOf(1, CLUSTER_BYTES) };
  await create(testContext(host), 'a', { ...limit, onFull: 'refuse' });
  await create(testContext(host), 'b', { ...limit, onFull: 'invalidate' });
  assert.equal((await write(testContext(host), 0, noise(2, 10))).failure, undefined);
  const before = await rawImage(host);
  const context = testContext(host);
  const { failure } = await write(context, 3 * CLUSTER_BYTES, noise(3, 10));
  assert.equal(failure?.code, 'no-space');
  assert.equal(failure?.snapshot, `${IMAGE}@a`);
  assert.deepEqual(context.warnings, []);
  assert.deepEqual(await rawImage(host), before);
  const { snapshots } = await listImage(testContext(host), IMAGE);
  assert.deepEqual(
    snapshots.map(({ state }) => state),
    ['idle', 'active'],
  );
  for (const name of ['a', 'b']) assert.deepEqual(await read(testContext(host), name), frozen);
});

test('somebody takes the lock right before the end, and there is no time to wait: summary and flush are there', async () => {
  const { host } = await imageOf(64 * CLUSTER_BYTES);
  await create(testContext(host), 'a', { clusterSizeBytes: CLUSTER_BYTES });
  const other = await host.session().files.open(`${SIDECAR}/state`, 'update');
  const session = host.session();
  const seen: string[] = [];
  session.files.onOperation = ({ kind, path, offsetBytes }) => {
    if (path === IMAGE && (kind === 'write' || kind === 'syncAll')) seen.push(kind);
    if (seen.length > 0 && kind === 'unlock' && offsetBytes === ACTIVE_LOCK_OFFSET_BYTES) {
      queueMicrotask(() => other.tryLock(ACTIVE_LOCK_OFFSET_BYTES, 'exclusive'));
    }
  };
  const { failure, summary } = await write(testContext(session, { waitMs: 0 }), 0, noise(2, CLUSTER_BYTES));
  assert.equal(failure, undefined);
  assert.equal(summary.bytesWritten, CLUSTER_BYTES);
  assert.equal(summary.clustersCopied, 1);
  assert.deepEqual(seen, ['write', 'syncAll'], 'the closing flush is the one under the lock');
});

for (const onFull of ['invalidate', 'refuse'] as const) {
  test(`the disk is full at any page of a batch, ${onFull}: right or ended, never damaged`, async () => {
    for (let pages = 0; pages <= 12; pages += 1) {
      const { host, frozen } = await imageOf(8 * CLUSTER_BYTES);
      await create(testContext(host), 'a', { clusterSizeBytes: CLUSTER_BYTES, onFull });
      const { budget } = host.files.volume;
      budget.limitPages = budget.usedPages + pages;
      const { failure } = await write(testContext(host), 0, noise(2, frozen.length));
      budget.limitPages = undefined;
      assert.ok(failure === undefined || failure.code === 'no-space', `${pages} pages: ${failure?.message}`);
      const found = await read(testContext(host), 'a').catch((error: SnapError) => error.code);
      const mayEnd = onFull === 'invalidate' && found === 'invalid';
      assert.ok(mayEnd || (Buffer.isBuffer(found) && found.equals(frozen)), `${pages} pages: ${found}`);
    }
  });
}

/** By the simulated clock. */
const WAIT_MS = 10_000;

/** Another process takes the lock, and keeps it. */
async function lockState(host: MemoryHost): Promise<void> {
  const state = await host.session().files.open(`${SIDECAR}/state`, 'update');
  assert.ok(state.tryLock(ACTIVE_LOCK_OFFSET_BYTES, 'exclusive'));
}

/** What the collector of `a`, `b` and `c` says is gone, where `fail` makes it fail. */
async function collectWithFailure(
  fail: (operation: Operation, host: MemoryHost) => void,
): Promise<{ readonly told: string[]; readonly left: string[] }> {
  const { host, frozen } = await imageOf(8 * CLUSTER_BYTES);
  for (const name of ['a', 'b', 'c', 'd']) {
    await create(testContext(host), name, { clusterSizeBytes: CLUSTER_BYTES });
  }
  const session = host.session();
  session.files.onOperation = (operation) => fail(operation, host);
  const request = { rules: { keepLast: 1 }, dryRun: false };
  let message = '';
  const context = testContext(session, { waitMs: WAIT_MS });
  const startMs = host.monotonicMs();
  await assert.rejects(collectSnapshots(context, IMAGE, request), (error: SnapError) => {
    message = error.message;
    return ['no-space', 'io', 'busy'].includes(error.code);
  });
  // Waiting in vain is enough once.
  assert.ok(host.monotonicMs() - startMs < 1.5 * WAIT_MS, `${host.monotonicMs() - startMs} ms`);
  host.reboot();
  const left = (await listImage(testContext(host), IMAGE)).snapshots.map(({ name }) => name);
  for (const name of left) assert.deepEqual(await read(testContext(host), name), frozen);
  const told = message.split('gone by then: ')[1]?.split(', ') ?? [];
  return { told: told.map((each) => each.replace(`${IMAGE}@`, '')), left };
}

test('a collection that fails says what is gone by then, wherever it fails', async () => {
  for (let most = 0; most < 3; most += 1) {
    let commits = 0;
    const { told, left } = await collectWithFailure(({ kind, path }) => {
      if (kind !== 'rename' || !path.startsWith(`${SIDECAR}/catalog.json`)) return;
      commits += 1;
      if (commits > most) throw systemError('ENOSPC');
    });
    assert.deepEqual([...told, ...left], ['a', 'b', 'c', 'd']);
    assert.equal(told.length, most);
  }
  for (const name of ['a', 'b', 'c']) {
    const afterCommit = await collectWithFailure(({ kind, path }) => {
      if (kind === 'remove' && path.startsWith(`${SIDECAR}/${name}-`)) throw systemError('EIO');
    });
    assert.deepEqual([...afterCommit.told, ...afterCommit.left], ['a', 'b', 'c', 'd']);
    assert.equal(afterCommit.told.at(-1), name);
  }
  let isDone = false;
  const afterwards = await collectWithFailure(({ kind, path }) => {
    if (kind === 'remove' && path.startsWith(`${SIDECAR}/c-`)) isDone = true;
    else if (isDone && kind === 'list') throw systemError('EIO');
  });
  assert.deepEqual(afterwards.told, ['a', 'b', 'c']);
  let isLocked = false;
  const inVain = await collectWithFailure(({ kind, path, offsetBytes }, host) => {
    if (kind === 'remove' && path.startsWith(`${SIDECAR}/b-`)) isLocked = true;
    else if (isLocked && kind === 'unlock' && offsetBytes === ACTIVE_LOCK_OFFSET_BYTES) {
      isLocked = false;
      queueMicrotask(() => void lockState(host));
    }
  });
  assert.deepEqual(inVain, { told: ['a', 'b'], left: ['c', 'd'] });
});
