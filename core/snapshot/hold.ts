/**
 * What is known while the lock is held: the state, the catalog, the origin's size and time, and the store that
 * receives copies. It lives no longer than the lock. An exclusive hold changes things through `begin`, `finish` and
 * `commit`, so that whatever is half-done when the process dies is found by the next one (invariants 4 and 6).
 */
import { SnapError } from '../base/errors.ts';
import { NIL_UUID } from '../base/uuid.ts';
import type { FileStat, RandomAccessFile } from '../io/file-system.ts';
import { type AppendTarget, RepairNeeded } from '../store/append.ts';
import { type Catalog, newestRecord, type SnapshotRecord } from '../store/catalog.ts';
import { CopiedBitmap } from '../store/copied-bitmap.ts';
import { EMPTY_FIGURE, laterFigure, sameFigure } from '../store/figure.ts';
import type { FlushRecord } from '../store/flush-record.ts';
import { assess, isLastRecord, newestRecordOf, type Suspicion } from '../store/proof.ts';
import type { Sidecar } from '../store/sidecar.ts';
import { encodeState, type Mark, type State } from '../store/state.ts';
import type { StoreFile } from '../store/store-file.ts';
import type { Context } from './context.ts';
import type { StoreSet } from './store-set.ts';

/** The store that receives copies. */
export interface ActiveStore extends AppendTarget {
  readonly record: SnapshotRecord;
}

/** What outlives a hold and is believed again only if its stamp still holds. */
export interface HoldCache {
  catalog?: { readonly stamp: string; readonly catalog: Catalog } | undefined;
  active?: { stamp: string; readonly active: ActiveStore } | undefined;
  reaching?: { readonly stamp: string; readonly uuids: ReadonlySet<string> };
}

export interface HoldParts {
  readonly context: Context;
  readonly image: string;
  readonly imagePath: string;
  readonly kind: 'shared' | 'exclusive';
  readonly origin: RandomAccessFile;
  readonly originStat: FileStat;
  readonly sidecar: Sidecar;
  readonly stores: StoreSet;
  readonly cache: HoldCache;
  readonly bootId: Buffer;
  readonly state: State | undefined;
  readonly catalog: Catalog;
  readonly repairDue: boolean;
}

export interface CommitOptions {
  /** What the store that receives copies from now on has; absent where that stays the same store. */
  readonly figure?:
    | { readonly storeUuid: string; readonly record: Pick<FlushRecord, 'made' | 'sequence'> }
    | undefined;
  /** For what no cache depends on: a digest. */
  readonly keepGeneration?: boolean;
}

const NO_RECORD = { made: EMPTY_FIGURE, sequence: 0 };

/** What `state` says of the store that receives copies. */
export function figureIn(
  storeUuid: string,
  record: Pick<FlushRecord, 'made' | 'sequence'>,
): Pick<State, 'figureStoreUuid' | 'figure' | 'figureSequence'> {
  return { figureStoreUuid: storeUuid, figure: record.made, figureSequence: record.sequence };
}

export class Hold {
  readonly context: Context;
  /** As the user gave it: for messages. */
  readonly image: string;
  readonly imagePath: string;
  readonly origin: RandomAccessFile;
  readonly sidecar: Sidecar;
  readonly stores: StoreSet;
  readonly bootId: Buffer;
  originStat: FileStat;
  catalog: Catalog;
  /** Only in a shared hold: nothing cached counts, and the table of the store in question is what is believed. */
  repairDue: boolean;
  /**
   * Whether a bitmap that does not count is made up for from the table, as those do who only look. Who changes things
   * repairs first; after that, what the table cannot make up for is damage.
   */
  mayAssess: boolean;
  /** Stores that repair found damaged, in this hold. */
  readonly damaged = new Map<string, SnapError>();
  readonly cache: HoldCache;
  #state: State | undefined;

  constructor(parts: HoldParts) {
    this.context = parts.context;
    this.image = parts.image;
    this.imagePath = parts.imagePath;
    this.origin = parts.origin;
    this.sidecar = parts.sidecar;
    this.stores = parts.stores;
    this.bootId = parts.bootId;
    this.originStat = parts.originStat;
    this.catalog = parts.catalog;
    this.repairDue = parts.repairDue;
    this.mayAssess = parts.kind === 'shared';
    this.cache = parts.cache;
    this.#state = parts.state;
  }

  /** Undefined while it is unreadable, until repair has made it anew. */
  get stateIfReadable(): State | undefined {
    return this.#state;
  }

  get state(): State {
    if (this.#state === undefined)
      throw new SnapError('damage', `${this.sidecar.stateFile.path}: unreadable`);
    return this.#state;
  }

  get sameBoot(): boolean {
    return this.#state?.bootId.equals(this.bootId) ?? false;
  }

  /** Whether the origin's time in `state` says anything: not after a crash, which leaves it behind the origin's. */
  get timeCounts(): boolean {
    const state = this.#state;
    if (state === undefined || state.mark?.writesOrigin) return false;
    return state.phase === 'closed' || (state.phase === 'open' && this.sameBoot);
  }

  get originChangedOutside(): boolean {
    const state = this.#state;
    if (state === undefined || !this.timeCounts) return false;
    return (
      this.originStat.sizeBytes !== state.originSizeBytes || this.originStat.modifiedNs !== state.originTimeNs
    );
  }

  /** Changes when anything that was proven or cached must be proven again. */
  get stamp(): string {
    const state = this.#state;
    if (state === undefined || this.repairDue) {
      return state === undefined ? 'unreadable' : encodeState(state).toString('latin1');
    }
    return `${state.sidecarUuid}/${state.generation}/${state.batch}/${state.repairs}`;
  }

  /** As `stamp`, for stores that no batch writes to. */
  get sealedStamp(): string {
    const state = this.#state;
    if (state === undefined || this.repairDue) return this.stamp;
    return `${state.sidecarUuid}/${state.generation}/${state.repairs}`;
  }

  /** What repair and lookers go by when a store's bitmap does not count. */
  suspicion(record: SnapshotRecord): Suspicion {
    const state = this.#state;
    const isInState = state?.figureStoreUuid === record.uuid;
    const inState = isInState ? state.figure : undefined;
    const atLeast = record.sealed === undefined ? inState : laterFigure(record.sealed, inState);
    // What is read after a power loss is what the disk has.
    if (!this.sameBoot)
      return { atLeast, unfinishedBatch: undefined, durableSequence: Number.MAX_SAFE_INTEGER };
    const mark = state?.mark;
    const isMarked = mark !== undefined && mark.batch > 0 && mark.storeUuid === record.uuid;
    const unfinishedBatch = isMarked && mark.batch > (inState?.batch ?? 0) ? mark.batch : undefined;
    const durableSequence = isInState && state.figureSequence > 0 ? state.figureSequence : undefined;
    return { atLeast, unfinishedBatch, durableSequence };
  }

  /**
   * The newest store, proven; undefined where there is no snapshot.
   * @throws `not-found`, `damage`; RepairNeeded in an exclusive hold whose bitmap does not count
   */
  async active(): Promise<ActiveStore | undefined> {
    const record = newestRecord(this.catalog);
    if (record === undefined) return undefined;
    const cached = this.cache.active;
    if (cached?.stamp === this.stamp && cached.active.record.uuid === record.uuid) return cached.active;
    const damage = this.damaged.get(record.uuid);
    if (damage !== undefined) throw damage;
    const store = await this.stores.open(this.catalog, record);
    this.stores.pin('active', record.uuid);
    const active = await this.#loadActive(record, store);
    this.cache.active = { stamp: this.stamp, active };
    return active;
  }

  async #loadActive(record: SnapshotRecord, store: StoreFile): Promise<ActiveStore> {
    const suspicion = this.suspicion(record);
    const flushRecord = await newestRecordOf(store);
    const previous = this.cache.active?.active;
    const bitmap =
      previous?.store === store ? previous.bitmap : new CopiedBitmap(store.regions.bitmapSizeBytes);
    await bitmap.refresh(store);
    // Where nothing is in flight, `state` knows the store's last figure to the batch.
    const { atLeast } = suspicion;
    const current = this.repairDue
      ? isLastRecord(flushRecord, atLeast)
      : atLeast === undefined || sameFigure(atLeast, flushRecord.made);
    if (current && bitmap.sum.equals(flushRecord.made)) return { record, store, bitmap, flushRecord };
    if (!this.mayAssess) throw new RepairNeeded('the copied bitmap does not count');
    const assessment = await assess(store, suspicion);
    return { record, store, bitmap: assessment.bitmap, flushRecord };
  }

  /** Says that `active`'s cached content is what the disk has after a batch of our own. */
  keepActive(active: ActiveStore): void {
    this.cache.active = { stamp: this.stamp, active };
  }

  /** A window of the copied bitmap of any store of the chain. */
  async readBits(record: SnapshotRecord, target: Buffer, firstByte: number): Promise<void> {
    if (record.uuid === newestRecord(this.catalog)?.uuid) {
      (await this.active())?.bitmap.bits.copy(target, 0, firstByte);
      return;
    }
    const proof = { stamp: this.sealedStamp, suspicion: this.suspicion(record) };
    await this.stores.readBits(this.catalog, record, { target, firstByte }, proof);
  }

  async #write(changes: Partial<State>): Promise<void> {
    const state = { ...this.state, ...changes };
    await this.sidecar.writeState(state);
    this.#state = state;
  }

  /**
   * Writes `next` and flushes it. A flush that fails may bring back any earlier state that once reached the disk; so
   * `otherwise` is then written again, or the state made unreadable where that was what was found.
   */
  async writeDurably(next: State, otherwise: State | undefined): Promise<void> {
    await this.replaceState(next);
    try {
      await this.sidecar.flushState();
    } catch (error) {
      if (otherwise === undefined) await this.sidecar.clearState();
      else await this.replaceState(otherwise);
      throw error;
    }
  }

  /** For repair alone: puts a whole state in place. */
  async replaceState(state: State): Promise<void> {
    await this.sidecar.writeState(state);
    this.#state = state;
  }

  /**
   * Makes `state` say, durably, that this boot has begun to change things. Only what was flushed and is not confirmed
   * can come back from the disk, by a failed flush of `state` later in this boot: then repair is due.
   */
  async ensureOpen(): Promise<void> {
    if (this.state.phase === 'open' && this.sameBoot) return;
    await this.writeDurably({ ...this.state, phase: 'opening', bootId: this.bootId }, this.state);
    await this.#write({ phase: 'open' });
  }

  /**
   * Sets the in-flight mark with the next batch number.
   * @param above what the number must be above besides: the newest that the store in question has seen
   */
  async begin(mark: Omit<Mark, 'batch'>, above = 0): Promise<number> {
    if (this.state.mark !== undefined) {
      throw new SnapError('io', `${this.image}: what was in flight could not be repaired yet`, {
        path: this.sidecar.stateFile.path,
        hint: 'see to the disk, and run the command again',
      });
    }
    const batch = Math.max(this.state.batch, above) + 1;
    await this.#write({ batch, mark: { ...mark, batch } });
    return batch;
  }

  /** Records what is flushed now and clears the mark; with `originWritten`, takes the origin's size and time as ours. */
  async finish(changes: Partial<State> & { readonly originWritten?: boolean } = {}): Promise<void> {
    const { originWritten, ...fields } = changes;
    if (originWritten) this.originStat = await this.origin.stat();
    await this.#write({ ...fields, ...(originWritten && this.#originAsFound()), mark: undefined });
  }

  /**
   * Says that a batch is flushed, between its flush and its bits: from then on its entries are there or it is damage.
   * The bits could not tell as much, since a later flush that fails may lose them.
   */
  async noteFlushed(storeUuid: string, record: FlushRecord): Promise<void> {
    await this.#write(figureIn(storeUuid, record));
  }

  /** The same for what a sealed store was handed: no batch is unfinished any more, but the mark still tells the store. */
  async noteHandedOver(): Promise<void> {
    await this.#write({ mark: this.state.mark && { ...this.state.mark, batch: 0 } });
  }

  #originAsFound(): Pick<State, 'originSizeBytes' | 'originTimeNs'> {
    return { originSizeBytes: this.originStat.sizeBytes, originTimeNs: this.originStat.modifiedNs };
  }

  /**
   * Puts a store's bits on disk. Under the mark, since a flush that fails may make the system forget what was dirty:
   * repair then writes them anew.
   */
  async flushBits(store: StoreFile): Promise<void> {
    const { storeUuid } = store.identity;
    await this.begin({ storeUuid, firstCluster: 0, lastCluster: 0, writesOrigin: false });
    await store.flush();
    await this.finish(newestRecord(this.catalog)?.uuid === storeUuid ? { bitsDirty: false } : {});
  }

  /** Says, durably, that everything is on disk: the origin was flushed and has not changed since. */
  async markClosed(): Promise<void> {
    const closed: State = { ...this.state, phase: 'closed' };
    // Once tried, "closed" may be on disk: whoever comes next must open anew, durably.
    await this.writeDurably(closed, closed);
  }

  /**
   * As `commit`, for a change of the origin from outside: `state` is not opened for it, since only a state as it was
   * left still tells of the change, should this be interrupted. A catalog ahead of `state` is legal.
   */
  async commitOutsideChange(change: (catalog: Catalog) => Catalog): Promise<void> {
    const onDisk = await this.sidecar.readCatalog();
    const catalog = { ...change(onDisk), generation: onDisk.generation + 1 };
    await this.sidecar.replaceCatalog(catalog);
    this.catalog = catalog;
    const { batch } = this.state;
    await this.#write({ generation: catalog.generation, batch: batch + 1, ...this.#originAsFound() });
  }

  /**
   * Replaces the catalog, durably before its effect. `change` is given the catalog as it stands on disk.
   */
  async commit(change: (catalog: Catalog) => Catalog, options: CommitOptions = {}): Promise<void> {
    await this.ensureOpen();
    await this.begin({ storeUuid: NIL_UUID, firstCluster: 0, lastCluster: 0, writesOrigin: false });
    const onDisk = await this.sidecar.readCatalog();
    const generation = onDisk.generation + (options.keepGeneration ? 0 : 1);
    const catalog = { ...change(onDisk), generation };
    await this.sidecar.replaceCatalog(catalog);
    this.catalog = catalog;
    const { figure } = options;
    const newest = newestRecord(catalog);
    const none = newest === undefined ? { storeUuid: NIL_UUID, record: NO_RECORD } : undefined;
    const next = none ?? figure;
    await this.finish({
      generation,
      ...(next && { ...figureIn(next.storeUuid, next.record), bitsDirty: false }),
    });
    this.cache.catalog = { stamp: `${catalog.sidecarUuid}/${generation}`, catalog };
  }
}
