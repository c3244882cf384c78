/**
 * The persistent exception store of Linux's dm-snapshot, version 1: where everything stands in it. What the snapshot
 * target writes to its COW device, we read and write as a file. All numbers are little-endian.
 *
 *   chunk 0    header
 *   chunk 1    metadata area 0: E entries, of 16 bytes, where E is the chunk size / 16
 *              E chunks of data
 *   then       metadata area 1, E chunks of data, and so on
 *
 * An entry says which chunk of the store has the old content of which chunk of the origin. The first without one ends
 * the list; so a full area is followed by another one.
 */
import { readSafeU64, writeU64 } from '../base/bytes.ts';
import { SnapError } from '../base/errors.ts';

export const SECTOR_BYTES = 512;

/** Chunks that we write: the kernel takes from a sector on, lvm2 from 4K to 512K. */
const MIN_CHUNK_BYTES = SECTOR_BYTES;
export const MAX_CHUNK_BYTES = 512 * 1024;
/** The largest chunks that we read: as our largest clusters. */
const MAX_IMPORTED_CHUNK_BYTES = 16 * 1024 * 1024;

export const DM_HEADER = {
  magic: 0x70416e53,
  version: 1,
  sizeBytes: 16,
  fields: {
    magic: { at: 0, bytes: 4 },
    valid: { at: 4, bytes: 4 },
    version: { at: 8, bytes: 4 },
    chunkSectors: { at: 12, bytes: 4 },
  },
} as const;

export const DM_ENTRY = {
  sizeBytes: 16,
  fields: {
    oldChunk: { at: 0, bytes: 8 },
    newChunk: { at: 8, bytes: 8 },
  },
} as const;

/** The chunk of the store, or of the origin, that has the other's content. */
export interface Exception {
  readonly oldChunk: number;
  readonly newChunk: number;
}

/** Whether chunks of a store that we read can have this size. */
export function isChunkSize(sizeBytes: number, mostBytes: number): boolean {
  return sizeBytes >= MIN_CHUNK_BYTES && sizeBytes <= mostBytes && Number.isInteger(Math.log2(sizeBytes));
}

export function entriesPerArea(chunkSizeBytes: number): number {
  return chunkSizeBytes / DM_ENTRY.sizeBytes;
}

/** The chunk of the store in which metadata area `areaIndex` stands. */
export function areaChunk(areaIndex: number, chunkSizeBytes: number): number {
  return 1 + (entriesPerArea(chunkSizeBytes) + 1) * areaIndex;
}

/** Whether a chunk of the store can hold data: neither the header nor an area. */
export function isDataChunk(newChunk: number, chunkSizeBytes: number): boolean {
  return newChunk >= 2 && (newChunk - 1) % (entriesPerArea(chunkSizeBytes) + 1) !== 0;
}

/** Chunk 0 of a valid store. */
export function encodeDmHeader(chunkSizeBytes: number): Buffer {
  const bytes = Buffer.alloc(chunkSizeBytes);
  bytes.writeUInt32LE(DM_HEADER.magic, DM_HEADER.fields.magic.at);
  bytes.writeUInt32LE(1, DM_HEADER.fields.valid.at);
  bytes.writeUInt32LE(DM_HEADER.version, DM_HEADER.fields.version.at);
  bytes.writeUInt32LE(chunkSizeBytes / SECTOR_BYTES, DM_HEADER.fields.chunkSectors.at);
  return bytes;
}

/**
 * The chunk size of the store that begins with `bytes`.
 * @throws `refused` where it is no valid store of version 1; `newer-version`
 */
export function decodeDmHeader(bytes: Buffer, path: string): number {
  const { fields } = DM_HEADER;
  const refuse = (what: string, hint?: string) =>
    new SnapError('refused', `${path}: ${what}`, { path, hint });
  if (bytes.length < DM_HEADER.sizeBytes || bytes.readUInt32LE(fields.magic.at) !== DM_HEADER.magic) {
    throw refuse(
      'is no persistent exception store of dm-snapshot',
      'what is wanted is the whole COW device of a persistent snapshot (P), copied into a file',
    );
  }
  const version = bytes.readUInt32LE(fields.version.at);
  if (version > DM_HEADER.version) {
    throw new SnapError('newer-version', `${path}: is an exception store of version ${version}`, { path });
  }
  const valid = bytes.readUInt32LE(fields.valid.at);
  if (valid === 0) throw refuse('the snapshot in it has ended: dm-snapshot marked it invalid');
  const chunkSizeBytes = bytes.readUInt32LE(fields.chunkSectors.at) * SECTOR_BYTES;
  if (
    version !== DM_HEADER.version ||
    valid !== 1 ||
    !isChunkSize(chunkSizeBytes, MAX_IMPORTED_CHUNK_BYTES)
  ) {
    throw refuse('its header is no valid one, or its chunks are larger than 16M');
  }
  return chunkSizeBytes;
}

/** A metadata area, as one chunk: entries for old chunks, whose data follows in this order. */
export function encodeArea(
  oldChunks: readonly number[],
  place: { readonly areaIndex: number; readonly chunkSizeBytes: number },
): Buffer {
  const bytes = Buffer.alloc(place.chunkSizeBytes);
  const firstData = areaChunk(place.areaIndex, place.chunkSizeBytes) + 1;
  for (const [index, oldChunk] of oldChunks.entries()) {
    const at = index * DM_ENTRY.sizeBytes;
    writeU64(bytes, oldChunk, at + DM_ENTRY.fields.oldChunk.at);
    writeU64(bytes, firstData + index, at + DM_ENTRY.fields.newChunk.at);
  }
  return bytes;
}

/** The entry at `at`; undefined for the end of the list, `'absurd'` where a number is past any device. */
export function decodeException(bytes: Buffer, at: number): Exception | 'absurd' | undefined {
  const oldChunk = readSafeU64(bytes, at + DM_ENTRY.fields.oldChunk.at);
  const newChunk = readSafeU64(bytes, at + DM_ENTRY.fields.newChunk.at);
  if (newChunk === 0) return undefined;
  return oldChunk === undefined || newChunk === undefined ? 'absurd' : { oldChunk, newChunk };
}
