/** What snapshots take on the disk, and what removing some would hand over: for plans and dry runs. */
import { bitmapBytes, findBit, getBit, setBit } from '../base/bitmap.ts';
import { isZero } from '../base/bytes.ts';
import { hasCode } from '../base/errors.ts';
import { filesOfSame, isAlive, type SnapshotRecord } from '../store/catalog.ts';
import { clonePlace } from '../store/clone-file.ts';
import { clusterCount, clusterLengthBytes, ENTRY } from '../store/layout.ts';
import { bitmapCounts } from '../store/proof.ts';
import { lookAtStore, type StoreFile } from '../store/store-file.ts';
import { readOrAll } from './candidates.ts';
import type { Hold } from './hold.ts';

const WINDOW_BYTES = 1 << 18;

/** What all files of a snapshot take on the disk. */
export async function snapshotBytes(hold: Hold, record: SnapshotRecord): Promise<number> {
  let bytes = 0;
  for (const each of filesOfSame(hold.catalog, record)) bytes += await storeBytes(hold, each);
  return bytes;
}

/** What a store takes on the disk, as `du` counts; 0 where it is missing. */
export async function storeBytes(hold: Hold, record: SnapshotRecord): Promise<number> {
  const { files } = hold.context.host;
  const place = hold.sidecar.storePlace(record);
  const stat = await lookAtStore(files, place);
  const clone = record.isClone && (await lookAtStore(files, clonePlace(place)));
  return (stat?.allocatedBytes ?? 0) + (clone?.allocatedBytes ?? 0);
}

/**
 * Bytes that would be handed over if `removed` went: of each run of removed snapshots behind one that stays and is
 * needed, the clusters that any of them has and that one lacks and needs. A damaged store counts as far as it can be read.
 */
export async function handOverBytes(hold: Hold, removed: ReadonlySet<string>): Promise<number> {
  const { snapshots } = hold.catalog;
  let bytes = 0;
  let receiver: SnapshotRecord | undefined;
  let needed = false;
  let donors: SnapshotRecord[] = [];
  for (const record of snapshots) {
    if (removed.has(record.uuid)) {
      if (needed) donors.push(record);
      continue;
    }
    if (receiver !== undefined) bytes += await handOverTo(hold, receiver, donors);
    donors = [];
    receiver = record;
    needed = record.isClone ? false : needed || isAlive(record);
  }
  if (receiver !== undefined) bytes += await handOverTo(hold, receiver, donors);
  return bytes;
}

/** Donor by donor, so that each store is opened once: there may be more of them than may be open at a time. */
async function handOverTo(
  hold: Hold,
  receiver: SnapshotRecord,
  donors: readonly SnapshotRecord[],
): Promise<number> {
  if (donors.length === 0) return 0;
  const { clusterSizeBytes } = hold.catalog;
  const geometry = { sizeBytes: receiver.sizeBytes, clusterSizeBytes };
  const has = Buffer.alloc(bitmapBytes(clusterCount(geometry)));
  await tryReadBits(hold, receiver, has, 0);
  const needed = Buffer.alloc(has.length);
  await readOrAll(hold, receiver, 'needed', { target: needed, firstByte: 0 });
  for (let at = 0; at < has.length; at += 1) has[at] = (has[at] ?? 0) | ~(needed[at] ?? 0);
  const window = Buffer.alloc(Math.min(WINDOW_BYTES, has.length));
  let bytes = 0;
  for (const donor of donors) {
    const store = await storeThatCounts(hold, donor);
    for (let firstByte = 0; ; firstByte += WINDOW_BYTES) {
      firstByte = store?.bitsFrom(firstByte) ?? firstByte;
      if (firstByte >= has.length) break;
      const bits = window.subarray(0, has.length - firstByte).fill(0);
      await tryReadBits(hold, donor, bits, firstByte);
      if (isZero(bits)) continue;
      for (const clusterIndex of addMissing(has, bits, firstByte, clusterCount(geometry))) {
        if (await takesSlot(hold, donor, clusterIndex)) bytes += clusterLengthBytes(geometry, clusterIndex);
      }
    }
  }
  return bytes;
}

/** The store of a snapshot if its copied bitmap counts, so that holes in it are known to have no bits. */
async function storeThatCounts(hold: Hold, record: SnapshotRecord): Promise<StoreFile | undefined> {
  try {
    const store = await hold.stores.open(hold.catalog, record);
    return (await bitmapCounts(store, hold.suspicion(record).atLeast)) ? store : undefined;
  } catch (error) {
    if (!hasCode(error, 'damage', 'not-found', 'newer-version')) throw error;
    return undefined;
  }
}

/** Adds to `has` what only `bits` has, which stand for the clusters from byte `firstByte` on, and tells it. */
function* addMissing(has: Buffer, bits: Buffer, firstByte: number, count: number): Generator<number> {
  const most = Math.min(bits.length * 8, count - firstByte * 8);
  for (let bit = findBit(bits, true, 0, most); bit < most; bit = findBit(bits, true, bit + 1, most)) {
    const clusterIndex = firstByte * 8 + bit;
    if (getBit(has, clusterIndex)) continue;
    setBit(has, clusterIndex);
    yield clusterIndex;
  }
}

async function tryReadBits(
  hold: Hold,
  record: SnapshotRecord,
  bits: Buffer,
  firstByte: number,
): Promise<void> {
  const count = clusterCount({
    sizeBytes: record.sizeBytes,
    clusterSizeBytes: hold.catalog.clusterSizeBytes,
  });
  const lengthBytes = Math.min(bits.length, Math.ceil(count / 8) - firstByte);
  if (lengthBytes <= 0) return;
  try {
    await hold.readBits(record, bits.subarray(0, lengthBytes), firstByte);
  } catch (error) {
    if (!hasCode(error, 'damage', 'not-found', 'newer-version')) throw error;
  }
}

async function takesSlot(hold: Hold, donor: SnapshotRecord, clusterIndex: number): Promise<boolean> {
  const store = await hold.stores.open(hold.catalog, donor);
  const entry = Buffer.alloc(ENTRY.sizeBytes);
  await store.readTable(entry, clusterIndex);
  return (store.entries.provenSlot(entry, 0, clusterIndex) ?? -1) >= 0;
}
