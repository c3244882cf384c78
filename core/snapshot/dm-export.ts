/**
 * A snapshot as an exception store of Linux's dm-snapshot, against the origin as it is now: whoever puts that store
 * and the origin under the `snapshot` target reads the snapshot, and `snapshot-merge` brings the origin back to it.
 *
 * Which chunks differ is found out area by area, since an area comes before its data; what is kept of them meanwhile
 * is their indexes. The store fits one state of the origin, so that is looked after in every hold: anything that
 * happened meanwhile ends it.
 */
import { roundUp } from '../base/bytes.ts';
import { SnapError } from '../base/errors.ts';
import type { ByteSink } from '../io/byte-stream.ts';
import { findByUuid } from '../store/catalog.ts';
import {
  encodeArea,
  encodeDmHeader,
  entriesPerArea,
  MAX_CHUNK_BYTES,
  SECTOR_BYTES,
} from '../store/dm-exceptions.ts';
import type { Context } from './context.ts';
import type { Hold } from './hold.ts';
import { readOldContent, readOrigin } from './origin.ts';
import { checkTrust, noSuchSnapshot, openSnapshot, type ReadSummary } from './read.ts';
import type { Reference } from './reference.ts';
import type { ReadRun, SnapshotReader } from './snapshot-reader.ts';
import { Volume } from './volume.ts';

/** Windows of bitmaps that one hold looks at where all is the origin's. */
const WINDOWS_AT_ONCE = 8;
/** Chunks so near to each other are read in one call, with what lies between. */
const NEAR_BYTES = 64 << 10;

export interface DmExportOptions {
  /** The clusters' size where absent, but at most 512 KiB. */
  readonly chunkSizeBytes?: number | undefined;
  readonly allowModifiedOrigin: boolean;
}

/** What must be the same at the end as at the beginning. */
interface Moment {
  readonly stamp: string;
  readonly originSizeBytes: number;
  readonly originTimeNs: bigint;
}

/** What the snapshot has somewhere, and what the origin has there. */
interface Part {
  readonly run: ReadRun;
  readonly data: Buffer;
  readonly present: Buffer;
}

/**
 * Streams the store of the snapshot that the reference names.
 * @returns how many bytes the store has
 * @throws `refused` for a size that no device has; `io` where the image was changed meanwhile; as `readSnapshot`
 */
export async function exportDm(
  context: Context,
  { image, name = '' }: Reference,
  options: DmExportOptions,
  sink: ByteSink,
): Promise<ReadSummary> {
  const volume = await Volume.open(context, image, 'look');
  try {
    const { reader } = await openSnapshot(volume, name, options);
    checkSize(`${image}@${name}`, reader.record.sizeBytes);
    const chunkSizeBytes = options.chunkSizeBytes ?? Math.min(reader.clusterSizeBytes, MAX_CHUNK_BYTES);
    let bytes = 0;
    for await (const piece of new DmExport(volume, reader, chunkSizeBytes, options).pieces()) {
      await sink.write(piece);
      bytes += piece.length;
    }
    return { offsetBytes: 0, bytes, digest: undefined, uuid: reader.record.uuid };
  } finally {
    await volume.close();
  }
}

function checkSize(snapshot: string, sizeBytes: number): void {
  if (sizeBytes > 0 && sizeBytes % SECTOR_BYTES === 0) return;
  const why =
    sizeBytes === 0 ? 'it is empty' : `its size of ${sizeBytes} bytes is no multiple of ${SECTOR_BYTES}`;
  throw new SnapError('refused', `${snapshot}: no device can have it: ${why}`, {
    snapshot,
    hint: '--format raw streams a snapshot of any size',
  });
}

class DmExport {
  readonly #volume: Volume;
  readonly #reader: SnapshotReader;
  readonly #chunkSizeBytes: number;
  readonly #options: DmExportOptions;
  readonly #sizeBytes: number;
  readonly #buffer: Buffer;
  readonly #present: Buffer;
  #moment: Moment | undefined;
  /** Before it, every chunk is known that differs; a multiple of the cluster size, or the end. */
  #scannedBytes = 0;
  /** Chunks that differ and stand in no area yet: at most an area's, and those of one buffer full. */
  readonly #changed: number[] = [];
  #lastChanged = -1;

  constructor(volume: Volume, reader: SnapshotReader, chunkSizeBytes: number, options: DmExportOptions) {
    this.#volume = volume;
    this.#reader = reader;
    this.#chunkSizeBytes = chunkSizeBytes;
    this.#options = options;
    this.#sizeBytes = reader.record.sizeBytes;
    this.#buffer = Buffer.allocUnsafeSlow(reader.bufferBytes);
    this.#present = Buffer.allocUnsafeSlow(reader.bufferBytes);
  }

  /** All of the store, piece by piece; each is overwritten when the next is asked for. */
  async *pieces(): AsyncGenerator<Buffer> {
    const chunkSizeBytes = this.#chunkSizeBytes;
    const most = entriesPerArea(chunkSizeBytes);
    yield encodeDmHeader(chunkSizeBytes);
    for (let areaIndex = 0; ; areaIndex += 1) {
      const changed = await this.#nextChanged(most);
      const isLast = changed.length < most;
      // Nothing that ends the store goes out before it is known to fit.
      if (changed.length === 0) await this.#shared(async () => undefined);
      yield encodeArea(changed, { areaIndex, chunkSizeBytes });
      for (let from = 0; from < changed.length; ) {
        const { pieces, next } = await this.#content(changed, from);
        if (isLast && next >= changed.length) await this.#shared(async () => undefined);
        yield* pieces;
        from = next;
      }
      if (isLast) return;
    }
  }

  /** Every hold looks first whether all is as it was in the first one. */
  #shared<T>(work: (hold: Hold) => Promise<T>): Promise<T> {
    const { record } = this.#reader;
    if (this.#volume.context.signal.aborted) throw new SnapError('interrupted', 'interrupted');
    return this.#volume.shared(async (hold) => {
      const found = hold && findByUuid(hold.catalog, record.uuid);
      if (hold === undefined || found === undefined) throw noSuchSnapshot(this.#volume.image, record.name);
      await checkTrust(hold, found, this.#options);
      const { sizeBytes, modifiedNs } = hold.originStat;
      const now = { stamp: hold.stamp, originSizeBytes: sizeBytes, originTimeNs: modifiedNs };
      this.#moment ??= now;
      const { stamp, originSizeBytes, originTimeNs } = this.#moment;
      if (sizeBytes < this.#sizeBytes) throw shorterImage(hold.image, record.name);
      if (now.stamp !== stamp || sizeBytes !== originSizeBytes || modifiedNs !== originTimeNs) {
        throw changedMeanwhile(hold.image, record.name);
      }
      return work(hold);
    });
  }

  /** The next chunks, at most `most`, in which the snapshot differs from the origin. */
  async #nextChanged(most: number): Promise<number[]> {
    while (this.#changed.length < most && this.#scannedBytes < this.#sizeBytes) {
      const { parts, nextBytes } = await this.#shared((hold) => this.#readOther(hold));
      for (const part of parts) {
        this.#reader.check(part.run);
        this.#compare(part);
      }
      this.#scannedBytes = nextBytes;
      this.#volume.context.progress(nextBytes, this.#sizeBytes);
    }
    return this.#changed.splice(0, most);
  }

  #clusterStart(bytes: number): number {
    return bytes - (bytes % this.#reader.clusterSizeBytes);
  }

  /** A buffer full of what is not the origin's, and what the origin has in its place. */
  async #readOther(hold: Hold): Promise<{ parts: Part[]; nextBytes: number }> {
    const parts: Part[] = [];
    let nextBytes = this.#scannedBytes;
    let used = 0;
    for (let windows = 0; windows < WINDOWS_AT_ONCE && nextBytes < this.#sizeBytes; windows += 1) {
      const { startBytes, endBytes } = await this.#reader.otherRange(hold, nextBytes, this.#sizeBytes);
      if (startBytes === endBytes) {
        nextBytes = endBytes;
        continue;
      }
      const room = this.#buffer.subarray(used);
      if (room.length < this.#reader.clusterSizeBytes) break;
      const run = await this.#reader.read(
        hold,
        startBytes,
        Math.min(endBytes, startBytes + room.length),
        room,
      );
      const data = run.data ?? room.subarray(0, run.lengthBytes).fill(0);
      const present = this.#present.subarray(used, used + run.lengthBytes);
      await readOrigin(hold.origin, present, startBytes);
      parts.push({ run, data, present });
      used += roundUp(run.lengthBytes, this.#reader.clusterSizeBytes);
      nextBytes = startBytes + run.lengthBytes;
      windows = 0;
    }
    return { parts, nextBytes };
  }

  #compare({ run: { offsetBytes }, data, present }: Part): void {
    if (data.equals(present)) return;
    const size = this.#chunkSizeBytes;
    const endBytes = offsetBytes + data.length;
    for (let start = offsetBytes; start < endBytes; ) {
      const chunk = Math.floor(start / size);
      const end = Math.min((chunk + 1) * size, endBytes);
      const [from, to] = [start - offsetBytes, end - offsetBytes];
      if (chunk > this.#lastChanged && !data.subarray(from, to).equals(present.subarray(from, to))) {
        this.#lastChanged = chunk;
        this.#changed.push(chunk);
      }
      start = end;
    }
  }

  /** What chunks of `changed` hold, from the one at `from` on: as many as lie near to each other and fit into the buffer. */
  async #content(changed: readonly number[], from: number): Promise<{ pieces: Buffer[]; next: number }> {
    const size = this.#chunkSizeBytes;
    const startBytes = (changed[from] ?? 0) * size;
    const baseBytes = this.#clusterStart(startBytes);
    let endBytes = startBytes + size;
    let next = from + 1;
    for (let chunk = changed[next]; chunk !== undefined; chunk = changed[next]) {
      const untilBytes = (chunk + 1) * size;
      if (chunk * size - endBytes > NEAR_BYTES) break;
      if (roundUp(untilBytes, this.#reader.clusterSizeBytes) - baseBytes > this.#buffer.length) break;
      endBytes = untilBytes;
      next += 1;
    }
    const runs = await this.#shared((hold) => this.#readSpan(hold, startBytes, endBytes));
    for (const run of runs) this.#reader.check(run);
    const pieces: Buffer[] = [];
    for (let at = from; at < next; ) {
      let end = at + 1;
      while (end < next && changed[end] === (changed[at] ?? 0) + end - at) end += 1;
      const offset = (changed[at] ?? 0) * size - baseBytes;
      pieces.push(this.#buffer.subarray(offset, offset + (end - at) * size));
      at = end;
    }
    return { pieces, next };
  }

  /**
   * Reads the snapshot into the buffer, which begins where the first byte's cluster does. Behind the snapshot's end
   * stands what the origin has there now, so that a merge leaves it as it is; behind that, zeros.
   */
  async #readSpan(hold: Hold, startBytes: number, endBytes: number): Promise<ReadRun[]> {
    const runs: ReadRun[] = [];
    const baseBytes = this.#clusterStart(startBytes);
    const ownEndBytes = Math.min(endBytes, this.#sizeBytes);
    for (let at = startBytes; at < ownEndBytes; ) {
      const target = this.#buffer.subarray(this.#clusterStart(at) - baseBytes);
      const run = await this.#reader.read(hold, at, ownEndBytes, target);
      if (run.data === undefined) this.#buffer.fill(0, at - baseBytes, at - baseBytes + run.lengthBytes);
      runs.push(run);
      at += run.lengthBytes;
    }
    const behind = this.#buffer.subarray(ownEndBytes - baseBytes, endBytes - baseBytes);
    await readOldContent(hold.origin, hold.originStat.sizeBytes, behind, ownEndBytes);
    return runs;
  }
}

/** Only a clone outlives that. */
function shorterImage(image: string, name: string): SnapError {
  return new SnapError('refused', `${image}: is shorter than ${image}@${name}, and no origin device may be`, {
    path: image,
    snapshot: `${image}@${name}`,
    hint: '--format raw streams the snapshot all the same',
  });
}

function changedMeanwhile(image: string, name: string): SnapError {
  return new SnapError(
    'io',
    `${image}: was written to, or its snapshots changed, while ${image}@${name} was compared with it`,
    {
      path: image,
      snapshot: `${image}@${name}`,
      hint: 'the store would fit no state of the image; run it again while nobody writes',
    },
  );
}
