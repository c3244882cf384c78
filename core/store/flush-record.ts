/**
 * The flush record: what a store was known to have on disk when the record was written (`known`), and what it
 * has once the flush that carries the record is done (`made`). A bitmap counts if and only if it comes to `made`.
 *
 * Two copies stand on pages of their own and take turns, so that a torn one leaves the other (bbolt's meta pages
 * do the same). The newest is the one with the higher sequence among those whose check holds.
 */
import { readSafeU64, writeU64 } from '../base/bytes.ts';
import { uuidBytes, uuidText } from '../base/uuid.ts';
import { xxh64 } from '../base/xxh64.ts';
import { EMPTY_FIGURE, type Figure, sameFigure } from './figure.ts';
import { FLUSH_RECORD, MAX_CLUSTER_COUNT, MAX_SEQUENCE } from './layout.ts';

export interface FlushRecord {
  readonly sequence: number;
  readonly known: Figure;
  readonly made: Figure;
  /** Slots that hold copies made for this store's own snapshot: what a limit counts. Statistics, rebuildable. */
  readonly ownSlotCount: number;
  /** Clusters whose old content was all zero. Statistics, rebuildable. */
  readonly zeroCount: number;
}

const FIRST_RECORD: FlushRecord = {
  sequence: 1,
  known: EMPTY_FIGURE,
  made: EMPTY_FIGURE,
  ownSlotCount: 0,
  zeroCount: 0,
};
/** Both of a new store's records say that it is empty; this is the newer one. */
export const EMPTY_STORE_RECORD: FlushRecord = { ...FIRST_RECORD, sequence: 2 };
export const EMPTY_STORE_RECORDS = [FIRST_RECORD, EMPTY_STORE_RECORD];

const F = FLUSH_RECORD.fields;

/** Which of the two places a record of this sequence is written to. */
export function recordOffsetBytes(sequence: number): number {
  return FLUSH_RECORD.offsetsBytes[sequence % 2 === 0 ? 0 : 1];
}

function writeFigure(bytes: Buffer, figure: Figure, at: { batch: number; count: number; xor: number }): void {
  writeU64(bytes, figure.batch, at.batch);
  writeU64(bytes, figure.count, at.count);
  bytes.writeUInt32LE(figure.xorLow, at.xor);
  bytes.writeUInt32LE(figure.xorHigh, at.xor + 4);
}

function readFigure(bytes: Buffer, at: { batch: number; count: number; xor: number }): Figure | undefined {
  const batch = readSafeU64(bytes, at.batch);
  const count = readSafeU64(bytes, at.count);
  if (batch === undefined || batch > MAX_SEQUENCE) return undefined;
  if (count === undefined || count > MAX_CLUSTER_COUNT) return undefined;
  return { batch, count, xorLow: bytes.readUInt32LE(at.xor), xorHigh: bytes.readUInt32LE(at.xor + 4) };
}

const KNOWN = { batch: F.knownBatch.at, count: F.knownCount.at, xor: F.knownXor.at };
const MADE = { batch: F.madeBatch.at, count: F.madeCount.at, xor: F.madeXor.at };

export function encodeFlushRecord(record: FlushRecord, storeUuid: string): Buffer {
  const bytes = Buffer.alloc(FLUSH_RECORD.sizeBytes);
  writeU64(bytes, record.sequence, F.sequence.at);
  writeFigure(bytes, record.known, KNOWN);
  writeFigure(bytes, record.made, MADE);
  writeU64(bytes, record.ownSlotCount, F.ownSlotCount.at);
  writeU64(bytes, record.zeroCount, F.zeroCount.at);
  uuidBytes(storeUuid).copy(bytes, F.storeUuid.at);
  bytes.writeBigUInt64LE(xxh64(bytes.subarray(0, F.check.at)), F.check.at);
  return bytes;
}

/** The record, or undefined where the bytes are not one of this store's: torn, never written, another file's. */
export function decodeFlushRecord(bytes: Buffer, storeUuid: string): FlushRecord | undefined {
  if (bytes.length < FLUSH_RECORD.sizeBytes) return undefined;
  if (bytes.readBigUInt64LE(F.check.at) !== xxh64(bytes.subarray(0, F.check.at))) return undefined;
  if (uuidText(bytes.subarray(F.storeUuid.at)) !== storeUuid) return undefined;
  const sequence = readSafeU64(bytes, F.sequence.at);
  const known = readFigure(bytes, KNOWN);
  const made = readFigure(bytes, MADE);
  const ownSlotCount = readSafeU64(bytes, F.ownSlotCount.at);
  const zeroCount = readSafeU64(bytes, F.zeroCount.at);
  if (sequence === undefined || sequence > MAX_SEQUENCE) return undefined;
  if (known === undefined || made === undefined) return undefined;
  if (ownSlotCount === undefined || zeroCount === undefined || ownSlotCount + zeroCount > made.count)
    return undefined;
  // What was known came before what is made. A known figure that claims more would make its missing entries look like
  // those of a batch that was given up, and they would be cleared.
  if (known.batch >= made.batch && !sameFigure(known, made)) return undefined;
  if (known.count > made.count) return undefined;
  return { sequence, known, made, ownSlotCount, zeroCount };
}
