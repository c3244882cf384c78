/**
 * Writing into the image: input is gathered without the lock, since it may be slow in coming, and goes through
 * copy-on-write a batch at a time.
 */
import { hasCode, SnapError } from '../base/errors.ts';
import { formatSize } from '../base/units.ts';
import { NIL_UUID } from '../base/uuid.ts';
import type { ByteSource } from '../io/byte-stream.ts';
import { FlushBehind } from '../io/flush-behind.ts';
import { PACE, type Pace } from '../store/append.ts';
import { findByUuid, flushKeptBy, isAlive, ownerUuid, type SnapshotRecord } from '../store/catalog.ts';
import { DEFAULT_CLUSTER_BYTES } from '../store/layout.ts';
import { settle } from './closing.ts';
import type { Context } from './context.ts';
import { type BatchResult, bytesBefore, CowWriter } from './cow-writer.ts';
import { type Extent, endOf, leadingExtents } from './extents.ts';
import type { Hold } from './hold.ts';
import { nearLimit } from './limits.ts';
import { readOrigin } from './origin.ts';
import { Volume } from './volume.ts';
import { InputPastEnd, oneAhead, recordBatches, streamBatches } from './write-input.ts';

/** The clusters of one commit, where they are scattered: little enough that nobody waits long for the lock. */
const COMMIT_CLUSTER_BYTES = 64 << 20;

/** How much of the image is read at a time, to be compared with what is to be written; more where a cluster is. */
const COMPARED_BYTES = 1 << 20;

export interface WriteOptions {
  /** Where a stream goes. */
  readonly offsetBytes: number;
  /** The input is records, each with its own place; `offsetBytes` is 0. */
  readonly extents?: boolean;
  /** Let the image grow; a gap before the offset reads as zeros. */
  readonly extend: boolean;
  /** Write only what differs from the image, cluster by cluster. */
  readonly delta: boolean;
  /** Flush the origin at the end. Stores are always flushed. */
  readonly sync: boolean;
  /** Another than the usual one. */
  readonly pace?: Pace;
}

export interface WriteSummary {
  readonly image: string;
  readonly offsetBytes: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  readonly clustersCopied: number;
  readonly bytesCopied: number;
  /** The snapshot that received the copies, if any did and it is still trusted. */
  readonly snapshot: string | undefined;
  readonly seconds: number;
}

export interface WriteResult {
  readonly summary: WriteSummary;
  /** Why it ended early; what the summary says was done all the same. */
  readonly failure: SnapError | undefined;
}

/** An endless source of zeros, cut at `sizeBytes`. */
export function zeroSource(sizeBytes: number): ByteSource {
  let leftBytes = sizeBytes;
  return {
    async read(target) {
      const bytes = Math.min(leftBytes, target.length);
      target.fill(0, 0, bytes);
      leftBytes -= bytes;
      return bytes;
    },
  };
}

class ImageWriter {
  readonly #volume: Volume;
  readonly #options: WriteOptions;
  readonly #source: ByteSource;
  readonly #cow: CowWriter;
  readonly #flushBehind: FlushBehind;
  #present = Buffer.alloc(0);
  #bytesRead = 0;
  #bytesWritten = 0;
  #clustersCopied = 0;
  #bytesCopied = 0;
  #receiverUuid: string | undefined;
  #toldFlushKept = false;
  #snapshot: string | undefined;
  readonly #toldNearLimit = new Set<string>();

  constructor(volume: Volume, options: WriteOptions, source: ByteSource) {
    this.#volume = volume;
    this.#options = options;
    this.#source = source;
    this.#cow = new CowWriter((options.pace ?? PACE).flushAheadBytes);
    this.#flushBehind = new FlushBehind(() => volume.origin.syncData());
  }

  /** @throws the reason for ending early; the counts stand */
  async run(totalBytes: number | undefined): Promise<void> {
    const { image, context } = this.#volume;
    const { offsetBytes, extend } = this.#options;
    const { sizeBytes } = await this.#volume.origin.stat();
    if (offsetBytes > sizeBytes && !extend) {
      throw new SnapError(
        'refused',
        `${image}: offset ${offsetBytes} is past the end at ${sizeBytes}; nothing was written`,
        {
          path: image,
          offsetBytes,
          hint: 'let the image grow with --extend',
        },
      );
    }
    const endBytes = extend ? Number.MAX_SAFE_INTEGER : sizeBytes;
    const batches = this.#options.extents ? recordBatches : streamBatches;
    try {
      const { batchBytes } = this.#options.pace ?? PACE;
      const range = { offsetBytes, endBytes, batchBytes, signal: context.signal };
      for await (const { extents, readBytes } of oneAhead(batches(this.#source, range))) {
        this.#bytesRead += readBytes;
        await this.#commit(extents);
        if (this.#options.sync) this.#flushBehind.start();
        context.progress(this.#bytesRead, totalBytes);
      }
    } catch (error) {
      throw error instanceof InputPastEnd ? this.#pastEnd(error, sizeBytes) : error;
    }
  }

  /** Puts everything on disk, and says so in `state`. */
  async settle(): Promise<void> {
    await this.#flushBehind.finish();
    await settle(this.#volume);
  }

  #pastEnd({ record }: InputPastEnd, sizeBytes: number): SnapError {
    const { image } = this.#volume;
    const what =
      record === undefined
        ? `the input is longer than the image: ${this.#bytesWritten} bytes written up to its end`
        : `a record of ${record.lengthBytes} bytes at ${record.offsetBytes} goes past the end of the image at ${sizeBytes}: ${this.#bytesWritten} bytes written`;
    return new SnapError('refused', `${image}: ${what}, the rest refused`, {
      path: image,
      offsetBytes: sizeBytes,
      hint: 'let the image grow with --extend',
    });
  }

  /** One batch, in as many commits as its clusters ask for. */
  async #commit(extents: readonly Extent[]): Promise<void> {
    let left = extents;
    while (left.length > 0) {
      await this.#volume.exclusive(async (hold) => {
        const size = hold?.catalog.clusterSizeBytes ?? DEFAULT_CLUSTER_BYTES;
        const some = leadingExtents(left, size, COMMIT_CLUSTER_BYTES);
        await this.#apply(hold, some);
        left = left.slice(some.length);
      });
    }
  }

  async #apply(hold: Hold | undefined, given: readonly Extent[]): Promise<void> {
    const { sizeBytes } = await this.#volume.origin.stat();
    if (!this.#options.extend && given.some((extent) => endOf(extent) > sizeBytes)) {
      throw new SnapError('io', `${this.#volume.image}: became shorter while it was written to`, {
        path: this.#volume.image,
        offsetBytes: sizeBytes,
      });
    }
    const extents: Extent[] = [];
    for (const extent of given) {
      extents.push(...(this.#options.delta ? await this.#differing(hold, extent, sizeBytes) : [extent]));
    }
    if (extents.length === 0) return;
    const copiedBytes = this.#bytesCopied;
    try {
      if (hold === undefined) await this.#writePlainly(extents);
      else this.#count(hold, await this.#cow.apply(hold, extents));
      this.#bytesWritten += extents.reduce((sum, { data }) => sum + data.length, 0);
    } catch (error) {
      this.#bytesWritten += bytesBefore(error, this.#volume.origin.path, extents);
      throw error;
    }
    if (this.#bytesCopied > copiedBytes) await this.#warnNearLimit(hold);
  }

  async #writePlainly(extents: readonly Extent[]): Promise<void> {
    for (const { offsetBytes, data } of extents) await this.#volume.origin.write(data, offsetBytes);
  }

  /** The parts of `extent` that differ from the image, cluster by cluster; what lies past its end differs. */
  async #differing(hold: Hold | undefined, extent: Extent, sizeBytes: number): Promise<Extent[]> {
    const clusterSizeBytes = hold?.catalog.clusterSizeBytes ?? DEFAULT_CLUSTER_BYTES;
    const { offsetBytes, data } = extent;
    const windowBytes = Math.max(COMPARED_BYTES, clusterSizeBytes);
    if (this.#present.length < windowBytes) this.#present = Buffer.allocUnsafeSlow(windowBytes);
    let present = this.#present.subarray(0, 0);
    let presentAt = 0;
    const extents: Extent[] = [];
    for (let at = 0; at < data.length; ) {
      const end = Math.min(data.length, at + clusterSizeBytes - ((offsetBytes + at) % clusterSizeBytes));
      const piece = data.subarray(at, end);
      if (end > presentAt + windowBytes || at === 0) {
        presentAt = at;
        const thereBytes = Math.min(windowBytes, data.length - at, sizeBytes - offsetBytes - at);
        present = this.#present.subarray(0, Math.max(0, thereBytes));
        await readOrigin(this.#volume.origin, present, offsetBytes + at);
      }
      if (!present.subarray(at - presentAt, end - presentAt).equals(piece)) {
        const last = extents.at(-1);
        const adjoins = last !== undefined && last.offsetBytes + last.data.length === offsetBytes + at;
        if (adjoins)
          extents[extents.length - 1] = { ...last, data: data.subarray(last.offsetBytes - offsetBytes, end) };
        else extents.push({ offsetBytes: offsetBytes + at, data: piece });
      }
      at = end;
    }
    return extents;
  }

  #count(hold: Hold, result: BatchResult): void {
    this.#clustersCopied += result.clustersCopied;
    this.#bytesCopied += result.bytesCopied;
    this.#receiverUuid = result.storeUuid ?? this.#receiverUuid;
    const store = findByUuid(hold.catalog, this.#receiverUuid ?? NIL_UUID);
    const record = store && findByUuid(hold.catalog, ownerUuid(store));
    const readable = record !== undefined && isAlive(record) && !record.hidden;
    if (result.clustersCopied > 0 && record?.transient !== undefined) this.#tellFlushKept(hold, record);
    this.#snapshot = readable ? `${this.#volume.image}@${record.name}` : undefined;
  }

  /** Once: who took a transient snapshot to be spared the flushes learns why they are still made. */
  #tellFlushKept(hold: Hold, { name }: SnapshotRecord): void {
    const message = flushKeptBy(hold.catalog, name);
    if (message !== undefined && !this.#toldFlushKept) this.#volume.context.warn({ message });
    this.#toldFlushKept = message !== undefined;
  }

  /** Once for each snapshot: what comes is no loss yet, and can be avoided. */
  async #warnNearLimit(hold: Hold | undefined): Promise<void> {
    const near = hold && (await nearLimit(hold, this.#toldNearLimit));
    if (hold === undefined || near === undefined) return;
    const { record, leftBytes, maxSizeBytes } = near;
    this.#toldNearLimit.add(record.uuid);
    const then = record.onFull === 'refuse' ? 'writes are refused' : 'it ends';
    hold.context.warn({
      message: `${hold.image}@${record.name}: ${formatSize(leftBytes)} left of its limit of ${formatSize(maxSizeBytes)}, past which ${then}`,
      hint: 'take a newer snapshot, which receives the copies from then on, or remove this one',
    });
  }

  summary(seconds: number): WriteSummary {
    return {
      image: this.#volume.image,
      offsetBytes: this.#options.offsetBytes,
      bytesRead: this.#bytesRead,
      bytesWritten: this.#bytesWritten,
      clustersCopied: this.#clustersCopied,
      bytesCopied: this.#bytesCopied,
      snapshot: this.#snapshot,
      seconds,
    };
  }
}

/**
 * Writes the source into the image. An error that came before anything could be written is thrown; one that came
 * later stands in the result beside what was done.
 */
export async function writeImage(
  context: Context,
  image: string,
  options: WriteOptions,
  source: ByteSource,
  totalBytes?: number,
): Promise<WriteResult> {
  const { host } = context;
  const startMs = host.monotonicMs();
  const volume = await Volume.open(context, image, 'write');
  const writer = new ImageWriter(volume, options, source);
  let failure: SnapError | undefined;
  try {
    try {
      await writer.run(totalBytes);
    } catch (error) {
      if (!(error instanceof SnapError)) throw error;
      failure = error;
    }
    try {
      if (options.sync && !hasCode(failure, 'interrupted')) await writer.settle();
    } catch (error) {
      // What was written is told all the same, and the first failure is the one that matters.
      if (!(error instanceof SnapError)) throw error;
      failure ??= error;
    }
    return { summary: writer.summary((host.monotonicMs() - startMs) / 1000), failure };
  } finally {
    await volume.close();
  }
}
