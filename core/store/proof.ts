/**
 * What a store may be believed (invariant 3). Two ways: the bitmap counts (it comes to the newest flush record's
 * figure, and that record is the one it must be), or the table is gone through entry by entry.
 *
 * `assess` is the first half of repair, and all of it for those who only look: it changes nothing.
 */
import { SetSum } from '../base/bitmap.ts';
import { isZero } from '../base/bytes.ts';
import { SnapError } from '../base/errors.ts';
import { Xxh64Digest } from '../base/xxh64.ts';
import { CopiedBitmap, sumBitmap } from './copied-bitmap.ts';
import type { Entry } from './entry.ts';
import { type Figure, figureOf, laterFigure, sameFigure } from './figure.ts';
import { type FlushRecord, recordOffsetBytes } from './flush-record.ts';
import { clusterCount, clusterLengthBytes, ENTRY, PAGE_BYTES } from './layout.ts';
import type { CandidateBitmaps, StoreFile } from './store-file.ts';

const TABLE_WINDOW_BYTES = 1 << 20;
const SLOT_PIECE_BYTES = 1 << 20;
/** Far more than a batch has: what a crash can leave unproven is bounded by one. */
const MAX_UNPROVEN_COUNT = 1 << 20;
/** A table with more batches than that is not searched for one too many. */
const MAX_BATCHES_COMPARED = 1 << 17;

function damaged(store: StoreFile, what: string): SnapError {
  return new SnapError('damage', `${store.path}: ${what}`, {
    path: store.path,
    hint: 'see what is still whole with snap-verify; restore the file from a backup of the sidecar where there is one',
  });
}

/** The newest flush record that is whole. @throws `damage` where neither is */
export async function newestRecordOf(store: StoreFile): Promise<FlushRecord> {
  const [record] = await store.readRecords();
  if (record === undefined) throw damaged(store, 'both flush records are damaged');
  return record;
}

/**
 * Whether a record can be the store's last: not older than the figure that `state` or the catalog keeps of this store.
 * One that is older means that the last was torn while it was rewritten, or that an older copy of the file was put
 * back: the table tells which.
 */
export function isLastRecord(record: FlushRecord, atLeast: Figure | undefined): boolean {
  if (atLeast === undefined || sameFigure(record.made, atLeast)) return true;
  return record.made.batch > atLeast.batch && record.made.count >= atLeast.count;
}

/** Whether the bitmap on disk may be believed: it comes to the last record's figure. @throws `damage` */
export async function bitmapCounts(store: StoreFile, atLeast: Figure | undefined): Promise<boolean> {
  const record = await newestRecordOf(store);
  return isLastRecord(record, atLeast) && (await sumBitmap(store)).equals(record.made);
}

/**
 * Whether a bitmap that a store with candidates has is the one that it was made with.
 * @throws `damage`
 */
export async function proveCandidates(store: StoreFile, kind: keyof CandidateBitmaps): Promise<void> {
  const { identity, regions } = store;
  const digest = new Xxh64Digest();
  const room = Buffer.allocUnsafe(Math.min(TABLE_WINDOW_BYTES, regions.bitmapSizeBytes));
  for (let at = 0; at < regions.bitmapSizeBytes; at += room.length) {
    const piece = room.subarray(0, regions.bitmapSizeBytes - at);
    await store.readCandidates(kind, piece, at);
    digest.update(piece);
  }
  const expected = kind === 'candidate' ? identity.candidateHash : identity.neededHash;
  if (digest.value() !== expected) throw damaged(store, `its ${kind} bitmap does not match its hash`);
}

export interface Suspicion {
  /** What is known to have been flushed, beside the store's own record. */
  readonly atLeast: Figure | undefined;
  /** A batch of this boot whose flush nobody noted: its entries were never relied on, and may not be on disk. */
  readonly unfinishedBatch: number | undefined;
  /** No flush record with a higher sequence is known to be on disk; absent where nothing is known of that. */
  readonly durableSequence: number | undefined;
}

export interface Assessment {
  readonly bitmap: CopiedBitmap;
  /** Entries to be cleared: never relied on, or not whole. */
  readonly unproven: readonly number[];
  /** The record that is on disk whatever happens to the other, and the highest sequence that was seen. */
  readonly durable: FlushRecord;
  readonly newestSequence: number;
  readonly known: Figure;
  readonly newestBatch: number;
  readonly ownSlotCount: number;
  readonly zeroCount: number;
}

/** Whether the slot of an entry holds what the entry says. */
async function slotProves(store: StoreFile, clusterIndex: number, entry: Entry): Promise<boolean> {
  const lengthBytes = clusterLengthBytes(store.identity, clusterIndex);
  if (entry.slotIndex < 0) return true;
  const content = Buffer.allocUnsafe(lengthBytes);
  const got = await store.readSlots(content, entry.slotIndex);
  if (got < lengthBytes) return false;
  const digest = new Xxh64Digest();
  for (let at = 0; at < lengthBytes; at += SLOT_PIECE_BYTES) {
    digest.update(content.subarray(at, Math.min(at + SLOT_PIECE_BYTES, lengthBytes)));
  }
  return digest.value() === entry.hash;
}

/**
 * Goes through the whole table and says which entries count. Entries up to the known-flushed figure (the record's, or
 * what `state` or the catalog knows) must prove themselves and come to it, or the store is damaged; later ones count
 * only if their slot proves them too.
 * @param givenUp a batch none of whose entries counts: see `batchGivenUp`
 * @throws `damage`
 */
export async function assess(store: StoreFile, suspicion: Suspicion, givenUp?: number): Promise<Assessment> {
  const records = await store.readRecords();
  const [record] = records;
  if (record === undefined) throw damaged(store, 'both flush records are damaged');
  const known = laterFigure(record.known, suspicion.atLeast);
  const bitmap = new CopiedBitmap(store.regions.bitmapSizeBytes);
  const unproven: number[] = [];
  const flushed = new SetSum();
  let newestBatch = Math.max(known.batch, record.made.batch);
  let ownSlotCount = 0;
  let zeroCount = 0;
  const count = (clusterIndex: number, entry: Entry) => {
    bitmap.add(clusterIndex);
    if (entry.slotIndex < 0) zeroCount += 1;
    else if (!entry.handedOver) ownSlotCount += 1;
  };
  for await (const { clusterIndex, entry } of tableEntries(store)) {
    newestBatch = Math.max(newestBatch, entry?.batch ?? 0);
    if (entry === undefined || entry.batch === givenUp) {
      unproven.push(clusterIndex);
    } else if (entry.batch <= known.batch) {
      flushed.add(clusterIndex);
      count(clusterIndex, entry);
    } else if (entry.batch !== suspicion.unfinishedBatch && (await slotProves(store, clusterIndex, entry))) {
      count(clusterIndex, entry);
    } else {
      unproven.push(clusterIndex);
    }
    if (unproven.length > MAX_UNPROVEN_COUNT) throw damaged(store, 'its indirect table is overwritten');
  }
  if (!flushed.equals(known)) {
    const found = givenUp === undefined ? await batchGivenUp(store, known) : undefined;
    if (found !== undefined) return assess(store, suspicion, found);
    throw damaged(
      store,
      `its indirect table has ${flushed.count} of the ${known.count} entries that were flushed, or others`,
    );
  }
  // Without a figure in `state` or the catalog, only the bitmap can tell that the flush of the last batch returned.
  const isUnknown = suspicion.atLeast === undefined && suspicion.unfinishedBatch === undefined;
  if (isUnknown && (await lacksOf(store, bitmap, record))) {
    throw damaged(store, 'its indirect table lacks entries that its copied bitmap has');
  }
  const durable = durableRecord(records, suspicion) ?? record;
  const newestSequence = record.sequence;
  return { bitmap, unproven, durable, newestSequence, known, newestBatch, ownSlotCount, zeroCount };
}

/** Whether `found` lacks a cluster of a bitmap that comes to `record`: a set bit means that its entry was flushed. */
async function lacksOf(store: StoreFile, found: CopiedBitmap, record: FlushRecord): Promise<boolean> {
  const onDisk = new CopiedBitmap(found.bits.length);
  await onDisk.refresh(store);
  if (!onDisk.sum.equals(record.made)) return false;
  return onDisk.bits.some((byte, at) => (byte & ~(found.bits[at] ?? 0)) !== 0);
}

/**
 * Of two records the one that must not be overwritten: its flush is known to have returned. The newer one may be read
 * from memory alone, after a flush that failed; and while one is written, a power loss may leave neither it nor what
 * stood there.
 */
function durableRecord(records: readonly FlushRecord[], suspicion: Suspicion): FlushRecord | undefined {
  const { durableSequence, atLeast, unfinishedBatch } = suspicion;
  if (durableSequence !== undefined) return records.find(({ sequence }) => sequence <= durableSequence);
  return (
    records.find(({ made }) => atLeast !== undefined && made.batch <= atLeast.batch) ??
    records.find(({ made }) => made.batch !== unfinishedBatch)
  );
}

/**
 * The batch whose entries are too many: without them the table comes to the figure. Repair clears a batch that was
 * given up; if the flush of that fails, the system forgets it, reads zeros from memory all the same, and after a power
 * loss the entries are back. They are harmless, since what they hold was never relied on, and are cleared again.
 */
async function batchGivenUp(store: StoreFile, known: Figure): Promise<number | undefined> {
  const total = new SetSum();
  const byBatch = new Map<number, SetSum>();
  for await (const { clusterIndex, entry } of tableEntries(store)) {
    if (entry === undefined || entry.batch > known.batch) continue;
    total.add(clusterIndex);
    const sum = byBatch.get(entry.batch) ?? new SetSum();
    sum.add(clusterIndex);
    byBatch.set(entry.batch, sum);
    if (byBatch.size > MAX_BATCHES_COMPARED) return undefined;
  }
  for (const [batch, sum] of byBatch) if (total.without(sum).equals(known)) return batch;
  return undefined;
}

/** Every place of the table that is not all zero, with its entry where that proves itself. */
export async function* tableEntries(
  store: StoreFile,
): AsyncGenerator<{ readonly clusterIndex: number; readonly entry: Entry | undefined }> {
  const count = clusterCount(store.identity);
  const perWindow = TABLE_WINDOW_BYTES / ENTRY.sizeBytes;
  const window = Buffer.allocUnsafe(TABLE_WINDOW_BYTES);
  for (let first = 0; first < count; first += perWindow) {
    const table = window.subarray(0, Math.min(perWindow, count - first) * ENTRY.sizeBytes);
    await store.readTable(table, first);
    if (isZero(table)) continue;
    for (let at = 0; at < table.length; at += ENTRY.sizeBytes) {
      if (isZero(table, at, at + ENTRY.sizeBytes)) continue;
      const clusterIndex = first + at / ENTRY.sizeBytes;
      yield { clusterIndex, entry: store.entries.decode(table, at, clusterIndex) };
    }
  }
}

/**
 * The second half of repair: makes the store say on disk what `assessment` found, durably. Can be interrupted and
 * repeated: until its flush returns, the record that was durable stands, and a bitmap that comes to that one's figure
 * has all that was ever relied on.
 */
export async function repairStore(
  store: StoreFile,
  assessment: Assessment,
  batch: number,
): Promise<FlushRecord> {
  const { bitmap, durable, newestSequence, known, newestBatch, ownSlotCount, zeroCount } = assessment;
  if (batch <= newestBatch) throw new Error('a repair needs a batch number that is new to its store');
  const nothing = Buffer.alloc(ENTRY.sizeBytes);
  for (const clusterIndex of assessment.unproven) await store.writeTable(nothing, clusterIndex);
  await writeWholeBitmap(store, bitmap);
  const next = newestSequence + 1;
  const sequence = recordOffsetBytes(next) === recordOffsetBytes(durable.sequence) ? next + 1 : next;
  const record = { sequence, known, made: figureOf(bitmap.sum, batch), ownSlotCount, zeroCount };
  await store.writeRecord(record);
  await store.flush();
  return record;
}

/**
 * Every piece is written, the same ones too, so that what a failed flush dropped is written again; but for pieces
 * that are all zero and read as zero: they would take space on a disk that may be full, and should they be wrong
 * after all, the bitmap does not come to its figure.
 */
async function writeWholeBitmap(store: StoreFile, bitmap: CopiedBitmap): Promise<void> {
  const onDisk = Buffer.alloc(PAGE_BYTES);
  for (let start = 0; start < bitmap.bits.length; start += PAGE_BYTES) {
    const piece = bitmap.bits.subarray(start, start + PAGE_BYTES);
    const there = onDisk.subarray(0, piece.length);
    await store.readBits(there, start);
    if (isZero(piece) && isZero(there)) continue;
    await store.writeBits(piece, start);
  }
}
