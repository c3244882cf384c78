/**
 * Where everything stands in the two binary files of a sidecar. The only place with offsets; `docs/FORMAT.md`
 * is held to it by a test. All numbers are little-endian; all checks are XXH64.
 *
 * A store:   header | flush record A | flush record B | copied bitmap | [candidates | needed] | indirect table | slots …
 * A state:   one record
 */
import { bitmapBytes } from '../base/bitmap.ts';
import { roundUp } from '../base/bytes.ts';
import { SnapError } from '../base/errors.ts';

export const PAGE_BYTES = 4096;
export const FORMAT_VERSION = 1;

export const MIN_CLUSTER_BYTES = 4096;
export const MAX_CLUSTER_BYTES = 16 * 1024 * 1024;
export const DEFAULT_CLUSTER_BYTES = 64 * 1024;
/** The default cluster size grows until there are no more clusters than this (fss does the same). */
export const DEFAULT_MAX_CLUSTER_COUNT = 2 ** 24;
/** A grown image may come to this many before a cluster size is refused. */
export const MAX_CLUSTER_COUNT = 2 ** 26;
/** Numbers of batches and generations stay far below 2^53. What reads them refuses larger ones. */
export const MAX_SEQUENCE = 2 ** 50;

/**
 * Whoever writes numbers looks before, so that nothing is written that nobody would read again.
 * @throws `damage`: no use comes near the end of the range, but a forged number may stand there
 */
export function checkSequences(path: string, ...numbers: readonly number[]): void {
  if (Math.max(...numbers) <= MAX_SEQUENCE) return;
  throw new SnapError('damage', `${path}: a number that only rises is at the end of its range`, {
    path,
    hint: 'restore the whole sidecar from a backup; snapshots can still be read',
  });
}

/** The store's header: identity and geometry, written once. */
export const STORE_HEADER = {
  magicText: 'imgsnapS',
  cloneMagicText: 'imgsnapC',
  offsetBytes: 0,
  sizeBytes: 512,
  fields: {
    magic: { at: 0, bytes: 8 },
    version: { at: 8, bytes: 4 },
    incompatibleFeatures: { at: 12, bytes: 4 },
    compatibleFeatures: { at: 16, bytes: 4 },
    clusterSizeBytes: { at: 20, bytes: 4 },
    sidecarUuid: { at: 24, bytes: 16 },
    storeUuid: { at: 40, bytes: 16 },
    snapshotNumber: { at: 56, bytes: 8 },
    snapshotSizeBytes: { at: 64, bytes: 8 },
    clusterCount: { at: 72, bytes: 8 },
    bitmapOffsetBytes: { at: 80, bytes: 8 },
    tableOffsetBytes: { at: 88, bytes: 8 },
    dataOffsetBytes: { at: 96, bytes: 8 },
    candidateHash: { at: 104, bytes: 8 },
    neededHash: { at: 112, bytes: 8 },
    partOfUuid: { at: 480, bytes: 16 },
    partIndex: { at: 496, bytes: 4 },
    check: { at: 504, bytes: 8 },
  },
} as const;

/** Bits of `incompatibleFeatures`: whoever does not know one must not use the store. */
export const STORE_FEATURE = {
  /** Clusters that are no candidates read as zeros; two more bitmaps stand behind the copied bitmap. */
  candidates: 2,
} as const;

/** The flush record, in two copies on pages of their own that take turns. */
export const FLUSH_RECORD = {
  offsetsBytes: [PAGE_BYTES, 2 * PAGE_BYTES],
  sizeBytes: 128,
  fields: {
    sequence: { at: 0, bytes: 8 },
    knownBatch: { at: 8, bytes: 8 },
    knownCount: { at: 16, bytes: 8 },
    knownXor: { at: 24, bytes: 8 },
    madeBatch: { at: 32, bytes: 8 },
    madeCount: { at: 40, bytes: 8 },
    madeXor: { at: 48, bytes: 8 },
    ownSlotCount: { at: 56, bytes: 8 },
    zeroCount: { at: 64, bytes: 8 },
    storeUuid: { at: 72, bytes: 16 },
    check: { at: 120, bytes: 8 },
  },
} as const;

/** An entry of the indirect table. All zero: the cluster was not copied. */
export const ENTRY = {
  sizeBytes: 32,
  fields: {
    slot: { at: 0, bytes: 6 },
    reserved: { at: 6, bytes: 1 },
    flags: { at: 7, bytes: 1 },
    hash: { at: 8, bytes: 8 },
    batch: { at: 16, bytes: 8 },
    check: { at: 24, bytes: 8 },
  },
} as const;

export const ENTRY_FLAG = {
  /** Set in every entry, so that none is all zero. */
  present: 1,
  /** The old content was all zero: there is no slot. */
  zero: 2,
  /** Came from a removed newer snapshot: does not count against a limit. */
  handedOver: 4,
} as const;

/** `state`: one record at offset 0. */
export const STATE = {
  magicText: 'imgsnapT',
  sizeBytes: 512,
  fields: {
    magic: { at: 0, bytes: 8 },
    version: { at: 8, bytes: 4 },
    flags: { at: 12, bytes: 4 },
    sidecarUuid: { at: 16, bytes: 16 },
    bootId: { at: 32, bytes: 16 },
    generation: { at: 48, bytes: 8 },
    batch: { at: 56, bytes: 8 },
    repairs: { at: 64, bytes: 8 },
    originSizeBytes: { at: 72, bytes: 8 },
    originTimeNs: { at: 80, bytes: 8 },
    markBatch: { at: 88, bytes: 8 },
    markStoreUuid: { at: 96, bytes: 16 },
    markFirstCluster: { at: 112, bytes: 8 },
    markLastCluster: { at: 120, bytes: 8 },
    figureStoreUuid: { at: 128, bytes: 16 },
    figureBatch: { at: 144, bytes: 8 },
    figureCount: { at: 152, bytes: 8 },
    figureXor: { at: 160, bytes: 8 },
    figureSequence: { at: 168, bytes: 8 },
    check: { at: 504, bytes: 8 },
  },
} as const;

export const STATE_FLAG = {
  /** Something may have changed since the boot that is named began. */
  open: 1,
  /** The flush that made `open` durable has returned. Itself it is not flushed. */
  confirmed: 8,
  mark: 2,
  /** What the mark stands for may have written to the origin, so that its time says nothing. */
  markWritesOrigin: 4,
  /** Bits of the store that receives copies were set since they were last flushed. */
  bitsDirty: 16,
} as const;

const BITMAP_OFFSET_BYTES = 4 * PAGE_BYTES;

/** Whether clusters can have this size: a power of two, neither smaller nor larger than any of ours. */
export function isClusterSize(sizeBytes: number): boolean {
  const isInRange = sizeBytes >= MIN_CLUSTER_BYTES && sizeBytes <= MAX_CLUSTER_BYTES;
  return isInRange && (sizeBytes & (sizeBytes - 1)) === 0;
}

/** What a store's shape follows from. */
export interface Geometry {
  /** The snapshot's size: what the origin measured when it was taken. */
  readonly sizeBytes: number;
  readonly clusterSizeBytes: number;
  /** Whether some clusters were no candidates for copying when it was taken. */
  readonly hasCandidates?: boolean | undefined;
}

export function clusterCount(geometry: Geometry): number {
  return Math.ceil(geometry.sizeBytes / geometry.clusterSizeBytes);
}

/** How many bytes cluster `clusterIndex` really has: the last one may be short. */
export function clusterLengthBytes(geometry: Geometry, clusterIndex: number): number {
  return Math.min(geometry.clusterSizeBytes, geometry.sizeBytes - clusterIndex * geometry.clusterSizeBytes);
}

export interface Regions {
  readonly bitmapOffsetBytes: number;
  readonly bitmapSizeBytes: number;
  /** Of the candidate bitmap, and of the needed bitmap behind it; both are as long as the copied bitmap, or not there. */
  readonly candidateOffsetBytes: number;
  readonly neededOffsetBytes: number;
  readonly tableOffsetBytes: number;
  readonly dataOffsetBytes: number;
}

/** Tables come first and slots behind them, so that a store grows at its end alone. */
export function regions(geometry: Geometry): Regions {
  const count = clusterCount(geometry);
  const bitmapSizeBytes = bitmapBytes(count);
  const spacingBytes = roundUp(bitmapSizeBytes, PAGE_BYTES);
  const candidateOffsetBytes = BITMAP_OFFSET_BYTES + spacingBytes;
  const neededOffsetBytes = candidateOffsetBytes + (geometry.hasCandidates ? spacingBytes : 0);
  const tableOffsetBytes = neededOffsetBytes + (geometry.hasCandidates ? spacingBytes : 0);
  const dataOffsetBytes = roundUp(tableOffsetBytes + count * ENTRY.sizeBytes, geometry.clusterSizeBytes);
  return {
    bitmapOffsetBytes: BITMAP_OFFSET_BYTES,
    bitmapSizeBytes,
    candidateOffsetBytes,
    neededOffsetBytes,
    tableOffsetBytes,
    dataOffsetBytes,
  };
}
