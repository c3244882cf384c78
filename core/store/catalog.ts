/**
 * `catalog.json`: which snapshots exist, oldest first, with their limits, states and stores. It is replaced as a
 * whole (written aside, flushed, renamed, the directory flushed) and is durable before what it says takes effect
 * (invariant 4). Its last member is an XXH64 of the text with that hash's digits as zeros.
 *
 * This file is the model in memory and the limits on it; `catalog-codec.ts` is its text.
 */
import type { Figure } from './figure.ts';

export const MAX_SNAPSHOT_COUNT = 10_000;
export const MAX_CATALOG_BYTES = 16 * 1024 * 1024;
/** How the name of every store in a sidecar ends. */
export const STORE_SUFFIX = '.cow';

/**
 * - `valid`: reads exactly as it was frozen
 * - `modified`: the origin was changed outside the copy-on-write path while the chain reached it
 * - `invalid`: ended; it stays only because older snapshots read through its store
 */
export type Trust = 'valid' | 'modified' | 'invalid';

/** When and why a snapshot stopped being trusted. */
export interface Ending {
  readonly reason: string;
  readonly time: string;
  readonly clusterIndex?: number | undefined;
}

export interface SnapshotRecord {
  readonly name: string;
  /** Of the snapshot and of its store. */
  readonly uuid: string;
  /** Never used again; readers lock the byte of this number. */
  readonly number: number;
  /** The recorded creation time, as given. */
  readonly created: string;
  readonly sizeBytes: number;
  readonly trust: Trust;
  readonly ending?: Ending | undefined;
  /** Removed while it was read, or while the disk was too full to hand over: nameless, kept in the chain until later. */
  readonly hidden: boolean;
  readonly maxSizeBytes?: number | undefined;
  readonly onFull: 'invalidate' | 'refuse';
  readonly label?: string | undefined;
  /** XXH64 of the whole snapshot, recorded by its first complete trusted read. */
  readonly digest?: string | undefined;
  /** A file name inside the sidecar, or an absolute path. */
  readonly storePath: string;
  /** What the store had when a newer snapshot was made, or when it was last handed something; all but the newest have it. */
  readonly sealed?: Figure | undefined;
}

export interface Catalog {
  readonly sidecarUuid: string;
  readonly generation: number;
  readonly clusterSizeBytes: number;
  readonly nextNumber: number;
  readonly snapshots: readonly SnapshotRecord[];
}

/** The one whose store receives copies. */
export function newestRecord(catalog: Catalog): SnapshotRecord | undefined {
  return catalog.snapshots.at(-1);
}

/** By name, among those that still have one. */
export function findByName(catalog: Catalog, name: string): SnapshotRecord | undefined {
  return catalog.snapshots.find((record) => record.name === name && !record.hidden);
}

export function findByUuid(catalog: Catalog, uuid: string): SnapshotRecord | undefined {
  return catalog.snapshots.find((record) => record.uuid === uuid);
}

/** Whether somebody may still read it, so that its content must be kept. */
export function isAlive(record: SnapshotRecord): boolean {
  return record.trust !== 'invalid';
}

/** The same catalog with one record changed. */
export function withRecord(catalog: Catalog, uuid: string, changes: Partial<SnapshotRecord>): Catalog {
  const snapshots = catalog.snapshots.map((record) =>
    record.uuid === uuid ? { ...record, ...changes } : record,
  );
  return { ...catalog, snapshots };
}
