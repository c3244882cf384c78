/**
 * Verifying one store: every structure in it and every copied cluster against its hash. Nothing is changed. Each window
 * is compared under one shared hold, so that a writer at work is not mistaken for damage; slots are hashed after it,
 * since a published slot never changes.
 */
import { aheadOf } from '../base/ahead.ts';
import { bitmapBytes, findBit } from '../base/bitmap.ts';
import { Pool, RunBuffers } from '../base/buffers.ts';
import { isZero } from '../base/bytes.ts';
import { hasCode, SnapError } from '../base/errors.ts';
import { findByUuid, newestRecord, type SnapshotRecord } from '../store/catalog.ts';
import { clusterCount, ENTRY } from '../store/layout.ts';
import { assess, bitmapCounts, proveCandidates } from '../store/proof.ts';
import { type Check, ClusterDamage, mismatches, readRun } from '../store/read-clusters.ts';
import { oneOf, type SlotRun, slotRuns } from '../store/slot-runs.ts';
import type { StoreFile } from '../store/store-file.ts';
import type { Hold } from './hold.ts';
import { SlotOwners } from './slot-owners.ts';
import type { Volume } from './volume.ts';

/** Something that is not as it should be, in one store. Without a cluster it concerns all of it. */
export interface StoreFinding {
  readonly kind: 'missing' | 'store' | 'bitmap' | 'candidate' | 'needed' | 'entry' | 'slot';
  readonly clusterIndex?: number | undefined;
  readonly message: string;
}

/** Is given what was found in one window; findings are not kept, since there may be one for every cluster. */
export type OnFindings = (findings: readonly StoreFinding[]) => Promise<void>;

/** Entries, and their clusters' bits, that one hold compares: few enough that it is done while slots are read. */
const WINDOW_CLUSTERS = 4096;
/** So many bits are looked at at a time for the next that is set: most of most stores has none. */
const STRETCH_CLUSTERS = 64 * WINDOW_CLUSTERS;
/** As much of slots is read at a time, by threads: two are at it while what was read before is hashed. */
const READ_BYTES = 4 << 20;
const READS = 2;

/** What is the same size for every store. */
class Scratch {
  /** One is hashed, the others are read into. */
  readonly slots = new RunBuffers(READS + 1, READ_BYTES);
  readonly table = Buffer.allocUnsafeSlow(WINDOW_CLUSTERS * ENTRY.sizeBytes);
  readonly bits = Buffer.alloc(WINDOW_CLUSTERS / 8);
  readonly stretch = Buffer.alloc(STRETCH_CLUSTERS / 8);
}

const SCRATCH = new Pool(() => new Scratch());

/** What is read in one go, one run behind the other. */
interface Group {
  readonly store: StoreFile;
  readonly runs: SlotRun[];
  count: number;
}

/** Where the window begins that a cluster is in. */
function windowOf(clusterIndex: number): number {
  return clusterIndex - (clusterIndex % WINDOW_CLUSTERS);
}

/** Returns how many copied clusters were checked. */
export function verifyStore(volume: Volume, uuid: string, onFindings: OnFindings): Promise<number> {
  return SCRATCH.lend(async (scratch) => {
    const verifier = new StoreVerifier(volume, uuid, scratch, onFindings);
    await verifier.run();
    return verifier.clustersChecked;
  });
}

/** As many runs together as are read at a time. */
function* groupsOf(store: StoreFile, runs: readonly SlotRun[]): Generator<Group> {
  const mostCount = mostInRun(store);
  let group: Group = { store, runs: [], count: 0 };
  for (const run of runs) {
    if (group.count + run.count > mostCount && group.count > 0) {
      yield group;
      group = { store, runs: [], count: 0 };
    }
    group.runs.push(run);
    group.count += run.count;
  }
  if (group.count > 0) yield group;
}

function mostInRun({ identity }: StoreFile): number {
  return Math.max(1, Math.floor(READ_BYTES / identity.clusterSizeBytes));
}

class StoreVerifier {
  clustersChecked = 0;
  #findings: StoreFinding[] = [];
  /** The last look failed where the disk could not be read; elsewhere it may be readable. */
  #isUnreadable = false;
  #bitmapCounts = false;
  readonly #onFindings: OnFindings;
  readonly #volume: Volume;
  readonly #uuid: string;
  readonly #scratch: Scratch;
  readonly #slotOwners = new SlotOwners();
  /** Where the window begins that is looked at. */
  #first = 0;
  /** Up to here bits are read window by window. */
  #carefulUntil = 0;

  constructor(volume: Volume, uuid: string, scratch: Scratch, onFindings: OnFindings) {
    this.#volume = volume;
    this.#uuid = uuid;
    this.#scratch = scratch;
    this.#onFindings = onFindings;
  }

  async #handOut(): Promise<void> {
    if (this.#findings.length > 0) await this.#onFindings(this.#findings);
    this.#findings = [];
  }

  async run(): Promise<void> {
    const count = await this.#held((hold, record, store) => this.#checkWhole(hold, record, store));
    await this.#handOut();
    if (count !== undefined) await this.#checkContent(count);
  }

  async #checkContent(count: number): Promise<void> {
    const { slots } = this.#scratch;
    const read = async (group: Group) => ({
      group,
      checks: await this.#readGroup(group, slots.take(group.count * group.store.identity.clusterSizeBytes)),
    });
    for await (const { group, checks } of aheadOf(this.#copiedGroups(count), read, READS)) {
      if (checks instanceof Error) await this.#checkEach(group, checks);
      else for (const check of checks) this.#compare(check);
      this.clustersChecked += group.count;
      this.#volume.context.progress(this.clustersChecked * group.store.identity.clusterSizeBytes, undefined);
      await this.#handOut();
    }
    await this.#handOut();
  }

  /** What is to be hashed, window by window; meanwhile what was given out before is read. */
  async *#copiedGroups(count: number): AsyncGenerator<Group> {
    for (this.#first = 0; this.#first < count; this.#first += WINDOW_CLUSTERS) {
      if (this.#volume.context.signal.aborted) throw new SnapError('interrupted', 'interrupted');
      const found = await this.#held(async (hold, record, store) => {
        await this.#findWindow(hold, record, store, count);
        const first = this.#first;
        if (first >= count) return { store, runs: [] };
        const window = { first, count: Math.min(WINDOW_CLUSTERS, count - first) };
        return { store, runs: await this.#compareWindow(hold, record, store, window) };
      });
      await this.#handOut();
      if (found !== undefined) yield* groupsOf(found.store, found.runs);
      if (found === undefined && !this.#isUnreadable) return;
    }
  }

  /**
   * Goes on to the next window that has a bit, or behind all. Where the bitmap counted, a hole of it need not be read; and
   * where much of it at once cannot be read, only a part of it may be unreadable.
   */
  async #findWindow(hold: Hold, record: SnapshotRecord, store: StoreFile, count: number): Promise<void> {
    while (this.#first < count) {
      if (this.#bitmapCounts) this.#first = windowOf(store.bitsFrom(this.#first >>> 3) * 8);
      const most = this.#first < this.#carefulUntil ? WINDOW_CLUSTERS : STRETCH_CLUSTERS;
      const stretchCount = Math.min(most, Math.max(0, count - this.#first));
      const bits = this.#scratch.stretch.subarray(0, bitmapBytes(stretchCount));
      try {
        await hold.readBits(record, bits, this.#first >>> 3);
      } catch (error) {
        if (most === WINDOW_CLUSTERS || !hasCode(error, 'io')) throw error;
        this.#findings.push({ kind: 'store', message: error.message });
        this.#carefulUntil = this.#first + STRETCH_CLUSTERS;
        continue;
      }
      const found = isZero(bits) ? stretchCount : findBit(bits, true, 0, stretchCount);
      if (found < stretchCount) {
        this.#first = windowOf(this.#first + found);
        return;
      }
      this.#first += stretchCount;
    }
  }

  /** Runs `look` with the store under a shared hold; undefined where it is gone or beyond looking at. */
  async #held<T>(
    look: (hold: Hold, record: SnapshotRecord, store: StoreFile) => Promise<T>,
  ): Promise<T | undefined> {
    return this.#volume.shared(async (hold) => {
      const record = hold && findByUuid(hold.catalog, this.#uuid);
      // Removed since we began: nobody needs it any more.
      if (hold === undefined || record === undefined) return undefined;
      try {
        this.#isUnreadable = false;
        // It is read after the hold, and telling who is affected by damage opens others.
        hold.stores.pin('verified', this.#uuid);
        return await look(hold, record, await hold.stores.open(hold.catalog, record));
      } catch (error) {
        // What cannot be read is as bad as damage, and must not keep the rest from being looked at.
        if (!hasCode(error, 'damage', 'not-found', 'io')) throw error;
        this.#isUnreadable = error.code === 'io';
        this.#findings.push({
          kind: error.code === 'not-found' ? 'missing' : 'store',
          message: error.message,
        });
        return undefined;
      }
    });
  }

  /** Flush records, figures, and whether the bitmap comes to them. Returns the number of clusters. */
  async #checkWhole(hold: Hold, record: SnapshotRecord, store: StoreFile): Promise<number> {
    if (record.isClone) await hold.stores.openClone(hold.catalog, record);
    const suspicion = hold.suspicion(record);
    this.#bitmapCounts = await bitmapCounts(store, suspicion.atLeast);
    if (!this.#bitmapCounts) {
      await assess(store, suspicion);
      if (!this.#mayBeUnfinished(hold, record)) {
        const message = `${store.path}: its copied bitmap does not come to its figure; the table is whole and read instead, and snap-gc repairs it`;
        this.#findings.push({ kind: 'bitmap', message });
      }
    }
    if (record.hasCandidates) await this.#checkCandidates(store);
    return clusterCount(store.identity);
  }

  async #checkCandidates(store: StoreFile): Promise<void> {
    const consequences = {
      candidate: 'the snapshot cannot be read',
      needed: 'more is copied than need be',
    } as const;
    for (const kind of ['candidate', 'needed'] as const) {
      try {
        await proveCandidates(store, kind);
      } catch (error) {
        if (!hasCode(error, 'damage')) throw error;
        this.#findings.push({ kind, message: `${error.message}; ${consequences[kind]}` });
      }
    }
  }

  /** What a killed command left is not damage: the next change repairs it. */
  #mayBeUnfinished(hold: Hold, record: SnapshotRecord): boolean {
    if (!hold.repairDue) return false;
    if (!hold.sameBoot) return true;
    const marked = hold.stateIfReadable?.mark?.storeUuid;
    return record.uuid === marked || record.uuid === newestRecord(hold.catalog)?.uuid;
  }

  /** Compares bits and entries; returns what is to be hashed. */
  async #compareWindow(
    hold: Hold,
    record: SnapshotRecord,
    store: StoreFile,
    window: { readonly first: number; readonly count: number },
  ): Promise<SlotRun[]> {
    const { first, count } = window;
    const bits = this.#scratch.bits.subarray(0, Math.ceil(count / 8));
    await hold.readBits(record, bits, first >>> 3);
    const table = this.#scratch.table.subarray(0, count * ENTRY.sizeBytes);
    await store.readTable(table, first);
    const unproven = (clusterIndex: number) => {
      const offsetBytes = (clusterIndex - first) * ENTRY.sizeBytes;
      const isEmpty = isZero(table, offsetBytes, offsetBytes + ENTRY.sizeBytes);
      const what = isEmpty ? 'copied by its bit, and has no entry' : 'its entry does not prove itself';
      this.#finding('entry', clusterIndex, what);
    };
    const runs: SlotRun[] = [];
    // A bitmap that comes to its figure has all that was ever relied on: an entry without a bit is what a
    // crash left of a batch, and the next repair of this store clears it.
    for (let at = findBit(bits, true, 0, count); at < count; at = findBit(bits, true, at, count)) {
      const end = findBit(bits, false, at, count);
      const clusters = { firstCluster: first + at, count: end - at };
      runs.push(...slotRuns(store.entries, { table, at, clusters }, mostInRun(store), unproven));
      at = end;
    }
    for (const run of runs) this.#claimSlots(run);
    return runs;
  }

  #claimSlots(run: SlotRun): void {
    for (let index = 0; index < run.count && run.slotIndex >= 0; index += 1) {
      const slotIndex = run.slotIndex + index;
      const owner = this.#slotOwners.claim(slotIndex, run.firstCluster + index);
      if (owner !== undefined)
        this.#finding('slot', run.firstCluster + index, `shares slot ${slotIndex} with cluster ${owner}`);
    }
  }

  /** What is to be compared, or why it cannot be read. */
  async #readGroup({ store, runs }: Group, target: Buffer): Promise<Check[] | Error> {
    const checks: Check[] = [];
    let atBytes = 0;
    try {
      for (const run of runs) {
        checks.push(await readRun(store, run, target.subarray(atBytes)));
        atBytes += run.count * store.identity.clusterSizeBytes;
      }
      return checks;
    } catch (error) {
      if (error instanceof ClusterDamage || hasCode(error, 'io', 'damage')) return error;
      throw error;
    }
  }

  /** One of them cannot be read: the others are still to be told apart. */
  async #checkEach({ store, runs, count }: Group, failure: Error): Promise<void> {
    const target = Buffer.allocUnsafe(store.identity.clusterSizeBytes);
    for (const run of runs) {
      // It was read by itself already.
      if (count === 1) return this.#finding('slot', run.firstCluster, failure.message);
      for (let index = 0; index < run.count; index += 1) {
        const one = oneOf(run, index);
        const checks = await this.#readGroup({ store, runs: [one], count: 1 }, target);
        if (checks instanceof Error) this.#finding('slot', one.firstCluster, checks.message);
        else for (const check of checks) this.#compare(check);
      }
    }
  }

  #compare(check: Check): void {
    for (const clusterIndex of mismatches(check))
      this.#finding('slot', clusterIndex, 'its content does not match its hash');
  }

  #finding(kind: StoreFinding['kind'], clusterIndex: number, message: string): void {
    this.#findings.push({ kind, clusterIndex, message: `cluster ${clusterIndex}: ${message}` });
  }
}
