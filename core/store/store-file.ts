/**
 * A store on disk: what can be read from and written to one. It knows where things stand and that a file may be
 * shorter than it should be; what to believe of them is for `proof.ts`, and when to write what is for
 * `snapshot/`.
 *
 * A reader's way to the old content of a cluster: its bit in the copied bitmap (if the bitmap counts), its entry in
 * the indirect table (if it proves itself), its slot (if it has the entry's hash). Slots are only ever appended: the
 * next one follows from the file's end, since a count in a header could be older than the data.
 */
import { quietly, SnapError } from '../base/errors.ts';
import { xxh64 } from '../base/xxh64.ts';
import { closeLike, createLike, type FileLike } from '../io/file-like.ts';
import type { FileStat, FileSystem, RandomAccessFile, WriteWay } from '../io/file-system.ts';
import { EntryCodec } from './entry.ts';
import {
  decodeFlushRecord,
  EMPTY_STORE_RECORDS,
  encodeFlushRecord,
  type FlushRecord,
  recordOffsetBytes,
} from './flush-record.ts';
import { checkSequences, ENTRY, FLUSH_RECORD, type Regions, regions, STORE_HEADER } from './layout.ts';
import {
  decodeStoreHeader,
  encodeStoreHeader,
  isSameStore,
  type StoreHeader,
  type StoreIdentity,
} from './store-header.ts';

/** So much of bitmaps is read with their holes before it is asked where these are, which takes some milliseconds to load. */
const READ_WITH_HOLES_BYTES = 16 << 20;

let readWithHolesBytes = 0;

export interface StorePlace {
  readonly path: string;
  /** Whether a symbolic link there is followed. */
  readonly followed: boolean;
}

/** The two bitmaps of a store with candidates, a bit a cluster, written once. */
export interface CandidateBitmaps {
  /** What the snapshot has of the origin; any other cluster reads as zeros in it. */
  readonly candidate: Buffer;
  /** What must be copied into the store: candidates, and what an older snapshot still read from the origin. */
  readonly needed: Buffer;
}

export class StoreFile {
  readonly path: string;
  readonly identity: StoreHeader;
  readonly regions: Regions;
  readonly entries: EntryCodec;
  readonly #file: RandomAccessFile;

  constructor(file: RandomAccessFile, identity: StoreHeader) {
    this.#file = file;
    this.path = file.path;
    this.identity = identity;
    this.regions = regions(identity);
    this.entries = new EntryCodec(identity.storeUuid);
  }

  /** Makes an empty store, durable but for its directory entry. Sparse: tables take no space until they are used. */
  static async create(
    files: FileSystem,
    path: string,
    identity: StoreIdentity,
    like: FileLike,
    bitmaps?: CandidateBitmaps,
  ): Promise<StoreFile> {
    const file = await createLike(files, path, like);
    try {
      const candidateHash = bitmaps === undefined ? 0n : xxh64(bitmaps.candidate);
      const neededHash = bitmaps === undefined ? 0n : xxh64(bitmaps.needed);
      const store = new StoreFile(file, { ...identity, candidateHash, neededHash });
      await file.write(encodeStoreHeader(store.identity), STORE_HEADER.offsetBytes);
      if (bitmaps !== undefined) {
        await file.write(bitmaps.candidate, store.regions.candidateOffsetBytes);
        await file.write(bitmaps.needed, store.regions.neededOffsetBytes);
      }
      for (const record of EMPTY_STORE_RECORDS) await store.writeRecord(record);
      await file.truncate(store.regions.dataOffsetBytes);
      await file.syncAll();
      return store;
    } catch (error) {
      await quietly(() => file.close());
      await quietly(() => files.remove(path));
      throw error;
    }
  }

  /**
   * Opens the store that should be `expected`'s.
   * @throws `not-found`; `damage` where the file is not that store; `newer-version`
   */
  static async open(
    files: FileSystem,
    place: StorePlace,
    mode: 'read' | 'update',
    expected: StoreIdentity,
  ): Promise<StoreFile> {
    const { path, followed } = place;
    const stat = await lookAtStore(files, place);
    if (stat === undefined) {
      throw new SnapError('not-found', `${path}: the store is missing`, {
        path,
        hint: 'put the file back, or remove the snapshots that need it with snap-gc',
      });
    }
    if (stat.kind !== 'file')
      throw new SnapError('damage', `${path}: the store is no regular file`, { path });
    const file = await (followed ? files.open(path, mode) : files.openItself(path, mode));
    try {
      const identity = await readStoreIdentity(file);
      if (!isSameStore(identity, expected)) {
        throw new SnapError('damage', `${path}: this is the store of another snapshot`, {
          path,
          hint: 'put the right file back',
        });
      }
      return new StoreFile(file, identity);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  async #readWhole(target: Buffer, offsetBytes: number, what: string): Promise<void> {
    const got = await this.#file.read(target, offsetBytes);
    if (got < target.length) {
      throw new SnapError('damage', `${this.path}: the file ends at ${offsetBytes + got}, inside ${what}`, {
        path: this.path,
        offsetBytes: offsetBytes + got,
      });
    }
  }

  /** The flush records whose checks hold, the newest first: two, one where one is torn, or none. */
  async readRecords(): Promise<FlushRecord[]> {
    const records: FlushRecord[] = [];
    for (const offsetBytes of FLUSH_RECORD.offsetsBytes) {
      const bytes = Buffer.alloc(FLUSH_RECORD.sizeBytes);
      await this.#readWhole(bytes, offsetBytes, 'the flush records');
      const record = decodeFlushRecord(bytes, this.identity.storeUuid);
      if (record !== undefined) records.push(record);
    }
    return records.sort((a, b) => b.sequence - a.sequence);
  }

  /** @throws `damage` where its numbers are at their end */
  async writeRecord(record: FlushRecord): Promise<void> {
    checkSequences(this.path, record.sequence, record.made.batch);
    const bytes = encodeFlushRecord(record, this.identity.storeUuid);
    await this.#file.write(bytes, recordOffsetBytes(record.sequence));
  }

  async readBits(target: Buffer, firstByte: number): Promise<void> {
    await this.#readWhole(target, this.regions.bitmapOffsetBytes + firstByte, 'the copied bitmap');
  }

  /**
   * The first byte of the bitmap, from `firstByte` on, that may have a bit; its end, or `firstByte` past that, where there
   * is none. Reading a hole takes a page of memory for each page of it: thousands of bitmaps would drive everything else
   * out.
   */
  bitsFrom(firstByte: number): number {
    const { bitmapOffsetBytes, bitmapSizeBytes } = this.regions;
    if (firstByte === 0) readWithHolesBytes += bitmapSizeBytes;
    if (readWithHolesBytes <= READ_WITH_HOLES_BYTES) return firstByte;
    const foundBytes = this.#file.dataFrom(bitmapOffsetBytes + firstByte);
    return Math.max(firstByte, Math.min(foundBytes - bitmapOffsetBytes, bitmapSizeBytes));
  }

  async writeBits(bits: Buffer, firstByte: number): Promise<void> {
    await this.#file.write(bits, this.regions.bitmapOffsetBytes + firstByte);
  }

  /** A window of a bitmap that a store with candidates has; it must have been proven (`proveCandidates`). */
  async readCandidates(kind: keyof CandidateBitmaps, target: Buffer, firstByte: number): Promise<void> {
    const { candidateOffsetBytes, neededOffsetBytes } = this.regions;
    const startBytes = kind === 'candidate' ? candidateOffsetBytes : neededOffsetBytes;
    await this.#readWhole(target, startBytes + firstByte, `the ${kind} bitmap`);
  }

  /** Fills `target` with the entries from `firstCluster` on. */
  async readTable(target: Buffer, firstCluster: number): Promise<void> {
    await this.#readWhole(
      target,
      this.regions.tableOffsetBytes + firstCluster * ENTRY.sizeBytes,
      'the indirect table',
    );
  }

  async writeTable(entries: Buffer, firstCluster: number): Promise<void> {
    await this.#file.write(entries, this.regions.tableOffsetBytes + firstCluster * ENTRY.sizeBytes);
  }

  /** The first slot that no byte of the file reaches into. */
  async nextSlot(): Promise<number> {
    const { sizeBytes } = await this.#file.stat();
    const dataBytes = Math.max(0, sizeBytes - this.regions.dataOffsetBytes);
    return Math.ceil(dataBytes / this.identity.clusterSizeBytes);
  }

  #slotOffsetBytes(slotIndex: number): number {
    return this.regions.dataOffsetBytes + slotIndex * this.identity.clusterSizeBytes;
  }

  /** Reads from slot `slotIndex` on; returns the bytes that were there, which are fewer where the file was cut. */
  async readSlots(target: Buffer, slotIndex: number): Promise<number> {
    const offsetBytes = this.#slotOffsetBytes(slotIndex);
    if (!Number.isSafeInteger(offsetBytes + target.length)) return 0;
    return this.#file.read(target, offsetBytes);
  }

  /** @param way whoever flushes soon writes past the cache, best from memory that begins on a page */
  async writeSlots(content: Buffer, slotIndex: number, way?: WriteWay): Promise<void> {
    await this.#file.write(content, this.#slotOffsetBytes(slotIndex), way);
  }

  /** Gives back the space of slots from `slotIndex` on, which no entry may name. */
  async cutSlots(slotIndex: number): Promise<void> {
    await this.#file.truncate(this.#slotOffsetBytes(slotIndex));
  }

  async flush(): Promise<void> {
    await this.#file.syncData();
  }

  stat(): Promise<FileStat> {
    return this.#file.stat();
  }

  /** Takes away what `like` does not allow any more. @throws `io` where that is not permitted */
  async closeLike(like: FileLike): Promise<void> {
    await closeLike(this.#file, like);
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

export function lookAtStore(
  files: FileSystem,
  { path, followed }: StorePlace,
): Promise<FileStat | undefined> {
  return followed ? files.stat(path) : files.linkStat(path);
}

/** Whose store a file is, by its header. @throws as `decodeStoreHeader` */
export async function readStoreIdentity(file: RandomAccessFile): Promise<StoreHeader> {
  const bytes = Buffer.alloc(STORE_HEADER.sizeBytes);
  const got = await file.read(bytes, STORE_HEADER.offsetBytes);
  return decodeStoreHeader(bytes.subarray(0, got), file.path);
}

/** Whether a file begins as a store does. Those may stand anywhere, and to write into one loses what is read through it. */
export async function beginsAsStore(file: RandomAccessFile): Promise<boolean> {
  const magic = Buffer.alloc(STORE_HEADER.magicText.length);
  await file.read(magic, STORE_HEADER.offsetBytes);
  return magic.toString('latin1') === STORE_HEADER.magicText;
}

/** The same for a regular file by its name. */
export async function isStore(files: FileSystem, path: string): Promise<boolean> {
  const file = await files.open(path, 'read');
  try {
    return await beginsAsStore(file);
  } finally {
    await file.close();
  }
}
