/**
 * The partitions of a disk image: of a GPT, or of an MBR with its chain of logical ones. A table that is not understood to
 * the last entry is none: then all of the image is kept.
 *
 * Facts from the UEFI specification (GPT) and from what fdisk and the kernel do (MBR, extended partitions).
 */

import { isZero, readSafeU64 } from '../base/bytes.ts';
import { crc32 } from '../base/crc.ts';
import type { RandomAccessFile } from '../io/file-system.ts';
import type { Extent } from './ext-blocks.ts';

const SECTOR_BYTES = 512;
const SIGNATURE_AT = 510;
const SIGNATURE = 0xaa55;
const TABLE_AT = 446;
const ENTRY_BYTES = 16;
const PROTECTIVE = 0xee;
const EXTENDED = [0x05, 0x0f, 0x85];
const MOST_LOGICAL = 128;
const GPT_SIGNATURE = 'EFI PART';
const GPT_SECTORS_BYTES = [512, 4096];
const MOST_GPT_ENTRIES_BYTES = 1 << 20;

/** Undefined where the image has no table; a text says why a table is not understood. */
export async function readPartitions(
  image: RandomAccessFile,
  sizeBytes: number,
): Promise<readonly Extent[] | string | undefined> {
  const first = await readSector(image, 0);
  if (first === undefined || first.readUInt16LE(SIGNATURE_AT) !== SIGNATURE) return undefined;
  const entries = tableOf(first);
  if (entries.length === 0) return undefined;
  if (!entries.every(({ status }) => (status & 0x7f) === 0)) return 'it is absurd';
  const isProtective = entries.some(({ type }) => type === PROTECTIVE);
  if (isProtective && entries.length > 1) return 'it has an MBR and a GPT that differ';
  const found = isProtective ? await readGpt(image, sizeBytes) : await readMbr(image, entries);
  if (typeof found === 'string') return found;
  const partitions = [...found].sort((a, b) => a.offsetBytes - b.offsetBytes);
  let endBytes = 0;
  for (const { offsetBytes, lengthBytes } of partitions) {
    if (offsetBytes < endBytes) return 'its partitions overlap';
    endBytes = offsetBytes + lengthBytes;
  }
  return endBytes > sizeBytes ? 'its partitions go past the end of the image' : partitions;
}

interface MbrEntry {
  readonly status: number;
  readonly type: number;
  readonly startSector: number;
  readonly sectorCount: number;
}

function tableOf(sector: Buffer): MbrEntry[] {
  const entries: MbrEntry[] = [];
  for (let at = TABLE_AT; at < SIGNATURE_AT; at += ENTRY_BYTES) {
    const type = sector.readUInt8(at + 4);
    if (type === 0) continue;
    entries.push({
      status: sector.readUInt8(at),
      type,
      startSector: sector.readUInt32LE(at + 8),
      sectorCount: sector.readUInt32LE(at + 12),
    });
  }
  return entries;
}

async function readSector(image: RandomAccessFile, sectorIndex: number): Promise<Buffer | undefined> {
  const sector = Buffer.alloc(SECTOR_BYTES);
  return (await image.read(sector, sectorIndex * SECTOR_BYTES)) === SECTOR_BYTES ? sector : undefined;
}

function extentOf({ startSector, sectorCount }: MbrEntry, baseSector: number): Extent {
  return {
    offsetBytes: (baseSector + startSector) * SECTOR_BYTES,
    lengthBytes: sectorCount * SECTOR_BYTES,
  };
}

async function readMbr(image: RandomAccessFile, entries: readonly MbrEntry[]): Promise<Extent[] | string> {
  const extended = entries.filter(({ type }) => EXTENDED.includes(type));
  const primary = entries.filter(({ type }) => !EXTENDED.includes(type)).map((entry) => extentOf(entry, 0));
  if (extended.length > 1) return 'it has several extended partitions';
  const [outer] = extended;
  if (outer === undefined) return primary;
  // Each link has one partition, counted from itself, and where the next link is, counted from the first.
  const logical: Extent[] = [];
  let linkSector = outer.startSector;
  for (let count = 0; count < MOST_LOGICAL; count += 1) {
    const sector = await readSector(image, linkSector);
    if (sector === undefined || sector.readUInt16LE(SIGNATURE_AT) !== SIGNATURE)
      return 'its chain of logical partitions is broken';
    const links = tableOf(sector);
    const next = links.filter(({ type }) => EXTENDED.includes(type));
    const here = links.filter(({ type }) => !EXTENDED.includes(type));
    if (next.length > 1 || here.length > 1) return 'its chain of logical partitions is not understood';
    for (const entry of here) logical.push(extentOf(entry, linkSector));
    const [link] = next;
    if (link === undefined) return [...primary, ...logical];
    linkSector = outer.startSector + link.startSector;
  }
  return 'its chain of logical partitions does not end';
}

async function readGpt(image: RandomAccessFile, sizeBytes: number): Promise<Extent[] | string> {
  for (const sectorBytes of GPT_SECTORS_BYTES) {
    const header = Buffer.alloc(SECTOR_BYTES);
    await image.read(header, sectorBytes);
    if (header.toString('latin1', 0, 8) === GPT_SIGNATURE)
      return readGptEntries(image, sizeBytes, header, sectorBytes);
  }
  return 'its GPT is missing';
}

async function readGptEntries(
  image: RandomAccessFile,
  sizeBytes: number,
  header: Buffer,
  sectorBytes: number,
): Promise<Extent[] | string> {
  const headerBytes = header.readUInt32LE(12);
  const checked = Buffer.from(header.subarray(0, Math.min(headerBytes, header.length)));
  checked.fill(0, 16, 20);
  const table = {
    sector: readSafeU64(header, 72),
    count: header.readUInt32LE(80),
    entryBytes: header.readUInt32LE(84),
  };
  const tableBytes = table.count * table.entryBytes;
  if (checksum(checked) !== header.readUInt32LE(16) || table.sector === undefined)
    return 'its GPT does not match its checksum';
  if (table.entryBytes < 128 || tableBytes > MOST_GPT_ENTRIES_BYTES) return 'its GPT is not understood';
  const entries = Buffer.alloc(tableBytes);
  const got = await image.read(entries, table.sector * sectorBytes);
  if (got < tableBytes || checksum(entries) !== header.readUInt32LE(88))
    return 'its GPT does not match its checksum';
  const partitions: Extent[] = [];
  for (let at = 0; at < tableBytes; at += table.entryBytes) {
    if (isZero(entries, at, at + 16)) continue;
    const [first, last] = [readSafeU64(entries, at + 32), readSafeU64(entries, at + 40)];
    const isInside =
      first !== undefined && last !== undefined && first <= last && last < sizeBytes / sectorBytes;
    if (!isInside) return 'its partitions go past the end of the image';
    partitions.push({ offsetBytes: first * sectorBytes, lengthBytes: (last - first + 1) * sectorBytes });
  }
  return partitions;
}

function checksum(bytes: Buffer): number {
  return ~crc32(bytes, 0xffffffff) >>> 0;
}
