/**
 * What a store holds, from its head alone: what fss, fssnap and dm-snapshot tell of theirs. A listing of thousands of
 * snapshots opens each store once for it, and reads neither bitmap nor table.
 */
import { hasCode } from '../base/errors.ts';
import type { FileSystem } from '../io/file-system.ts';
import { type Catalog, isAlive, type SnapshotRecord } from '../store/catalog.ts';
import { clonePlace } from '../store/clone-file.ts';
import { clusterCount, clusterLengthBytes, ENTRY } from '../store/layout.ts';
import { type Sidecar, storeIdentity } from '../store/sidecar.ts';
import { lookAtStore, StoreFile } from '../store/store-file.ts';

export interface StoreStatistics {
  /** Zero clusters and what was handed over included; of a store that cannot be read, what the catalog last knew. */
  readonly clustersCopied: number;
  /** Of those, the ones that were all zero and took no slot; undefined where the store cannot be read. */
  readonly clustersZero: number | undefined;
  /** What took a slot; undefined where the store cannot be read. */
  readonly bytesCopied: number | undefined;
  /** Of its slots, those that count against a limit, in bytes; 0 where the store cannot be read. */
  readonly countedBytes: number;
  /** On the disk, as `du` counts; 0 where it is missing. */
  readonly storeBytes: number;
}

/** What two files of one snapshot hold together. */
export function added(a: StoreStatistics, b: StoreStatistics): StoreStatistics {
  const sum = (one: number | undefined, other: number | undefined) =>
    one === undefined || other === undefined ? undefined : one + other;
  return {
    clustersCopied: a.clustersCopied + b.clustersCopied,
    clustersZero: sum(a.clustersZero, b.clustersZero),
    bytesCopied: sum(a.bytesCopied, b.bytesCopied),
    countedBytes: a.countedBytes + b.countedBytes,
    storeBytes: a.storeBytes + b.storeBytes,
  };
}

/** @throws `io` */
export async function storeStatistics(
  files: FileSystem,
  sidecar: Sidecar,
  catalog: Catalog,
  record: SnapshotRecord,
): Promise<StoreStatistics> {
  const place = sidecar.storePlace(record);
  const clone = record.isClone && (await lookAtStore(files, clonePlace(place)));
  const cloneBytes = clone?.allocatedBytes ?? 0;
  const unreadable = { clustersCopied: record.sealed?.count ?? 0, countedBytes: 0 };
  const unknown = { ...unreadable, clustersZero: undefined, bytesCopied: undefined };
  try {
    const store = await StoreFile.open(files, place, 'read', storeIdentity(catalog, record));
    try {
      const [last] = await store.readRecords();
      const storeBytes = (await store.stat()).allocatedBytes + cloneBytes;
      if (last === undefined) return { ...unknown, storeBytes };
      const { count } = last.made;
      const slots = count - last.zeroCount;
      return {
        clustersCopied: count,
        clustersZero: last.zeroCount,
        bytesCopied: slots * catalog.clusterSizeBytes - (slots > 0 ? await shortSlotBytes(store) : 0),
        countedBytes: last.ownSlotCount * catalog.clusterSizeBytes,
        storeBytes,
      };
    } finally {
      await store.close();
    }
  } catch (error) {
    if (!hasCode(error, 'damage', 'not-found', 'newer-version')) throw error;
    return { ...unknown, storeBytes: ((await lookAtStore(files, place))?.allocatedBytes ?? 0) + cloneBytes };
  }
}

/** By how much the slot of a short last cluster is smaller than a cluster; 0 where that has none. */
async function shortSlotBytes(store: StoreFile): Promise<number> {
  const { identity } = store;
  const last = clusterCount(identity) - 1;
  const missingBytes = identity.clusterSizeBytes - clusterLengthBytes(identity, last);
  if (missingBytes === 0) return 0;
  const bytes = Buffer.alloc(ENTRY.sizeBytes);
  await store.readTable(bytes, last);
  return (store.entries.provenSlot(bytes, 0, last) ?? -1) < 0 ? 0 : missingBytes;
}

/**
 * What counts against the limit of the snapshot at `index`: its own copies, and those made on its account in the stores
 * of the ended and hidden ones after it. Undefined without a limit, or where nothing counts any more since it ended.
 */
export function limitUsedBytes(
  snapshots: readonly SnapshotRecord[],
  index: number,
  statistics: readonly StoreStatistics[],
): number | undefined {
  const owner = snapshots[index];
  if (owner?.maxSizeBytes === undefined || !isAlive(owner)) return undefined;
  let bytes = statistics[index]?.countedBytes ?? 0;
  for (let after = index + 1; after < snapshots.length; after += 1) {
    const record = snapshots[after];
    if (record === undefined || (isAlive(record) && !record.hidden)) break;
    bytes += statistics[after]?.countedBytes ?? 0;
  }
  return bytes;
}
