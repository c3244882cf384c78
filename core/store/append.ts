/**
 * Appending clusters to a store, as one batch with one flush: slots at the file's end, entries where zeros stand, the
 * flush record, the flush, and only then the bits, since a set bit means flushed (invariant 1). Copying from the
 * origin and handing over from a removed snapshot both end here.
 */
import { aheadOf } from '../base/ahead.ts';
import { Pool, RunBuffers } from '../base/buffers.ts';
import { isZero } from '../base/bytes.ts';
import { xxh64 } from '../base/xxh64.ts';
import { FlushBehind } from '../io/flush-behind.ts';
import type { CopiedBitmap } from './copied-bitmap.ts';
import { figureOf } from './figure.ts';
import type { FlushRecord } from './flush-record.ts';
import { clusterLengthBytes, ENTRY } from './layout.ts';
import type { StoreFile } from './store-file.ts';

/** Something stands where only zeros may, or a bitmap does not count: repair, then try again. */
export class RepairNeeded extends Error {}

/** A store that may be appended to: its whole bitmap, proven, and its newest flush record. */
export interface AppendTarget {
  readonly store: StoreFile;
  readonly bitmap: CopiedBitmap;
  flushRecord: FlushRecord;
}

/** A run of adjacent clusters. */
export interface Run {
  readonly firstCluster: number;
  readonly count: number;
}

/** Adjacent indexes of an ascending list joined, none longer than `most`. */
export function joinRuns(indexes: readonly number[], most: number): Run[] {
  const runs: Run[] = [];
  let count = 0;
  for (const [at, clusterIndex] of indexes.entries()) {
    count += 1;
    if (indexes[at + 1] === clusterIndex + 1 && count < most) continue;
    runs.push({ firstCluster: clusterIndex - count + 1, count });
    count = 0;
  }
  return runs;
}

export interface RunContent {
  /** The part of the buffer that the store is to have. */
  readonly content: Buffer;
  /** XXH64 of its first clusters, as far as known; of the others it is computed. */
  readonly hashes?: readonly bigint[];
}

/** Fills a buffer of `count` whole clusters. */
export type RunReader = (run: Run, target: Buffer) => Promise<RunContent>;

/** How much is done at one taking of the lock. */
export interface Pace {
  /** Of a write's data, or of what is handed over; a multiple of the cluster size. */
  readonly batchBytes: number;
  /** Whenever so much of a batch was copied, and there is more to come, it begins to be flushed. */
  readonly flushAheadBytes: number;
  /** Instead of `batchBytes` where what is written needs no room in memory, as long as nobody waits for the lock. */
  readonly aloneBytes?: number;
}

/** Enough that a flush is worth it, and little enough that nobody waits long for the lock. */
export const PACE: Pace = { batchBytes: 16 << 20, flushAheadBytes: 8 << 20, aloneBytes: 64 << 20 };

/** How much is copied in one call: a disk that is written past the cache likes more of it than the cache does. */
const APPEND_RUN_BYTES = 4 << 20;

/** Of three, one is being read, one hashed, one written. */
const BUFFERS = new Pool(() => new RunBuffers(3, APPEND_RUN_BYTES));

export interface AppendOptions {
  /** The batch's number. */
  readonly batch: number;
  readonly handedOver: boolean;
  readonly flushAheadBytes: number;
  /** Whether it must outlive the boot. Where it need not, nothing is flushed: the order of the calls is enough. */
  readonly durable: boolean;
}

export class AppendBatch {
  readonly #target: AppendTarget;
  readonly #options: AppendOptions;
  readonly #flushAhead: FlushBehind;
  readonly #clusters: number[] = [];
  /** Where the batch's slots begin. */
  readonly firstSlot: number;
  #slotIndex: number;
  #slotCount = 0;
  #bytes = 0;
  #flushedAheadBytes = 0;

  private constructor(target: AppendTarget, options: AppendOptions, slotIndex: number) {
    this.#target = target;
    this.#options = options;
    this.#flushAhead = new FlushBehind(() => target.store.flush());
    this.firstSlot = slotIndex;
    this.#slotIndex = slotIndex;
  }

  static async start(target: AppendTarget, options: AppendOptions): Promise<AppendBatch> {
    return new AppendBatch(target, options, await target.store.nextSlot());
  }

  get clustersCopied(): number {
    return this.#clusters.length;
  }

  /** What took a slot. */
  get bytesCopied(): number {
    return this.#bytes;
  }

  /**
   * Writes the slots and entries of `clusters`, which ascend; nothing counts before `publish`. While one run is hashed,
   * the next is read and the one before it is written. Nothing is under way any more when it returns or throws; of what
   * failed beside each other it throws the first.
   * @throws RepairNeeded, and what `read` throws
   */
  async add(clusters: readonly number[], read: RunReader): Promise<void> {
    await BUFFERS.lend((buffers) => this.#addBy(buffers, clusters, read));
  }

  async #addBy(buffers: RunBuffers, clusters: readonly number[], read: RunReader): Promise<void> {
    const { clusterSizeBytes } = this.#target.store.identity;
    const runBytes = Math.min(APPEND_RUN_BYTES, this.#options.flushAheadBytes);
    const runs = joinRuns(clusters, Math.max(1, Math.floor(runBytes / clusterSizeBytes)));
    let failure: { readonly error: unknown } | undefined;
    const note = (error: unknown) => {
      failure ??= { error };
    };
    /** It is awaited later; until then its failure is not unhandled. */
    const noted = <T>(promise: Promise<T>) => {
      promise.catch(note);
      return promise;
    };
    const load = async (run: Run) => ({
      firstCluster: run.firstCluster,
      loaded: await noted(read(run, buffers.take(run.count * clusterSizeBytes))),
    });
    let writing: Promise<void> = Promise.resolve();
    try {
      for await (const { firstCluster, loaded } of aheadOf(runs, load)) {
        const write = await this.#prepare(firstCluster, loaded);
        await writing;
        this.#mayFlushAhead(loaded.content.length);
        writing = noted(write());
      }
      await writing;
      await this.#flushAhead.finish();
    } catch (error) {
      note(error);
      await Promise.allSettled([writing, this.#flushAhead.finish()]);
      throw failure?.error;
    }
  }

  /** Half of a batch reaches the disk while the other half is copied; the flush that counts is that of `publish`. */
  #mayFlushAhead(nextBytes: number): void {
    const writtenBytes = this.#bytes - nextBytes;
    if (!this.#options.durable) return;
    if (writtenBytes - this.#flushedAheadBytes < this.#options.flushAheadBytes) return;
    this.#flushedAheadBytes = writtenBytes;
    this.#flushAhead.start();
  }

  /** Hashes adjacent clusters and gives them slots; what it returns writes both. */
  async #prepare(firstCluster: number, { content, hashes }: RunContent): Promise<() => Promise<void>> {
    const { store } = this.#target;
    const { batch, handedOver, durable } = this.#options;
    const { clusterSizeBytes } = store.identity;
    const count = Math.ceil(content.length / clusterSizeBytes);
    const table = Buffer.alloc(count * ENTRY.sizeBytes);
    await store.readTable(table, firstCluster);
    if (!isZero(table)) throw new RepairNeeded('entries stand where none should be');
    const writes: { readonly content: Buffer; readonly slotIndex: number }[] = [];
    let start = 0;
    const endSegment = (end: number) => {
      const segment = content.subarray(start, end);
      if (segment.length === 0) return;
      writes.push({ content: segment, slotIndex: this.#slotIndex });
      const slots = Math.ceil(segment.length / clusterSizeBytes);
      this.#slotIndex += slots;
      this.#slotCount += slots;
      this.#bytes += segment.length;
    };
    for (let index = 0; index < count; index += 1) {
      const at = index * clusterSizeBytes;
      const clusterIndex = firstCluster + index;
      const cluster = content.subarray(at, at + clusterLengthBytes(store.identity, clusterIndex));
      const zero = isZero(cluster);
      if (zero) {
        endSegment(at);
        start = at + cluster.length;
      }
      const slotIndex = zero ? -1 : this.#slotIndex + (at - start) / clusterSizeBytes;
      const entry = { slotIndex, handedOver, hash: hashes?.[index] ?? xxh64(cluster), batch };
      store.entries.encode(entry, clusterIndex, table, index * ENTRY.sizeBytes);
      this.#clusters.push(clusterIndex);
    }
    endSegment(content.length);
    return async () => {
      // What is not flushed may never have to reach the disk.
      const way = durable ? 'past-cache' : undefined;
      for (const each of writes) await store.writeSlots(each.content, each.slotIndex, way);
      await store.writeTable(table, firstCluster);
    };
  }

  /**
   * Flushes what was added and sets its bits. The record then is the target's.
   * @param noteFlushed says where it outlasts us that the entries are on disk, before anything relies on them
   */
  async publish(noteFlushed: (record: FlushRecord) => Promise<void>): Promise<void> {
    const { store, bitmap, flushRecord } = this.#target;
    const sum = bitmap.sum.copy();
    for (const clusterIndex of this.#clusters) sum.add(clusterIndex);
    const nextRecord: FlushRecord = {
      sequence: flushRecord.sequence + 1,
      known: flushRecord.made,
      made: figureOf(sum, this.#options.batch),
      ownSlotCount: flushRecord.ownSlotCount + (this.#options.handedOver ? 0 : this.#slotCount),
      zeroCount: flushRecord.zeroCount + this.#clusters.length - this.#slotCount,
    };
    await store.writeRecord(nextRecord);
    if (this.#options.durable) await store.flush();
    await noteFlushed(nextRecord);
    for (const clusterIndex of this.#clusters) bitmap.add(clusterIndex);
    for (const { firstCluster, count } of joinRuns(this.#clusters, this.#clusters.length)) {
      const [from, to] = [firstCluster >>> 3, (firstCluster + count - 1) >>> 3];
      await store.writeBits(bitmap.bits.subarray(from, to + 1), from);
    }
    this.#target.flushRecord = nextRecord;
  }
}
