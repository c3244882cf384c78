/**
 * Verifying: the sidecar's structure, every copied cluster against its hash, every recorded digest against what the
 * snapshot reads as, and whether the origin was changed outside. In one pass, all of it, and without changing a byte.
 */
import { hasCode, SnapError } from '../base/errors.ts';
import { digestText, Xxh64Digest } from '../base/xxh64.ts';
import { inUseOffset } from '../io/lock-offsets.ts';
import {
  endingText,
  findByName,
  findByUuid,
  isAlive,
  ownerUuid,
  type SnapshotRecord,
  type Trust,
} from '../store/catalog.ts';
import { clusterCount } from '../store/layout.ts';
import { chosenOf } from './candidates.ts';
import { clustersOf } from './chain-lack.ts';
import type { Context } from './context.ts';
import type { Hold } from './hold.ts';
import { changedOutside, isVoid, reasonNow, trustNow } from './outside-change.ts';
import { digestSnapshot, noSuchSnapshot } from './read.ts';
import { type StoreFinding, verifyStore } from './verify-store.ts';
import { Volume } from './volume.ts';

/** Where every cluster is damaged, nobody reads more lines, and they would fill the memory. */
const MOST_TOLD_OF_STORE = 10_000;
const MOST_TOLD = 100_000;

export interface Finding {
  /** NAME; undefined where it concerns the sidecar. */
  readonly name: string | undefined;
  readonly kind: string;
  readonly clusterIndex: number | undefined;
  readonly message: string;
}

export interface VerifiedSnapshot {
  readonly name: string;
  /** Reads exactly as it was frozen, as far as can be told. */
  readonly ok: boolean;
  readonly clustersChecked: number;
  readonly digest: string | undefined;
  readonly recordedDigest: string | undefined;
}

export interface Verification {
  readonly image: string;
  readonly damaged: boolean;
  /** A named snapshot, or the origin, is not to be trusted. */
  readonly untrusted: boolean;
  readonly snapshots: readonly VerifiedSnapshot[];
  readonly findings: readonly Finding[];
}

export interface Target {
  readonly record: SnapshotRecord;
  readonly trust: Trust;
  /** Why it is not to be trusted. */
  readonly reason: string | undefined;
}

/** The snapshots to look at, all where none is named, in use by us from then on. @throws `not-found` */
export function chooseTargets(volume: Volume, names: readonly string[]): Promise<Target[]> {
  return volume.shared(async (hold) => {
    if (hold === undefined) {
      if (names[0] !== undefined) throw noSuchSnapshot(volume.image, names[0]);
      return [];
    }
    for (const name of names) {
      if (findByName(hold.catalog, name) === undefined) throw noSuchSnapshot(volume.image, name);
    }
    const changed = await changedOutside(hold);
    return hold.catalog.snapshots
      .filter((record) => !record.hidden && (names.length === 0 || names.includes(record.name)))
      .map((record) => {
        hold.sidecar.stateFile.tryLock(inUseOffset(record.number), 'shared');
        const trust = trustNow(hold, record, changed);
        return { record, trust, reason: reasonNow(hold, record, trust) };
      });
  });
}

/** @throws `not-found`, and what the volume throws; damage is in the result */
export async function verifySnapshots(
  context: Context,
  image: string,
  names: readonly string[],
): Promise<Verification> {
  const volume = await Volume.open(context, image, 'look');
  try {
    const targets = await chooseTargets(volume, names);
    return await new Verifier(volume, targets, names.length > 0).run();
  } finally {
    await volume.close();
  }
}

class Verifier {
  readonly #volume: Volume;
  readonly #targets: readonly Target[];
  readonly #named: boolean;
  readonly #findings: Finding[] = [];
  readonly #affected = new Set<string>();
  readonly #checked = new Map<string, number>();
  #damaged = false;

  constructor(volume: Volume, targets: readonly Target[], named: boolean) {
    this.#volume = volume;
    this.#targets = targets;
    this.#named = named;
  }

  async run(): Promise<Verification> {
    await this.#checkState();
    for (const record of await this.#chainStores()) await this.#checkStore(record);
    const snapshots: VerifiedSnapshot[] = [];
    for (const target of this.#targets) snapshots.push(await this.#checkSnapshot(target));
    const distrusted = this.#targets.filter(({ trust }) => trust !== 'valid');
    const untrusted = distrusted.some(({ trust }) => this.#named || trust === 'modified');
    const { image } = this.#volume;
    return { image, damaged: this.#damaged, untrusted, snapshots, findings: this.#findings };
  }

  async #checkState(): Promise<void> {
    await this.#volume.shared(async (hold) => {
      if (hold === undefined || hold.stateIfReadable !== undefined) return;
      const message = `${hold.sidecar.stateFile.path}: unreadable; the next change makes it anew`;
      this.#findings.push({ name: undefined, kind: 'state', clusterIndex: undefined, message });
      this.#damaged = true;
    });
  }

  /** Every store that a target reads through, nameless ones included. */
  #chainStores(): Promise<readonly SnapshotRecord[]> {
    return this.#volume.shared(async (hold) => {
      if (hold === undefined) return [];
      const { catalog } = hold;
      const wanted = new Set(this.#targets.map(({ record }) => record.uuid));
      const first = catalog.snapshots.findIndex(({ uuid }) => !this.#named || wanted.has(uuid));
      let isRead = false;
      return catalog.snapshots.filter((store, index) => {
        isRead ||= isAlive(store) && !isVoid(hold, store);
        // What ended with its boot may be as it will, unless somebody older reads through it. Of a part that outlived its
        // snapshot it cannot be told whether it did.
        const owner = findByUuid(catalog, ownerUuid(store));
        const mayBeLost = !isRead && (owner === undefined || isVoid(hold, owner));
        return first >= 0 && index >= first && !mayBeLost;
      });
    });
  }

  async #checkStore(record: SnapshotRecord): Promise<void> {
    let toldCount = 0;
    let untoldCount = 0;
    const clustersChecked = await verifyStore(this.#volume, record.uuid, async (findings) => {
      this.#damaged = true;
      const most = Math.min(MOST_TOLD_OF_STORE - toldCount, MOST_TOLD - this.#findings.length);
      const told = findings.slice(0, Math.max(0, most));
      for (const finding of told) this.#tell(record.name, finding);
      toldCount += told.length;
      untoldCount += findings.length - told.length;
      // A bitmap that does not count is made up for by the table, and what is needed by copying all: no reader is harmed.
      // Only the snapshot itself is read by its candidates.
      if (findings.some(({ kind }) => kind === 'candidate')) this.#affected.add(record.uuid);
      const harmful = findings.filter(({ kind }) => !['bitmap', 'candidate', 'needed'].includes(kind));
      const clusters = harmful.flatMap(({ clusterIndex }) => clusterIndex ?? []);
      if (clusters.length < harmful.length) await this.#affect(record, undefined);
      else if (clusters.length > 0) await this.#affect(record, clusters);
    });
    const before = this.#checked.get(ownerUuid(record)) ?? 0;
    this.#checked.set(ownerUuid(record), before + clustersChecked);
    if (untoldCount === 0) return;
    this.#tell(record.name, { kind: 'more', message: `${untoldCount} more findings like these` });
  }

  #tell(name: string, { kind, clusterIndex, message }: Omit<StoreFinding, 'kind'> & { kind: string }): void {
    this.#findings.push({ name, kind, clusterIndex, message });
  }

  /** Finds the snapshots that read one of the damaged clusters, or some of the damaged store. */
  async #affect(damaged: SnapshotRecord, clusters: readonly number[] | undefined): Promise<void> {
    await this.#volume.shared(async (hold) => {
      const snapshots = hold?.catalog.snapshots ?? [];
      const at = snapshots.findIndex(({ uuid }) => uuid === damaged.uuid);
      let left = [...new Set(clusters)].sort((a, b) => a - b);
      for (let index = at; hold !== undefined && index >= 0; index -= 1) {
        const record = snapshots[index];
        if (record === undefined || (clusters !== undefined && left.length === 0)) break;
        // Nobody reads further than to a clone but who is longer, and has the rest in a store of its own.
        if (index < at && record.isClone) break;
        if (index < at && clusters !== undefined) {
          const there = await clustersIfReadable(hold, record, left);
          left = left.filter((clusterIndex) => !there.has(clusterIndex));
        }
        // Without clusters there may be thousands of stores, and as many snapshots before each.
        const reads =
          clusters === undefined ? index === at || record.sizeBytes > 0 : await readsAny(hold, record, left);
        if (reads) this.#affected.add(record.uuid);
      }
    });
  }

  async #checkSnapshot({ record, trust, reason }: Target): Promise<VerifiedSnapshot> {
    const { name } = record;
    let ok = trust === 'valid' && !this.#affected.has(record.uuid);
    if (trust !== 'valid') this.#distrust(record, trust, reason);
    let digest: string | undefined;
    if (ok && record.digest !== undefined) {
      digest = await this.#digest(record);
      const now = digest === record.digest ? undefined : await this.#asItIsNow(record);
      // Removed meanwhile: nobody needs it any more, and the name may be another one's.
      if (digest !== record.digest && now === undefined) digest = undefined;
      else if (now?.ending !== undefined) {
        this.#distrust(now, 'invalid', endingText(now.ending));
        ok = false;
      } else if (now !== undefined) {
        const message =
          digest === undefined
            ? 'could not be read'
            : `reads as ${digest}, but ${record.digest} was recorded`;
        this.#findings.push({ name, kind: 'digest', clusterIndex: undefined, message });
        this.#damaged = true;
        ok = false;
      }
    }
    const clustersChecked = this.#checked.get(record.uuid) ?? 0;
    return { name, ok, clustersChecked, digest, recordedDigest: record.digest };
  }

  /** Says why a snapshot is not to be trusted, and where it ended. */
  #distrust(record: SnapshotRecord, trust: Trust, reason: string | undefined): void {
    const message = `is ${trust}: ${reason}`;
    this.#findings.push({
      name: record.name,
      kind: trust,
      clusterIndex: record.ending?.clusterIndex,
      message,
    });
  }

  /** Undefined where it was removed since we began. */
  #asItIsNow({ uuid }: SnapshotRecord): Promise<SnapshotRecord | undefined> {
    return this.#volume.shared(async (hold) => {
      const record = hold && findByUuid(hold.catalog, uuid);
      return record?.hidden === true ? undefined : record;
    });
  }

  async #digest(record: SnapshotRecord): Promise<string | undefined> {
    const digest = new Xxh64Digest();
    try {
      await digestSnapshot(this.#volume, record.name, digest);
      return digestText(digest.value());
    } catch (error) {
      if (hasCode(error, 'damage', 'invalid', 'modified', 'not-found')) return undefined;
      throw error;
    }
  }
}

/** Whether a snapshot has any of `clusters`, ascending, as candidates. */
async function readsAny(hold: Hold, record: SnapshotRecord, clusters: readonly number[]): Promise<boolean> {
  const count = clusterCount({ ...record, clusterSizeBytes: hold.catalog.clusterSizeBytes });
  const covered = clusters.filter((clusterIndex) => clusterIndex < count);
  return (await chosenOf(hold, record, 'candidate', covered)).length > 0;
}

/** Of `clusters`, those that a store has; one that cannot be read has none. */
async function clustersIfReadable(
  hold: Hold,
  record: SnapshotRecord,
  clusters: readonly number[],
): Promise<ReadonlySet<number>> {
  try {
    return await clustersOf(hold, record, clusters);
  } catch (error) {
    if (error instanceof SnapError) return new Set();
    throw error;
  }
}
