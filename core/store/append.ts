/**
 * Appending clusters to a store, as one batch with one flush: slots at the file's end, entries where zeros stand, the
 * flush record, the flush, and only then the bits, since a set bit means flushed (invariant 1). Copying from the
 * origin and handing over from a removed snapshot both end here.
 */
import { isZero } from '../base/bytes.ts';
import { xxh64 } from '../base/xxh64.ts';
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
  for (const clusterIndex of indexes) {
    const last = runs.at(-1);
    if (last !== undefined && last.firstCluster + last.count === clusterIndex && last.count < most) {
      runs[runs.length - 1] = { firstCluster: last.firstCluster, count: last.count + 1 };
    } else {
      runs.push({ firstCluster: clusterIndex, count: 1 });
    }
  }
  return runs;
}

export class AppendBatch {
  readonly #target: AppendTarget;
  readonly #batch: number;
  readonly #handedOver: boolean;
  readonly #clusters: number[] = [];
  /** Where the batch's slots begin. */
  readonly firstSlot: number;
  #slotIndex: number;
  #slotCount = 0;
  #bytes = 0;

  private constructor(target: AppendTarget, batch: number, handedOver: boolean, slotIndex: number) {
    this.#target = target;
    this.#batch = batch;
    this.#handedOver = handedOver;
    this.firstSlot = slotIndex;
    this.#slotIndex = slotIndex;
  }

  static async start(target: AppendTarget, batch: number, handedOver: boolean): Promise<AppendBatch> {
    return new AppendBatch(target, batch, handedOver, await target.store.nextSlot());
  }

  get clustersCopied(): number {
    return this.#clusters.length;
  }

  /** What took a slot. */
  get bytesCopied(): number {
    return this.#bytes;
  }

  /**
   * Writes the slots and entries of adjacent clusters; nothing counts before `publish`.
   * @param content the clusters, each as long as the store's geometry says
   * @throws RepairNeeded
   */
  async add(firstCluster: number, content: Buffer): Promise<void> {
    const { store } = this.#target;
    const { clusterSizeBytes } = store.identity;
    const count = Math.ceil(content.length / clusterSizeBytes);
    const table = Buffer.alloc(count * ENTRY.sizeBytes);
    await store.readTable(table, firstCluster);
    if (!isZero(table)) throw new RepairNeeded('entries stand where none should be');
    let segmentStart = 0;
    for (let index = 0; index < count; index += 1) {
      const start = index * clusterSizeBytes;
      const clusterIndex = firstCluster + index;
      const cluster = content.subarray(start, start + clusterLengthBytes(store.identity, clusterIndex));
      const zero = isZero(cluster);
      if (zero) {
        await this.#writeSlots(content.subarray(segmentStart, start));
        segmentStart = start + cluster.length;
      }
      const slotIndex = zero ? -1 : this.#slotIndex + this.#pendingSlots(start - segmentStart);
      const entry = { slotIndex, handedOver: this.#handedOver, hash: xxh64(cluster), batch: this.#batch };
      store.entries.encode(entry, clusterIndex, table, index * ENTRY.sizeBytes);
      this.#clusters.push(clusterIndex);
    }
    await this.#writeSlots(content.subarray(segmentStart));
    await store.writeTable(table, firstCluster);
  }

  #pendingSlots(bytes: number): number {
    return bytes / this.#target.store.identity.clusterSizeBytes;
  }

  async #writeSlots(content: Buffer): Promise<void> {
    if (content.length === 0) return;
    const slots = Math.ceil(this.#pendingSlots(content.length));
    await this.#target.store.writeSlots(content, this.#slotIndex);
    this.#slotIndex += slots;
    this.#slotCount += slots;
    this.#bytes += content.length;
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
      made: figureOf(sum, this.#batch),
      ownSlotCount: flushRecord.ownSlotCount + (this.#handedOver ? 0 : this.#slotCount),
      zeroCount: flushRecord.zeroCount + this.#clusters.length - this.#slotCount,
    };
    await store.writeRecord(nextRecord);
    await store.flush();
    await noteFlushed(nextRecord);
    for (const clusterIndex of this.#clusters) bitmap.add(clusterIndex);
    for (const { firstCluster, count } of joinRuns(this.#clusters, this.#clusters.length)) {
      const [from, to] = [firstCluster >>> 3, (firstCluster + count - 1) >>> 3];
      await store.writeBits(bitmap.bits.subarray(from, to + 1), from);
    }
    this.#target.flushRecord = nextRecord;
  }
}
