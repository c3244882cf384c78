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
import { hasCode, SnapError } from '../base/errors.ts';
import { NIL_UUID } from '../base/uuid.ts';
import { AppendBatch, joinRuns, RepairNeeded, type Run } from '../store/append.ts';
import { isAlive } from '../store/catalog.ts';
import { clusterLengthBytes, type Geometry } from '../store/layout.ts';
import type { ActiveStore, Hold } from './hold.ts';
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

const COPY_BUFFER_BYTES = 1 << 20;

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
    const { identity } = active.store;
    const append = await AppendBatch.start(active, batch, false);
    for (const run of joinRuns(
      missing,
      Math.max(1, Math.floor(COPY_BUFFER_BYTES / identity.clusterSizeBytes)),
    )) {
      await append.add(run.firstCluster, await this.#readOld(hold, identity, run));
    }
    await append.publish();
    const { clustersCopied, bytesCopied } = append;
    return { clustersCopied, bytesCopied, storeUuid: active.record.uuid };
  }

  /** What the origin holds in adjacent clusters, in a buffer that the next call uses again. */
  async #readOld(hold: Hold, geometry: Geometry, run: Run): Promise<Buffer> {
    const { clusterSizeBytes } = geometry;
    const last = run.firstCluster + run.count - 1;
    const lengthBytes = (run.count - 1) * clusterSizeBytes + clusterLengthBytes(geometry, last);
    if (this.#buffer.length < lengthBytes) {
      this.#buffer = Buffer.allocUnsafeSlow(Math.max(COPY_BUFFER_BYTES, clusterSizeBytes));
    }
    const content = this.#buffer.subarray(0, lengthBytes);
    await readOrigin(hold.origin, content, run.firstCluster * clusterSizeBytes);
    return content;
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
