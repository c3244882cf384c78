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
import { AppendBatch, RepairNeeded, type Run, type RunContent } from '../store/append.ts';
import { isAlive, persistentRecords } from '../store/catalog.ts';
import { clusterLengthBytes, type Geometry } from '../store/layout.ts';
import { chosenOf } from './candidates.ts';
import { clustersNeeded } from './chain-lack.ts';
import type { Extent } from './extents.ts';
import type { ActiveStore, Hold } from './hold.ts';
import { countNotZero, endForLackOfSpace, limitReached } from './limits.ts';
import { readOldContent } from './origin.ts';
import { giveUp } from './recover.ts';
import { fileFull, hasUnusedPlace, roomInFile, spill } from './spill.ts';

export interface BatchResult {
  readonly clustersCopied: number;
  readonly bytesCopied: number;
  /** The store that received copies last. */
  readonly storeUuid: string | undefined;
}

/** Copying did not end; nothing of the origin was written. */
class CopyFailed extends Error {
  override readonly cause: unknown;
  /** Where the batch's slots began, if it came so far. */
  readonly firstSlot: number | undefined;

  constructor(cause: unknown, firstSlot: number | undefined) {
    super('copying failed');
    this.cause = cause;
    this.firstSlot = firstSlot;
  }
}

function damagedTable({ store }: ActiveStore): SnapError {
  return new SnapError('damage', `${store.path}: its indirect table is damaged; nothing was written`, {
    path: store.path,
    hint: 'see what is still whole with snap-verify',
  });
}

/**
 * The clusters, ascending, that must be copied before `extents` are written: those that the newest store lacks and that
 * some snapshot still reads from the origin.
 */
export async function missingClusters(
  hold: Hold,
  active: ActiveStore,
  extents: readonly Extent[],
): Promise<number[]> {
  const { clusterSizeBytes, sizeBytes } = active.store.identity;
  const alive = hold.catalog.snapshots.filter(isAlive);
  const endBytes = Math.min(Math.max(0, ...alive.map((record) => record.sizeBytes)), sizeBytes);
  const missing = new Set<number>();
  for (const { offsetBytes, data } of extents) {
    const untilBytes = Math.min(offsetBytes + data.length, endBytes);
    if (untilBytes <= offsetBytes) continue;
    const last = Math.floor((untilBytes - 1) / clusterSizeBytes);
    for (let index = Math.floor(offsetBytes / clusterSizeBytes); index <= last; index += 1) {
      if (!getBit(active.bitmap.bits, index)) missing.add(index);
    }
  }
  const { record } = active;
  const lacking = [...missing].sort((a, b) => a - b);
  const needed = await chosenOf(hold, record, 'needed', lacking);
  const own = isAlive(record) && !record.isClone ? await chosenOf(hold, record, 'candidate', needed) : [];
  if (own.length === needed.length) return [...needed];
  // Not for the newest, which may have ended, or is a part: older ones may have some of these in stores of their own.
  const isOwn = new Set(own);
  const older = await clustersNeeded(
    hold,
    needed.filter((clusterIndex) => !isOwn.has(clusterIndex)),
  );
  return [...own, ...older].sort((a, b) => a - b);
}

/** As many of `missing`, from the first on, as the file of the store may still take. */
async function fittingInFile(
  hold: Hold,
  active: ActiveStore,
  missing: readonly number[],
): Promise<readonly number[]> {
  const room = await roomInFile(hold, active);
  // Zero clusters take no space, so near the end it is worth looking.
  if (missing.length <= room || (await countNotZero(hold, active, missing)) <= room) return missing;
  return missing.slice(0, room);
}

/** Copies have no place any more: they go on in another file, or whom they are for ends. */
async function spillOrEnd(hold: Hold, missing: readonly number[], error: SnapError): Promise<void> {
  if (!(await spill(hold))) await endForLackOfSpace(hold, missing, error);
}

/** What the origin holds in adjacent clusters. */
async function readOld(hold: Hold, geometry: Geometry, run: Run, target: Buffer): Promise<RunContent> {
  const { clusterSizeBytes } = geometry;
  const last = run.firstCluster + run.count - 1;
  const content = target.subarray(0, (run.count - 1) * clusterSizeBytes + clusterLengthBytes(geometry, last));
  const offsetBytes = run.firstCluster * clusterSizeBytes;
  await readOldContent(hold.origin, hold.originStat.sizeBytes, content, offsetBytes);
  return { content };
}

export class CowWriter {
  readonly #flushAheadBytes: number;

  /** @param flushAheadBytes after so much of a batch was copied, it begins to be flushed */
  constructor(flushAheadBytes: number) {
    this.#flushAheadBytes = flushAheadBytes;
  }

  /**
   * Applies one batch. Extents must not overlap, and lie in ascending order.
   * @throws `no-space` where a snapshot refuses, nothing of the batch being written; `damage` or `not-found` of a
   *   store that is needed; whatever the origin's write failed with, its offset saying how far it came
   */
  async apply(hold: Hold, extents: readonly Extent[]): Promise<BatchResult> {
    await hold.ensureOpen();
    const copied = { clustersCopied: 0, bytesCopied: 0, storeUuid: undefined as string | undefined };
    let repaired = false;
    // Where less and less of a batch fits on a disk and there is a place to go on in, the disk is filled first.
    let most = Number.POSITIVE_INFINITY;
    for (;;) {
      // A store that nobody needs any more may be as it will.
      const active = hold.catalog.snapshots.some(isAlive) ? await hold.active() : undefined;
      const missing = active === undefined ? [] : await missingClusters(hold, active, extents);
      if (active !== undefined && (await limitReached(hold, active, missing))) continue;
      const inFile = active === undefined ? missing : await fittingInFile(hold, active, missing);
      const fitting = inFile.slice(0, most);
      if (active !== undefined && fitting.length === 0 && missing.length > 0) {
        await spillOrEnd(hold, missing, fileFull(active));
        continue;
      }
      const complete = fitting.length === missing.length;
      try {
        const result = await this.#copy(hold, active, fitting, complete);
        copied.clustersCopied += result.clustersCopied;
        copied.bytesCopied += result.bytesCopied;
        copied.storeUuid = result.storeUuid ?? copied.storeUuid;
        if (complete) {
          await this.#writeOrigin(hold, active, { extents, copied: result.clustersCopied > 0 });
          return copied;
        }
        await hold.finish({ bitsDirty: true });
        if (active !== undefined) hold.keepActive(active);
      } catch (error) {
        if (!(error instanceof CopyFailed)) throw error;
        await this.#giveUp(hold, active, error);
        if (error.cause instanceof RepairNeeded && !repaired) repaired = true;
        else if (error.cause instanceof RepairNeeded && active !== undefined) throw damagedTable(active);
        else if (!hasCode(error.cause, 'no-space')) throw error.cause;
        else if (fitting.length > 1 && hasUnusedPlace(hold.catalog)) most = Math.floor(fitting.length / 2);
        else {
          most = Number.POSITIVE_INFINITY;
          await spillOrEnd(hold, missing, error.cause);
        }
      }
    }
  }

  /** After it, either nothing is in flight any more, or the reason is thrown. */
  async #giveUp(
    hold: Hold,
    active: ActiveStore | undefined,
    { cause, firstSlot }: CopyFailed,
  ): Promise<void> {
    await giveUp(hold);
    if (hold.state.mark !== undefined) {
      throw cause instanceof RepairNeeded && active !== undefined ? damagedTable(active) : cause;
    }
    // No entry names the slots of the batch any more, durably: on a full disk their space is worth having back.
    if (hasCode(cause, 'no-space') && firstSlot !== undefined) await active?.store.cutSlots(firstSlot);
  }

  async #copy(
    hold: Hold,
    active: ActiveStore | undefined,
    missing: readonly number[],
    writesOrigin: boolean,
  ): Promise<BatchResult> {
    const mark = {
      storeUuid: active?.record.uuid ?? NIL_UUID,
      firstCluster: missing[0] ?? 0,
      lastCluster: missing.at(-1) ?? 0,
      writesOrigin,
    };
    const batch = await hold.begin(mark, active?.flushRecord.made.batch);
    if (active === undefined || missing.length === 0) {
      return { clustersCopied: 0, bytesCopied: 0, storeUuid: undefined };
    }
    let firstSlot: number | undefined;
    try {
      const { identity } = active.store;
      const append = await AppendBatch.start(active, {
        batch,
        handedOver: false,
        flushAheadBytes: this.#flushAheadBytes,
        durable: persistentRecords(hold.catalog).length > 0,
      });
      firstSlot = append.firstSlot;
      await append.add(missing, (run, target) => readOld(hold, identity, run, target));
      await append.publish((record) => {
        // From now on the entries count, whatever fails yet: their slots stay.
        firstSlot = undefined;
        return hold.noteFlushed(identity.storeUuid, record);
      });
      const { clustersCopied, bytesCopied } = append;
      return { clustersCopied, bytesCopied, storeUuid: active.record.uuid };
    } catch (error) {
      throw new CopyFailed(error, firstSlot);
    }
  }

  async #writeOrigin(
    hold: Hold,
    active: ActiveStore | undefined,
    batch: { readonly extents: readonly Extent[]; readonly copied: boolean },
  ): Promise<void> {
    // The copies are made and flushed, so whatever part was written is ours.
    const finish = () => hold.finish({ ...(batch.copied && { bitsDirty: true }), originWritten: true });
    try {
      for (const { offsetBytes, data } of batch.extents) await hold.origin.write(data, offsetBytes);
    } catch (error) {
      // Should that fail too, the mark stays and repair is due; the first error is the one that matters.
      await finish().catch(() => undefined);
      throw error;
    }
    await finish();
    if (active !== undefined) hold.keepActive(active);
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
