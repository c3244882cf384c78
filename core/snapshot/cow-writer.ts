/**
 * One batch of writes through copy-on-write: before a byte of the origin changes, the old content of its cluster and
 * the entry for it are in the newest store, flushed (invariant 1). All under the exclusive lock, with one flush:
 *
 *   mark in state -> slots -> entries -> flush record -> fdatasync -> bits -> origin -> state
 *
 * NetBSD's fss copies a cluster at a time the same way; dm-snapshot copies once for every snapshot, this once in all,
 * because older snapshots read through the newer ones' stores.
 */
import { getBit } from '../base/bitmap.ts';
import { isZero } from '../base/bytes.ts';
import { hasCode, SnapError } from '../base/errors.ts';
import { NIL_UUID } from '../base/uuid.ts';
import { xxh64 } from '../base/xxh64.ts';
import { isAlive } from '../store/catalog.ts';
import { type Figure, figureOf } from '../store/figure.ts';
import { clusterLengthBytes, ENTRY } from '../store/layout.ts';
import { type ActiveStore, type Hold, RepairNeeded } from './hold.ts';
import { endForLackOfSpace, limitReached } from './limits.ts';
import { readOrigin } from './origin.ts';
import { giveUp } from './recover.ts';

/** Bytes to be written at a place of the origin. */
export interface Extent {
  readonly offsetBytes: number;
  readonly data: Buffer;
}

export interface BatchResult {
  readonly clustersCopied: number;
  readonly bytesCopied: number;
  /** Whose store received the copies. */
  readonly storeUuid: string | undefined;
}

/** A run of adjacent clusters. */
interface Run {
  readonly firstCluster: number;
  readonly count: number;
}

const COPY_BUFFER_BYTES = 1 << 20;

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

/** The clusters, ascending, that must be copied before `extents` are written. */
export function missingClusters(hold: Hold, active: ActiveStore, extents: readonly Extent[]): number[] {
  const { clusterSizeBytes, sizeBytes } = active.store.identity;
  const neededBytes = Math.max(
    0,
    ...hold.catalog.snapshots.filter(isAlive).map((record) => record.sizeBytes),
  );
  const endBytes = Math.min(neededBytes, sizeBytes);
  const missing = new Set<number>();
  for (const { offsetBytes, data } of extents) {
    const untilBytes = Math.min(offsetBytes + data.length, endBytes);
    if (untilBytes <= offsetBytes) continue;
    const last = Math.floor((untilBytes - 1) / clusterSizeBytes);
    for (let index = Math.floor(offsetBytes / clusterSizeBytes); index <= last; index += 1) {
      if (!getBit(active.bitmap.bits, index)) missing.add(index);
    }
  }
  return [...missing].sort((a, b) => a - b);
}

export class CowWriter {
  #buffer = Buffer.alloc(0);

  /**
   * Applies one batch. Extents must not overlap, and lie in ascending order.
   * @throws `no-space` where a snapshot refuses, nothing of the batch being written; `damage` or `not-found` of a
   *   store that is needed; whatever the origin's write failed with, its offset saying how far it came
   */
  async apply(hold: Hold, extents: readonly Extent[]): Promise<BatchResult> {
    await hold.ensureOpen();
    for (;;) {
      const active = await hold.active();
      const missing = active === undefined ? [] : missingClusters(hold, active, extents);
      if (active !== undefined && (await limitReached(hold, active, missing))) continue;
      const result = await this.#copyOrGiveUp(hold, active, { missing, extents });
      if (result === undefined) continue;
      await this.#writeOrigin(hold, active, extents);
      return result;
    }
  }

  /** Undefined where the batch was given up and may be tried again, since something was mended or marked. */
  async #copyOrGiveUp(
    hold: Hold,
    active: ActiveStore | undefined,
    batch: { readonly missing: readonly number[]; readonly extents: readonly Extent[] },
  ): Promise<BatchResult | undefined> {
    const { missing, extents } = batch;
    try {
      return await this.#copy(hold, active, missing, extents.length > 0);
    } catch (error) {
      await giveUp(hold);
      if (hold.state.mark !== undefined) throw error;
      if (error instanceof RepairNeeded) return undefined;
      if (!hasCode(error, 'no-space')) throw error;
      await endForLackOfSpace(hold, missing, error);
      return undefined;
    }
  }

  async #copy(
    hold: Hold,
    active: ActiveStore | undefined,
    missing: readonly number[],
    writesOrigin: boolean,
  ): Promise<BatchResult> {
    const batch = await hold.begin({
      storeUuid: active?.record.uuid ?? NIL_UUID,
      firstCluster: missing[0] ?? 0,
      lastCluster: missing.at(-1) ?? 0,
      writesOrigin,
    });
    if (active === undefined || missing.length === 0) {
      return { clustersCopied: 0, bytesCopied: 0, storeUuid: undefined };
    }
    const { store, bitmap, flushRecord } = active;
    const { clusterSizeBytes } = store.identity;
    const runs = joinRuns(missing, Math.max(1, Math.floor(COPY_BUFFER_BYTES / clusterSizeBytes)));
    let slotIndex = await store.nextSlot();
    const firstSlot = slotIndex;
    let bytesCopied = 0;
    for (const run of runs) {
      const copied = await this.#copyRun(hold, active, { run, slotIndex, batch });
      slotIndex += copied.slotCount;
      bytesCopied += copied.bytes;
    }

    const slotCount = slotIndex - firstSlot;
    const made = this.#figureWith(active, missing, batch);
    const nextRecord = {
      sequence: flushRecord.sequence + 1,
      known: flushRecord.made,
      made,
      ownSlotCount: flushRecord.ownSlotCount + slotCount,
      zeroCount: flushRecord.zeroCount + missing.length - slotCount,
    };
    await store.writeRecord(nextRecord);
    await store.flush();
    for (const clusterIndex of missing) bitmap.add(clusterIndex);
    for (const { firstCluster, count } of joinRuns(missing, missing.length)) {
      const [from, to] = [firstCluster >>> 3, (firstCluster + count - 1) >>> 3];
      await store.writeBits(bitmap.bits.subarray(from, to + 1), from);
    }
    active.flushRecord = nextRecord;
    return { clustersCopied: missing.length, bytesCopied, storeUuid: active.record.uuid };
  }

  /** Copies adjacent clusters from the origin into slots from `slotIndex` on; says how many slots and bytes they took. */
  async #copyRun(
    hold: Hold,
    active: ActiveStore,
    work: { readonly run: Run; readonly slotIndex: number; readonly batch: number },
  ): Promise<{ slotCount: number; bytes: number }> {
    const { store } = active;
    const { firstCluster, count } = work.run;
    const { clusterSizeBytes } = store.identity;
    const lastLengthBytes = clusterLengthBytes(store.identity, firstCluster + count - 1);
    const lengthBytes = (count - 1) * clusterSizeBytes + lastLengthBytes;
    if (this.#buffer.length < lengthBytes) {
      this.#buffer = Buffer.allocUnsafeSlow(Math.max(COPY_BUFFER_BYTES, clusterSizeBytes));
    }
    const content = this.#buffer.subarray(0, lengthBytes);
    await readOrigin(hold.origin, content, firstCluster * clusterSizeBytes);

    const table = Buffer.alloc(count * ENTRY.sizeBytes);
    await store.readTable(table, firstCluster);
    if (!isZero(table)) throw new RepairNeeded('entries stand where none should be');

    let slotCount = 0;
    let bytes = 0;
    let segmentStart = 0;
    const writeSegment = async (endBytes: number) => {
      if (endBytes > segmentStart) {
        const segment = content.subarray(segmentStart, endBytes);
        const slots = Math.ceil(segment.length / clusterSizeBytes);
        await store.writeSlots(segment, work.slotIndex + slotCount - slots);
      }
    };
    for (let index = 0; index < count; index += 1) {
      const start = index * clusterSizeBytes;
      const cluster = content.subarray(start, start + clusterSizeBytes);
      const zero = isZero(cluster);
      if (zero) {
        await writeSegment(start);
        segmentStart = start + cluster.length;
      }
      const entry = {
        slotIndex: zero ? -1 : work.slotIndex + slotCount,
        handedOver: false,
        hash: xxh64(cluster),
        batch: work.batch,
      };
      store.entries.encode(entry, firstCluster + index, table, index * ENTRY.sizeBytes);
      if (!zero) {
        slotCount += 1;
        bytes += cluster.length;
      }
    }
    await writeSegment(content.length);
    await store.writeTable(table, firstCluster);
    return { slotCount, bytes };
  }

  #figureWith(active: ActiveStore, missing: readonly number[], batch: number): Figure {
    const sum = active.bitmap.sum.copy();
    for (const clusterIndex of missing) sum.add(clusterIndex);
    return figureOf(sum, batch);
  }

  async #writeOrigin(hold: Hold, active: ActiveStore | undefined, extents: readonly Extent[]): Promise<void> {
    const figure = active && { figureStoreUuid: active.record.uuid, figure: active.flushRecord.made };
    try {
      for (const { offsetBytes, data } of extents) await hold.origin.write(data, offsetBytes);
    } finally {
      // The copies are made and flushed, so whatever part was written is ours.
      await hold.finish({ ...figure, originWritten: true });
      if (active !== undefined) hold.keepActive(active);
    }
  }
}

/** How far a failed write to the origin came: the bytes of `extents` before the offset that the error names. */
export function bytesBefore(error: unknown, originPath: string, extents: readonly Extent[]): number {
  if (!(error instanceof SnapError) || error.offsetBytes === undefined || error.path !== originPath) return 0;
  let bytes = 0;
  for (const { offsetBytes, data } of extents) {
    bytes += Math.max(0, Math.min(data.length, error.offsetBytes - offsetBytes));
  }
  return bytes;
}
