/** Damage among much that is whole: it is told once, of the right cluster, and everything else is looked at all the same. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { SlotOwners } from '../../core/snapshot/slot-owners.ts';
import { type Verification, verifySnapshots } from '../../core/snapshot/verify.ts';
import { EntryCodec } from '../../core/store/entry.ts';
import { ENTRY, regions, STORE_HEADER } from '../../core/store/layout.ts';
import { MemoryHost } from '../sim/memory-host.ts';
import { systemError } from '../sim/system-error.ts';
import { testContext } from '../support/context.ts';
import { create, IMAGE, makeImage, noise, read, write } from '../support/image.ts';

const CLUSTER_BYTES = 4096;
const READ_BYTES = 4 << 20;

interface Store {
  readonly host: MemoryHost;
  readonly path: string;
  readonly sizeBytes: number;
}

async function storeOf(host: MemoryHost, name: string, sizeBytes: number): Promise<Store> {
  const found = (await host.files.list(`${IMAGE}.snap`)).find((each) => each.startsWith(`${name}-`));
  return { host, path: `${IMAGE}.snap/${found ?? assert.fail(name)}`, sizeBytes };
}

/** `a` with the clusters in `order` copied, each by a write of its own: their slots stand in that order. */
async function copiedInOrder(order: readonly number[], clusters: number): Promise<Store> {
  const host = new MemoryHost(1);
  const sizeBytes = clusters * CLUSTER_BYTES - 5;
  await makeImage(host, noise(1, sizeBytes));
  await create(testContext(host), 'a', { clusterSizeBytes: CLUSTER_BYTES });
  for (const cluster of order) await write(testContext(host), cluster * CLUSTER_BYTES, Buffer.from('x'));
  return storeOf(host, 'a', sizeBytes);
}

const regionsOf = ({ sizeBytes }: Store) => regions({ sizeBytes, clusterSizeBytes: CLUSTER_BYTES });

async function change(store: Store, offsetBytes: number, bytes: Buffer): Promise<void> {
  const file = await store.host.files.open(store.path, 'update');
  await file.write(bytes, offsetBytes);
  await file.close();
}

const damageSlot = (store: Store, slotIndex: number) =>
  change(store, regionsOf(store).dataOffsetBytes + slotIndex * CLUSTER_BYTES + 7, Buffer.from('damage'));

const found = ({ findings }: Verification) =>
  findings.map(({ name, kind, clusterIndex }) => `${name} ${kind} ${clusterIndex}`);

const verify = (host: MemoryHost) => verifySnapshots(testContext(host), IMAGE, []);

test('one damaged cluster is one finding, however many older snapshots there are whose stores must be opened', async () => {
  const host = new MemoryHost(1);
  const sizeBytes = 5 * READ_BYTES;
  await makeImage(host, noise(1, sizeBytes));
  // More than are kept open.
  for (let number = 0; number < 70; number += 1) {
    await create(testContext(host), `old${number}`, { clusterSizeBytes: CLUSTER_BYTES });
  }
  await create(testContext(host), 'a');
  await write(testContext(host), 0, noise(2, sizeBytes));
  await create(testContext(host), 'b');
  await damageSlot(await storeOf(host, 'a', sizeBytes), 0);
  const result = await verify(host);
  assert.deepEqual(found(result), ['a slot 0']);
  assert.equal(result.snapshots.find(({ name }) => name === 'a')?.clustersChecked, sizeBytes / CLUSTER_BYTES);
});

test('slots in any order, read together: each damaged one is told of by its cluster, and no other', async () => {
  // Runs of one, of two and of three clusters, and the short last one in the middle.
  const order = [9, 3, 4, 12, 0, 1, 2, 19, 7, 6, 15, 16];
  for (const slot of order.keys()) {
    const store = await copiedInOrder(order, 20);
    await damageSlot(store, slot);
    const result = await verify(store.host);
    assert.deepEqual(found(result), [`a slot ${order[slot]}`]);
    assert.equal(result.snapshots[0]?.clustersChecked, order.length);
  }
});

test('a store that is cut, or cannot be read in part: its other clusters are checked', async () => {
  const order = [9, 3, 4, 12, 0, 1, 2, 7, 6, 15, 16];
  for (const left of [0, 1, 4, 9, order.length]) {
    const store = await copiedInOrder(order, 20);
    const { dataOffsetBytes } = regionsOf(store);
    const unreadable = dataOffsetBytes + left * CLUSTER_BYTES;
    const session = store.host.session(async ({ kind, path, offsetBytes = 0, lengthBytes = 0 }) => {
      if (kind === 'read' && path === store.path && offsetBytes + lengthBytes > unreadable)
        throw systemError('EIO');
    });
    await damageSlot(store, 0);
    const file = await store.host.files.open(store.path, 'update');
    const expected = [...new Set([order[0], ...order.slice(left)])]
      .map((cluster) => `a slot ${cluster}`)
      .sort();
    assert.deepEqual(found(await verify(session)).sort(), expected, `unreadable from ${left}`);
    await file.truncate(unreadable + (left === 0 ? 0 : 100));
    await file.close();
    assert.deepEqual(found(await verify(store.host)).sort(), expected, `cut at ${left}`);
  }
});

test('a reader of a store that is cut names the first cluster that is not whole', async () => {
  const host = new MemoryHost(1);
  const sizeBytes = 8 * CLUSTER_BYTES;
  await makeImage(host, noise(1, sizeBytes));
  await create(testContext(host), 'a', { clusterSizeBytes: CLUSTER_BYTES });
  await write(testContext(host), 0, noise(2, sizeBytes));
  const store = await storeOf(host, 'a', sizeBytes);
  const file = await host.files.open(store.path, 'update');
  for (const whole of [7, 5, 1, 0]) {
    await file.truncate(regionsOf(store).dataOffsetBytes + whole * CLUSTER_BYTES + 9);
    await assert.rejects(read(testContext(host), 'a'), { code: 'damage', clusterIndex: whole });
  }
  await file.close();
});

test('two clusters that share a slot are told of, whatever the slot', async () => {
  const same = noise(3, CLUSTER_BYTES);
  for (const slotIndex of [0, 5, 1023, 1 << 20, 2 ** 26, 2 ** 30]) {
    const host = new MemoryHost(1);
    const sizeBytes = 8 * CLUSTER_BYTES;
    await makeImage(host, Buffer.concat(Array.from({ length: 8 }, () => same)));
    await create(testContext(host), 'a', { clusterSizeBytes: CLUSTER_BYTES });
    await write(testContext(host), 2 * CLUSTER_BYTES, noise(4, 2 * CLUSTER_BYTES));
    const store = await storeOf(host, 'a', sizeBytes);
    const { tableOffsetBytes, dataOffsetBytes } = regionsOf(store);
    const file = await host.files.open(store.path, 'update');
    const uuid = Buffer.alloc(STORE_HEADER.fields.storeUuid.bytes);
    await file.read(uuid, STORE_HEADER.fields.storeUuid.at);
    const codec = new EntryCodec(uuid.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-'));
    const bytes = Buffer.alloc(ENTRY.sizeBytes);
    for (const cluster of [2, 3]) {
      await file.read(bytes, tableOffsetBytes + cluster * ENTRY.sizeBytes);
      const entry = codec.decode(bytes, 0, cluster) ?? assert.fail('it proves itself');
      codec.encode({ ...entry, slotIndex }, cluster, bytes, 0);
      await file.write(bytes, tableOffsetBytes + cluster * ENTRY.sizeBytes);
    }
    await file.write(same, dataOffsetBytes + slotIndex * CLUSTER_BYTES);
    await file.close();
    const { findings } = await verify(host);
    assert.deepEqual(
      findings.map(({ message }) => message),
      [`cluster 3: shares slot ${slotIndex} with cluster 2`],
    );
  }
});

test('owners of slots are remembered page by page, and no more than there is room for', () => {
  const owners = new SlotOwners();
  const slots = Array.from({ length: 4096 }, (_, page) => page * 5000 + (page % 1024));
  for (const [cluster, slot] of slots.entries()) assert.equal(owners.claim(slot, cluster), undefined);
  for (const [cluster, slot] of slots.entries()) assert.equal(owners.claim(slot, 7), cluster);
  // Past its room it forgets, and says nothing wrong.
  for (const cluster of [1, 2]) assert.equal(owners.claim(2 ** 47, cluster), undefined);
  assert.equal(owners.claim(0, 9), 0);
});

test("what a store leaves in memory that is lent is not taken for the next one's", async () => {
  const host = new MemoryHost(1);
  const long = 3 * 4096 * CLUSTER_BYTES;
  await makeImage(host, noise(1, long));
  await create(testContext(host), 'long', { clusterSizeBytes: CLUSTER_BYTES });
  await write(testContext(host), 0, noise(2, long));
  // Neither whole windows nor whole bytes of bits.
  const short = 4096 * CLUSTER_BYTES + 5 * CLUSTER_BYTES - 9;
  const file = await host.files.open(IMAGE, 'update');
  await file.truncate(short);
  await file.close();
  await create(testContext(host), 'short');
  await write(testContext(host), short - 1, Buffer.from('x'));
  const result = await verify(host);
  assert.deepEqual(
    result.snapshots.map(({ clustersChecked }) => clustersChecked),
    [long / CLUSTER_BYTES, 1],
  );
  assert.ok(
    result.findings.every(({ kind }) => kind === 'invalid' || kind === 'modified'),
    found(result).join(),
  );
});

test('one that is stopped or fails with reads under way does no harm to those beside and after it', async () => {
  const host = new MemoryHost(1);
  // Three reads and more; scattered, too.
  const sizeBytes = 4 * READ_BYTES;
  await makeImage(host, noise(1, sizeBytes));
  await create(testContext(host), 'a', { clusterSizeBytes: CLUSTER_BYTES });
  for (let at = sizeBytes - READ_BYTES / 2; at >= 0; at -= READ_BYTES / 2) {
    await write(testContext(host), at, noise(2, READ_BYTES / 2));
  }
  const slowly = (reads: { count: number }, most: number, stop: () => void) =>
    host.session(async ({ kind, lengthBytes = 0 }) => {
      if (kind !== 'read' || lengthBytes < READ_BYTES / 4) return;
      reads.count += 1;
      if (reads.count > most) stop();
      for (let turn = 0; turn < 5 + ((reads.count * 7) % 9); turn += 1) await setImmediate();
    });
  for (let most = 0; most < 6; most += 1) {
    const controller = new AbortController();
    const stopped = testContext(
      slowly({ count: 0 }, most, () => controller.abort()),
      { signal: controller.signal },
    );
    const failing = testContext(
      slowly({ count: 0 }, most, () => {
        throw new Error('a mistake');
      }),
    );
    const whole = testContext(slowly({ count: 0 }, Number.POSITIVE_INFINITY, () => undefined));
    const results = await Promise.allSettled(
      [stopped, failing, whole, whole].map((context) => verifySnapshots(context, IMAGE, [])),
    );
    for (const result of results) {
      if (result.status === 'fulfilled') assert.deepEqual(result.value.findings, []);
    }
    assert.deepEqual(results.map(({ status }) => status).slice(1), ['rejected', 'fulfilled', 'fulfilled']);
    assert.deepEqual((await verify(host)).findings, []);
  }
});
