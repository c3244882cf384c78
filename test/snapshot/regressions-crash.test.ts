/** What went wrong once when a command died half-way: batch numbers, changes from outside, and marks must survive it. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readSafeU64 } from '../../core/base/bytes.ts';
import { collectSnapshots } from '../../core/snapshot/collect.ts';
import { verifySnapshots } from '../../core/snapshot/verify.ts';
import { PACE } from '../../core/store/append.ts';
import { ENTRY, FLUSH_RECORD, regions } from '../../core/store/layout.ts';
import { decodeState, type State } from '../../core/store/state.ts';
import { MemoryHost } from '../sim/memory-host.ts';
import { KilledError, systemError } from '../sim/system-error.ts';
import { testContext } from '../support/context.ts';
import { create, IMAGE, makeImage, noise, read, withFile, write } from '../support/image.ts';

const SIDECAR = `${IMAGE}.snap`;
const STATE = `${SIDECAR}/state`;
const CLUSTER_BYTES = 65_536;
/** Handed over in four steps. */
const LARGE_BYTES = 4 * PACE.batchBytes;

async function bytesOf(host: MemoryHost, path: string): Promise<Buffer> {
  const file = await host.files.open(path, 'read');
  const bytes = Buffer.alloc((await file.stat()).sizeBytes);
  await file.read(bytes, 0);
  await file.close();
  return bytes;
}

async function overwrite(host: MemoryHost, path: string, bytes: Buffer, offsetBytes: number): Promise<void> {
  const file = await host.files.open(path, 'update');
  await file.write(bytes, offsetBytes);
  await file.close();
}

async function storeOf(host: MemoryHost, name: string): Promise<string> {
  const found = (await host.files.list(SIDECAR)).find((each) => each.startsWith(`${name}-`));
  assert.ok(found !== undefined, `no store of ${name}`);
  return `${SIDECAR}/${found}`;
}

async function stateOf(host: MemoryHost): Promise<State> {
  const state = decodeState(await bytesOf(host, STATE), STATE);
  assert.ok(state !== undefined);
  return state;
}

/** The highest batch number that anything in a store tells of. */
async function newestBatchIn(host: MemoryHost, path: string, sizeBytes: number): Promise<number> {
  const bytes = await bytesOf(host, path);
  const { tableOffsetBytes } = regions({ sizeBytes, clusterSizeBytes: CLUSTER_BYTES });
  const places = FLUSH_RECORD.offsetsBytes.map((at) => at + FLUSH_RECORD.fields.madeBatch.at);
  for (let index = 0; index * CLUSTER_BYTES < sizeBytes; index += 1) {
    places.push(tableOffsetBytes + index * ENTRY.sizeBytes + ENTRY.fields.batch.at);
  }
  return Math.max(...places.map((at) => readSafeU64(bytes, at) ?? Number.NaN));
}

async function remove(host: MemoryHost, name: string): Promise<void> {
  await collectSnapshots(testContext(host), IMAGE, { names: [name], dryRun: false });
}

/** Removing `b` dies at the `last`-th flush of the receiver, or at the next write of `state`, and the power goes. */
async function powerLossInHandOver(last: number, at: 'flush' | 'state'): Promise<void> {
  const host = new MemoryHost();
  await makeImage(host, noise(1, LARGE_BYTES));
  await create(testContext(host), 'a', { clusterSizeBytes: CLUSTER_BYTES });
  await create(testContext(host), 'b');
  await write(testContext(host), 0, noise(5, LARGE_BYTES));
  await create(testContext(host), 'c');
  const frozen = await read(testContext(host), 'a');
  const receiver = await storeOf(host, 'a');
  const session = host.session();
  let flushed: Buffer | undefined;
  let flushes = 0;
  session.files.onOperation = async ({ kind, path }) => {
    if (kind === 'syncData' && path === STATE) flushed ??= await bytesOf(host, STATE);
    const flush = kind === 'syncData' && path === receiver;
    if (flush) flushes += 1;
    if (flushes >= last && (at === 'flush' ? flush : kind === 'write' && path === STATE)) session.kill();
  };
  await assert.rejects(remove(session, 'b'), KilledError);
  host.reboot();
  // What was written to `state` after its flush never reached the disk.
  assert.ok(flushed !== undefined);
  await overwrite(host, STATE, flushed, 0);

  assert.ok((await read(testContext(host), 'a')).equals(frozen));
  await remove(host, 'b');
  const newest = await newestBatchIn(host, receiver, LARGE_BYTES);
  assert.ok((await stateOf(host)).batch >= newest, 'the number went backwards');
  await write(testContext(host), 0, noise(9, CLUSTER_BYTES));
  await create(testContext(host), 'd');
  await remove(host, 'c');
  assert.ok((await newestBatchIn(host, receiver, LARGE_BYTES)) >= newest);
  await remove(host, 'd');
  assert.deepEqual((await verifySnapshots(testContext(host), IMAGE, [])).findings, []);
  // The table alone must say the same: numbers out of order would make it look damaged.
  const { bitmapOffsetBytes, bitmapSizeBytes } = regions({
    sizeBytes: LARGE_BYTES,
    clusterSizeBytes: CLUSTER_BYTES,
  });
  await overwrite(host, receiver, Buffer.alloc(bitmapSizeBytes), bitmapOffsetBytes);
  assert.ok((await read(testContext(host), 'a')).equals(frozen));
}

for (const at of ['flush', 'state'] as const) {
  test(`power lost in the middle of a hand-over, at a ${at}: numbers never go backwards`, async () => {
    // The first is the receiver's repair; each of the four steps has one ahead, one that counts, and one of its bits.
    for (const last of [3, 4, 5, 6, 7]) await powerLossInHandOver(last, at);
  });
}

type Scene = 'closed' | 'open' | 'mark';

/** Something writes past copy-on-write, and the command that finds it dies after `last` operations. */
async function foundAndKilled(scene: Scene, last: number): Promise<{ host: MemoryHost; operations: number }> {
  const host = new MemoryHost();
  await makeImage(host, noise(1, 4 * 4096));
  await create(testContext(host), 'a', { clusterSizeBytes: 4096 });
  if (scene === 'open') await write(testContext(host), 4096, noise(6, 10), { sync: false });
  if (scene === 'mark') {
    const creating = host.session();
    creating.files.onOperation = ({ kind, path }) => {
      if (kind === 'rename' && path.includes('catalog')) creating.kill();
    };
    await assert.rejects(create(testContext(creating), 'b'));
    assert.equal((await stateOf(host)).mark?.writesOrigin, false);
  }
  assert.equal((await stateOf(host)).phase, scene === 'closed' ? 'closed' : 'open');
  await withFile(host, 'update', (file) => file.write(noise(2, 100), 0));
  const session = host.session();
  let operations = 0;
  session.files.onOperation = () => {
    operations += 1;
    if (operations > last) session.kill();
  };
  await write(testContext(session), 0, noise(3, 1)).catch(() => undefined);
  return { host, operations };
}

for (const scene of ['closed', 'open', 'mark'] as const) {
  for (const reboot of [false, true]) {
    const how = `state with ${scene}, ${reboot ? 'after a boot' : 'in the same boot'}`;
    test(`a change from outside is never forgotten: ${how}`, async () => {
      const { operations } = await foundAndKilled(scene, Number.POSITIVE_INFINITY);
      assert.ok(operations > 50);
      for (let last = 0; last <= operations; last += 1) {
        const { host } = await foundAndKilled(scene, last);
        const catalog = (await bytesOf(host, `${SIDECAR}/catalog.json`)).toString();
        if (reboot) host.reboot();
        // Of a time left open by an earlier boot nothing can be told; what is recorded must stay.
        if (reboot && scene !== 'closed' && !catalog.includes('"modified"')) continue;
        const expected = { code: 'modified' };
        await assert.rejects(read(testContext(host), 'a'), expected, `a look, killed at operation ${last}`);
        assert.equal((await write(testContext(host), 8192, noise(4, 1))).failure, undefined);
        await assert.rejects(read(testContext(host), 'a'), expected, `a write, killed at operation ${last}`);
      }
    });
  }
}

for (const errno of ['ENOSPC', 'EDQUOT']) {
  test(`hand-over: the flush fails with ${errno}, and so does its repair: the mark stays`, async () => {
    const host = new MemoryHost();
    const frozen = noise(1, 4 << 20);
    await makeImage(host, frozen);
    await create(testContext(host), 'a', { clusterSizeBytes: CLUSTER_BYTES });
    await create(testContext(host), 'b');
    await write(testContext(host), 0, noise(5, 4 << 20));
    const receiver = await storeOf(host, 'a');
    const session = host.session();
    let flushes = 0;
    session.files.onOperation = ({ kind, path }) => {
      if (kind !== 'syncData' || path !== receiver) return;
      flushes += 1;
      // The first two are the receiver's repair before the first step.
      if (flushes > 2) throw systemError(errno);
    };
    const request = { names: ['b'], dryRun: false };
    await assert.rejects(collectSnapshots(testContext(session), IMAGE, request), { code: 'no-space' });
    assert.ok(flushes > 3, 'repair was tried');
    assert.ok((await stateOf(host)).mark !== undefined);
    for (const name of ['a', 'b']) assert.ok((await read(testContext(host), name)).equals(frozen), name);
    await remove(host, 'b');
    assert.equal((await stateOf(host)).mark, undefined);
    assert.ok((await read(testContext(host), 'a')).equals(frozen));
    assert.deepEqual((await verifySnapshots(testContext(host), IMAGE, [])).findings, []);
  });
}
