/**
 * What is to be written, as batches: one stream from an offset on, or records that say where each piece goes. A batch is
 * enough that a flush is worth it, and little enough that nobody waits long for the lock. Each is read while the one
 * before it is written; two buffers take turns.
 */
import { SnapError } from '../base/errors.ts';
import { pageAligned } from '../base/page-aligned.ts';
import type { ByteSource } from '../io/byte-stream.ts';
import { addExtent, type Extent } from './extents.ts';

/** Small records cost a call each; so many of them are a batch too. */
const BATCH_RECORDS = 4096;

/** A record of `snap-write --extents`: offset and length in bytes, 8 bytes each, little-endian; then the data. */
const RECORD_HEADER_BYTES = 16;

export interface InputBatch {
  readonly extents: readonly Extent[];
  /** Of data that was read for it; more than `extents` have, where records overlap. */
  readonly readBytes: number;
}

export interface InputRange {
  /** Where a stream begins. */
  readonly offsetBytes: number;
  /** Nothing is written at or past this. */
  readonly endBytes: number;
  /** How much a batch has: a multiple of the cluster size. */
  readonly batchBytes: number;
  readonly signal: AbortSignal;
}

/** The input goes on at the end of what may be written. */
export class InputPastEnd extends Error {
  /** How much of a record of this place does not fit; absent for a stream, whose rest is not known. */
  readonly record: RecordPlace | undefined;

  constructor(record?: RecordPlace) {
    super('the input goes on past the end');
    this.record = record;
  }
}

/** Fills `target` as far as the input goes. */
async function gather(source: ByteSource, target: Buffer, signal: AbortSignal): Promise<number> {
  let filled = 0;
  while (filled < target.length) {
    if (signal.aborted) throw new SnapError('interrupted', 'interrupted');
    const got = await source.read(target.subarray(filled));
    if (got === 0) break;
    filled += got;
  }
  return filled;
}

function* takingTurns(sizeBytes: number): Generator<Buffer, never> {
  const buffers: Buffer[] = [];
  for (let turn = 0; ; turn = 1 - turn) {
    const buffer = buffers[turn] ?? pageAligned(sizeBytes);
    buffers[turn] = buffer;
    yield buffer;
  }
}

/** One stream, in order. @throws InputPastEnd once what fits was given */
export async function* streamBatches(source: ByteSource, range: InputRange): AsyncGenerator<InputBatch> {
  const { batchBytes } = range;
  const buffers = takingTurns(batchBytes);
  for (let offsetBytes = range.offsetBytes; ; ) {
    // Ends where a cluster of any size ends, so that none is taken twice.
    const roomBytes = Math.min(batchBytes - (offsetBytes % batchBytes), range.endBytes - offsetBytes);
    // Whether there is more than fits can only be seen by asking for a byte of it.
    const target = buffers.next().value.subarray(0, Math.max(1, roomBytes));
    const got = await gather(source, target, range.signal);
    if (got === 0) return;
    if (roomBytes === 0) throw new InputPastEnd();
    yield { extents: [{ offsetBytes, data: target.subarray(0, got) }], readBytes: got };
    if (got < target.length) return;
    offsetBytes += got;
  }
}

/**
 * Records, in any order; of those that overlap in a batch the later one counts, as if each were written by itself.
 * @throws InputPastEnd for the first that does not fit, once what fits was given; `refused` where the input ends inside
 *   of a record or a header says nonsense
 */
export async function* recordBatches(source: ByteSource, range: InputRange): AsyncGenerator<InputBatch> {
  const { batchBytes } = range;
  const buffers = takingTurns(batchBytes);
  const header = Buffer.alloc(RECORD_HEADER_BYTES);
  let buffer: Buffer = buffers.next().value;
  let extents: Extent[] = [];
  let usedBytes = 0;
  const give = () => {
    const given: InputBatch = { extents, readBytes: usedBytes };
    extents = [];
    usedBytes = 0;
    buffer = buffers.next().value;
    return given;
  };
  for (let recordIndex = 0; ; recordIndex += 1) {
    const got = await gather(source, header, range.signal);
    if (got === 0) break;
    const record = got < header.length ? endsInside(recordIndex) : decodeHeader(header, recordIndex);
    if (record instanceof SnapError) {
      if (extents.length > 0) yield give();
      throw record;
    }
    const fittingEnd = Math.min(record.offsetBytes + record.lengthBytes, range.endBytes);
    for (let offsetBytes = record.offsetBytes; offsetBytes < fittingEnd; ) {
      if (usedBytes === batchBytes || extents.length >= BATCH_RECORDS) yield give();
      const wanted = Math.min(batchBytes - usedBytes, fittingEnd - offsetBytes);
      const data = buffer.subarray(usedBytes, usedBytes + wanted);
      if ((await gather(source, data, range.signal)) < wanted) {
        if (extents.length > 0) yield give();
        throw endsInside(recordIndex);
      }
      addExtent(extents, { offsetBytes, data });
      usedBytes += wanted;
      offsetBytes += wanted;
    }
    if (fittingEnd < record.offsetBytes + record.lengthBytes) {
      if (extents.length > 0) yield give();
      throw new InputPastEnd(record);
    }
  }
  if (extents.length > 0) yield give();
}

interface RecordPlace {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/** The error, where the header says nonsense: what came before it is written first. */
function decodeHeader(header: Buffer, recordIndex: number): RecordPlace | SnapError {
  const [offset, length] = [header.readBigUInt64LE(0), header.readBigUInt64LE(8)];
  if (offset + length > BigInt(Number.MAX_SAFE_INTEGER)) {
    return new SnapError(
      'refused',
      `record ${recordIndex} of the input would be ${length} bytes at ${offset}: no image is that large`,
      { hint: 'a record is its offset and its length, 8 bytes each, little-endian, and then its data' },
    );
  }
  return { offsetBytes: Number(offset), lengthBytes: Number(length) };
}

function endsInside(recordIndex: number): SnapError {
  return new SnapError('refused', `the input ends inside of record ${recordIndex}`, {
    hint: 'a record is its offset and its length, 8 bytes each, little-endian, and then its data',
  });
}

/** The batches of `source`, each begun as soon as the one before it was taken. */
export async function* oneAhead<T>(source: AsyncGenerator<T>): AsyncGenerator<T> {
  const start = () => {
    const next = source.next();
    // It is awaited below; a failure that comes before that is not unhandled.
    next.catch(() => undefined);
    return next;
  };
  for (let next = start(); ; ) {
    const { value, done } = await next;
    if (done) return;
    next = start();
    yield value;
  }
}
