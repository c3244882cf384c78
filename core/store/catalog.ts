/**
 * `catalog.json`: which snapshots exist, oldest first, with their limits, states and stores. It is replaced as a
 * whole (written aside, flushed, renamed, the directory flushed) and is durable before what it says takes effect
 * (invariant 4). Its last member is an XXH64 of the text with that hash's digits as zeros.
 *
 * This file is the model in memory and the limits on it; `catalog-codec.ts` is its text.
 */
import type { Figure } from './figure.ts';
import type { Part } from './part.ts';

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

/** For people: why, and then at which cluster and when. */
export function endingText({ reason, time, clusterIndex }: Ending): string {
  return `${reason} (${clusterIndex === undefined ? '' : `cluster ${clusterIndex}, `}${time})`;
}

/** Where copying goes on when the store's file is full. */
export interface Spill {
  /** How long a file may become by copying; undefined for as long as its disk takes. */
  readonly maxFileBytes?: number | undefined;
  /** Absolute; the first is that of part 1. Files are made when they are needed. */
  readonly paths: readonly string[];
}

export interface SnapshotRecord {
  readonly name: string;
  /** Of the snapshot and of its store. */
  readonly uuid: string;
  /** Never used again; readers lock the byte of this number. A part has its snapshot's. */
  readonly number: number;
  /** The recorded creation time, as given. */
  readonly created: string;
  readonly sizeBytes: number;
  /** Clusters that were no candidates read as zeros; which, its store says. */
  readonly hasCandidates?: true | undefined;
  readonly trust: Trust;
  readonly ending?: Ending | undefined;
  /** Removed while it was read, or while the disk was too full to hand over: nameless, kept in the chain until later. */
  readonly hidden: boolean;
  readonly maxSizeBytes?: number | undefined;
  readonly onFull: 'invalidate' | 'refuse';
  /** The boot, as a UUID, in which it was taken and with which it ends; undefined for one that outlives boots. */
  readonly transient?: string | undefined;
  readonly label?: string | undefined;
  /** XXH64 of the whole snapshot, recorded by its first complete trusted read. */
  readonly digest?: string | undefined;
  /** A file name inside the sidecar, or an absolute path. */
  readonly storePath: string;
  readonly spill?: Spill | undefined;
  /** A clone of the whole origin stands beside the store, which stays empty: the chain ends there. */
  readonly isClone?: true | undefined;
  /**
   * Not a snapshot but one more file of one. Nobody reads it as a snapshot, older ones read through it: `hidden`, and
   * `invalid` from the beginning.
   */
  readonly part?: Part | undefined;
  /** What the store had when a newer snapshot was made, or when it was last handed something; all but the newest have it. */
  readonly sealed?: Figure | undefined;
}

/** A store outside of the sidecar whose snapshot is removed: nobody else would know of it should the removal be interrupted. */
export interface Leftover {
  readonly uuid: string;
  readonly path: string;
}

export interface Catalog {
  readonly sidecarUuid: string;
  readonly generation: number;
  readonly clusterSizeBytes: number;
  readonly nextNumber: number;
  readonly snapshots: readonly SnapshotRecord[];
  readonly leftovers?: readonly Leftover[] | undefined;
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

/** The snapshot that a store belongs to, by its UUID, which may be gone already. */
export function ownerUuid(record: SnapshotRecord): string {
  return record.part?.ofUuid ?? record.uuid;
}

/** All stores of the snapshot that `record` is, or is a part of; in the order of the chain. */
export function filesOfSame(catalog: Catalog, record: SnapshotRecord): readonly SnapshotRecord[] {
  let files = filesByOwner.get(catalog);
  if (files === undefined) {
    files = new Map<string, SnapshotRecord[]>();
    for (const each of catalog.snapshots) {
      const same = files.get(ownerUuid(each));
      if (same === undefined) files.set(ownerUuid(each), [each]);
      else same.push(each);
    }
    filesByOwner.set(catalog, files);
  }
  return files.get(ownerUuid(record)) ?? [record];
}

/** Whether the snapshot's chain ends at a clone, its own or a newer one, so that it never reaches the origin. */
export function endsAtClone(catalog: Catalog, record: SnapshotRecord): boolean {
  let last = lastClones.get(catalog);
  if (last === undefined) {
    last = catalog.snapshots.findLast(({ isClone }) => isClone)?.number ?? -1;
    lastClones.set(catalog, last);
  }
  return record.number <= last;
}

const lastClones = new WeakMap<Catalog, number>();

/** A catalog never changes; asked for every snapshot of thousands, going through all each time would take seconds. */
const filesByOwner = new WeakMap<Catalog, Map<string, SnapshotRecord[]>>();

/**
 * The snapshots, of those that must be kept, that outlive the boot: as long as there is one, copies are flushed. Nameless
 * ones too: after a reboot nobody reads them, but until they are collected they need a whole store to copy into.
 */
export function persistentRecords(catalog: Catalog): SnapshotRecord[] {
  return catalog.snapshots.filter((record) => isAlive(record) && record.transient === undefined);
}

/** What to say of a transient snapshot whose copies are flushed all the same; undefined where they are not. */
export function flushKeptBy(catalog: Catalog, name: string): string | undefined {
  const [persistent] = persistentRecords(catalog);
  if (persistent === undefined) return undefined;
  const which = `${persistent.name}${persistent.hidden ? ' (removed, not yet reclaimed)' : ''}`;
  return `${name}: its copies are flushed while ${which}, which is not transient, reads through its store`;
}

/** Whether somebody may still read it, be it one who began when it had a name, so that its content must be kept. */
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
