/**
 * An exception store of Linux's dm-snapshot as the first snapshot of its origin: what it holds goes into the new store,
 * laid over what the origin has where a cluster is larger than a chunk. A store has its exceptions in the order in which
 * they were made, and ours is written in the order of clusters: so they are counted first, and then gathered and sorted
 * by ranges of the origin, of which none has more than memory is meant for.
 */
import { SnapError } from '../base/errors.ts';
import type { FileSystem, RandomAccessFile } from '../io/file-system.ts';
import { AppendBatch, PACE, type Run } from '../store/append.ts';
import type { Catalog, SnapshotRecord } from '../store/catalog.ts';
import { CopiedBitmap } from '../store/copied-bitmap.ts';
import {
  areaChunk,
  DM_ENTRY,
  DM_HEADER,
  decodeDmHeader,
  decodeException,
  type Exception,
  isDataChunk,
} from '../store/dm-exceptions.ts';
import { EMPTY_STORE_RECORD, type FlushRecord } from '../store/flush-record.ts';
import { clusterLengthBytes } from '../store/layout.ts';
import type { StoreFile } from '../store/store-file.ts';
import type { Fill } from './add-store.ts';
import type { Context } from './context.ts';
import { readOldContent } from './origin.ts';
import type { Volume } from './volume.ts';

/** Exceptions that are in memory at a time, if no range as fine as it gets has more. */
const MOST_GATHERED = 1 << 17;
const MOST_RANGES = 1 << 20;
const READ_BYTES = 1 << 20;

/** The image that the store is against, as it is now. */
export interface DmOrigin {
  readonly file: RandomAccessFile;
  readonly sizeBytes: number;
}

/** A range of the origin's chunks, and how many of them the store has. */
export interface Range {
  readonly firstChunk: number;
  readonly endChunk: number;
  readonly count: number;
}

/** Exceptions in the order of the origin. */
interface Gathered {
  readonly oldChunks: Float64Array;
  readonly newChunks: Float64Array;
}

export class DmStore {
  readonly chunkSizeBytes: number;
  readonly #file: RandomAccessFile;
  readonly #fileSizeBytes: number;

  private constructor(file: RandomAccessFile, fileSizeBytes: number, chunkSizeBytes: number) {
    this.#file = file;
    this.#fileSizeBytes = fileSizeBytes;
    this.chunkSizeBytes = chunkSizeBytes;
  }

  /** @throws `not-found`, `io`; `refused` where it is no valid store; `newer-version` */
  static async open(files: FileSystem, path: string): Promise<DmStore> {
    const stat = await files.stat(path);
    if (stat !== undefined && stat.kind !== 'file') {
      throw new SnapError('refused', `${path}: is no regular file`, {
        path,
        hint: 'copy the COW device into a file first',
      });
    }
    const file = await files.open(path, 'read');
    try {
      const header = Buffer.alloc(DM_HEADER.sizeBytes);
      const got = await file.read(header, 0);
      const chunkSizeBytes = decodeDmHeader(header.subarray(0, got), path);
      return new DmStore(file, (await file.stat()).sizeBytes, chunkSizeBytes);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  #refuse(what: string, offsetBytes: number): SnapError {
    const { path } = this.#file;
    return new SnapError('refused', `${path}: ${what}, at offset ${offsetBytes}`, {
      path,
      offsetBytes,
      hint: 'only a whole store is taken, and only for the image that it was made against, at its size',
    });
  }

  /** Goes through all exceptions in the order of the store. @throws `refused` for one that cannot be of this origin */
  async #each(origin: DmOrigin, visit: (exception: Exception) => void): Promise<void> {
    const size = this.chunkSizeBytes;
    const buffer = Buffer.allocUnsafe(Math.min(size, READ_BYTES));
    const mostCount = Math.ceil(origin.sizeBytes / size);
    let count = 0;
    for (let areaIndex = 0; ; areaIndex += 1) {
      const areaBytes = areaChunk(areaIndex, size) * size;
      for (let partBytes = 0; partBytes < size; partBytes += buffer.length) {
        const atBytes = areaBytes + partBytes;
        const got = await this.#file.read(buffer, atBytes);
        if (got < buffer.length) throw this.#refuse('ends inside of its list', atBytes + got);
        for (let at = 0; at < buffer.length; at += DM_ENTRY.sizeBytes) {
          const exception = decodeException(buffer, at);
          if (exception === undefined) return;
          count += 1;
          if (count > mostCount)
            throw this.#refuse('has more exceptions than the image has chunks', atBytes + at);
          visit(this.#checked(exception, origin, atBytes + at));
        }
      }
    }
  }

  #checked(exception: Exception | 'absurd', origin: DmOrigin, atBytes: number): Exception {
    const size = this.chunkSizeBytes;
    if (exception === 'absurd') throw this.#refuse('has an exception that no device could have', atBytes);
    const { oldChunk, newChunk } = exception;
    const neededBytes = Math.min(size, origin.sizeBytes - oldChunk * size);
    if (neededBytes <= 0)
      throw this.#refuse(`has an exception for chunk ${oldChunk}, past the image's end`, atBytes);
    if (!isDataChunk(newChunk, size) || newChunk * size + neededBytes > this.#fileSizeBytes) {
      throw this.#refuse(
        `has an exception in chunk ${newChunk}, which is no place for data or not there`,
        atBytes,
      );
    }
    return exception;
  }

  /**
   * Looks at all of the store: the ranges of the origin that have exceptions, ascending. Their borders are clusters'.
   * @throws `refused` where it is no store of this origin
   */
  async ranges(origin: DmOrigin, clusterSizeBytes: number): Promise<Range[]> {
    const chunkCount = Math.ceil(origin.sizeBytes / this.chunkSizeBytes);
    const inCluster = Math.max(1, clusterSizeBytes / this.chunkSizeBytes);
    const inRange = Math.max(1, Math.ceil(chunkCount / MOST_RANGES / inCluster)) * inCluster;
    const counts = new Uint32Array(Math.ceil(chunkCount / inRange));
    await this.#each(origin, ({ oldChunk }) => {
      const index = Math.floor(oldChunk / inRange);
      counts[index] = (counts[index] ?? 0) + 1;
    });
    const ranges: Range[] = [];
    for (const [index, count] of counts.entries()) {
      if (count === 0) continue;
      const last = ranges.at(-1);
      const endChunk = (index + 1) * inRange;
      if (last === undefined || last.count + count > MOST_GATHERED) {
        ranges.push({ firstChunk: index * inRange, endChunk, count });
      } else {
        ranges[ranges.length - 1] = { firstChunk: last.firstChunk, endChunk, count: last.count + count };
      }
    }
    return ranges;
  }

  /** @throws `refused` where the origin's chunk stands there twice */
  async #gather(origin: DmOrigin, { firstChunk, endChunk, count }: Range): Promise<Gathered> {
    const found = { oldChunks: new Float64Array(count), newChunks: new Float64Array(count) };
    let filled = 0;
    await this.#each(origin, ({ oldChunk, newChunk }) => {
      if (oldChunk < firstChunk || oldChunk >= endChunk) return;
      found.oldChunks[filled] = oldChunk;
      found.newChunks[filled] = newChunk;
      filled += 1;
    });
    if (filled !== count) throw this.#refuse('was changed while it was read', 0);
    const order = Uint32Array.from({ length: count }, (_, index) => index);
    order.sort((a, b) => (found.oldChunks[a] ?? 0) - (found.oldChunks[b] ?? 0));
    const oldChunks = Float64Array.from(order, (index) => found.oldChunks[index] ?? 0);
    const newChunks = Float64Array.from(order, (index) => found.newChunks[index] ?? 0);
    const twice = oldChunks.findIndex((oldChunk, index) => index > 0 && oldChunk === oldChunks[index - 1]);
    if (twice < 0) return { oldChunks, newChunks };
    throw this.#refuse(
      `has chunk ${oldChunks[twice]} of the image twice`,
      (newChunks[twice] ?? 0) * this.chunkSizeBytes,
    );
  }

  /**
   * Puts `ranges` into `store`, which is empty, and makes that durable.
   * @param firstBatch the number of the first batch
   * @returns the store's flush record
   */
  async fill(
    context: Context,
    origin: DmOrigin,
    ranges: readonly Range[],
    { store, firstBatch }: { readonly store: StoreFile; readonly firstBatch: number },
  ): Promise<FlushRecord> {
    const { clusterSizeBytes } = store.identity;
    const bitmap = new CopiedBitmap(store.regions.bitmapSizeBytes);
    const target = { store, bitmap, flushRecord: EMPTY_STORE_RECORD };
    const most = Math.max(1, PACE.batchBytes / clusterSizeBytes);
    let batch = firstBatch;
    for (const range of ranges) {
      const gathered = await this.#gather(origin, range);
      for (const clusters of batches(clustersOf(gathered, this.chunkSizeBytes, store), most)) {
        if (context.signal.aborted) throw new SnapError('interrupted', 'interrupted');
        // Nobody relies on any of it before the store has its name, and that comes after the last flush.
        const { flushAheadBytes } = PACE;
        const options = { batch, handedOver: false, durable: false, flushAheadBytes };
        const append = await AppendBatch.start(target, options);
        const read = async (run: Run, room: Buffer) => ({
          content: await this.#content(origin, gathered, { store, run, room }),
        });
        await append.add(clusters, read);
        await append.publish(async () => undefined);
        context.progress(((clusters.at(-1) ?? 0) + 1) * clusterSizeBytes, origin.sizeBytes);
        batch += 1;
      }
    }
    await store.flush();
    return target.flushRecord;
  }

  /** Adjacent clusters: what the store has of them, and what the origin has of the rest. */
  async #content(
    origin: DmOrigin,
    { oldChunks, newChunks }: Gathered,
    { store, run, room }: { readonly store: StoreFile; readonly run: Run; readonly room: Buffer },
  ): Promise<Buffer> {
    const size = this.chunkSizeBytes;
    const { clusterSizeBytes } = store.identity;
    const startBytes = run.firstCluster * clusterSizeBytes;
    const lastLength = clusterLengthBytes(store.identity, run.firstCluster + run.count - 1);
    const endBytes = startBytes + (run.count - 1) * clusterSizeBytes + lastLength;
    const content = room.subarray(0, endBytes - startBytes);
    const part = (from: number, to: number) => content.subarray(from - startBytes, to - startBytes);
    let index = firstAtLeast(oldChunks, Math.floor(startBytes / size));
    for (let at = startBytes; at < endBytes; ) {
      const [oldChunk = Number.POSITIVE_INFINITY, newChunk = 0] = [oldChunks[index], newChunks[index]];
      const fromBytes = Math.max(at, oldChunk * size);
      if (fromBytes > at) {
        const untilBytes = Math.min(fromBytes, endBytes);
        await readOldContent(origin.file, origin.sizeBytes, part(at, untilBytes), at);
        at = untilBytes;
        continue;
      }
      const follows = (by: number) =>
        (oldChunk + by) * size < endBytes &&
        oldChunks[index + by] === oldChunk + by &&
        newChunks[index + by] === newChunk + by;
      let count = 1;
      while (follows(count)) count += 1;
      const untilBytes = Math.min((oldChunk + count) * size, endBytes);
      await this.#read(part(at, untilBytes), newChunk * size + (at - oldChunk * size));
      at = untilBytes;
      index += count;
    }
    return content;
  }

  async #read(target: Buffer, offsetBytes: number): Promise<void> {
    const got = await this.#file.read(target, offsetBytes);
    if (got < target.length) throw this.#refuse('ended while it was read', offsetBytes + got);
  }
}

/** The clusters that chunks lie in, ascending. */
function* clustersOf({ oldChunks }: Gathered, chunkSizeBytes: number, store: StoreFile): Generator<number> {
  const { clusterSizeBytes, sizeBytes } = store.identity;
  let next = 0;
  for (const oldChunk of oldChunks) {
    const endBytes = Math.min((oldChunk + 1) * chunkSizeBytes, sizeBytes);
    next = Math.max(next, Math.floor((oldChunk * chunkSizeBytes) / clusterSizeBytes));
    for (; next * clusterSizeBytes < endBytes; next += 1) yield next;
  }
}

function* batches(items: Iterable<number>, most: number): Generator<number[]> {
  let batch: number[] = [];
  for (const item of items) {
    batch.push(item);
    if (batch.length < most) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}

/** The first index whose value is not below `least`; the values ascend. */
function firstAtLeast(values: Float64Array, least: number): number {
  let [from, to] = [0, values.length];
  while (from < to) {
    const middle = (from + to) >>> 1;
    if ((values[middle] ?? 0) < least) from = middle + 1;
    else to = middle;
  }
  return from;
}

/** @throws `refused` where the image has a snapshot, hidden ones included: what is imported is older than all others */
export function checkFirst(image: string, snapshots: readonly SnapshotRecord[]): void {
  if (snapshots.length === 0) return;
  const why = snapshots.every(({ hidden }) => hidden) ? 'removed ones that are still in use' : 'snapshots';
  throw new SnapError('refused', `${image}: has ${why}, and what is imported must be the first`, {
    path: image,
    hint: `remove them with snap-gc, or import into a copy of ${image}`,
  });
}

/**
 * What fills the store of a new snapshot, as far as its limits allow. The caller holds the lock until that is done.
 * @throws `refused` where `source` is no store of this image
 */
export async function fillFrom(
  source: DmStore,
  volume: Volume,
  planned: { readonly catalog: Catalog; readonly record: SnapshotRecord },
): Promise<Fill> {
  const { context, image } = volume;
  const { maxSizeBytes = Number.POSITIVE_INFINITY, sizeBytes, spill } = planned.record;
  const { maxFileBytes = Number.POSITIVE_INFINITY } = spill ?? {};
  const origin = { file: volume.origin, sizeBytes };
  const ranges = await source.ranges(origin, planned.catalog.clusterSizeBytes);
  return async (store, firstBatch) => {
    const filled = await source.fill(context, origin, ranges, { store, firstBatch });
    const usedBytes = filled.ownSlotCount * store.identity.clusterSizeBytes;
    const fileBytes = (await store.stat()).sizeBytes;
    const refuse = (what: string, hint: string) =>
      new SnapError('refused', `${image}: ${what} that are imported`, { path: image, hint });
    if (usedBytes > maxSizeBytes) {
      throw refuse(`a limit of ${maxSizeBytes} bytes does not hold the ${usedBytes}`, 'give --max-size more');
    }
    if (fileBytes > maxFileBytes) {
      throw refuse(
        `a file of ${maxFileBytes} bytes does not hold the ${fileBytes}`,
        'give --max-store-file more: what is imported goes into one file',
      );
    }
    return filled;
  };
}
