/**
 * The free blocks of an ext2, ext3 or ext4 file system, read from its group descriptors and block bitmaps. Each is checked as
 * far as the file system has checks, and each bitmap against its group's count: one that is wrong would lose a file.
 */
import { countBits, fillBits, findBit } from '../base/bitmap.ts';
import { crc16, crc32c } from '../base/crc.ts';
import type { RandomAccessFile } from '../io/file-system.ts';
import {
  type ExtLayout,
  hasExtMagic,
  readSuperblock,
  SUPERBLOCK_BYTES,
  SUPERBLOCK_OFFSET_BYTES,
} from './ext-superblock.ts';
import type { ClusterSelection } from './selection.ts';

/** Where in the image something is. */
export interface Extent {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

const DESCRIPTORS_AT_A_TIME = 1024;
/** Flag of a group: its bitmap was never written, since no block of it was ever given to a file. */
const BLOCK_UNINIT = 2;
const CHECKSUM_AT = 0x1e;

/** Thrown with why free blocks cannot be told after all. */
class Doubt extends Error {}

/** The superblock at the usual place of an extent, or as much of it as there is. */
export async function readExtSuperblock(
  image: RandomAccessFile,
  { offsetBytes, lengthBytes }: Extent,
): Promise<Buffer> {
  const room = Buffer.alloc(SUPERBLOCK_BYTES);
  const there = Math.max(0, Math.min(room.length, lengthBytes - SUPERBLOCK_OFFSET_BYTES));
  const got = await image.read(room.subarray(0, there), offsetBytes + SUPERBLOCK_OFFSET_BYTES);
  return room.subarray(0, got);
}

/**
 * Leaves out the free blocks of the file system in `extent`, if there is one of ours.
 * @returns whether there is, and why all of it is kept, where that is so
 */
export async function leaveOutFreeBlocks(
  image: RandomAccessFile,
  extent: Extent,
  selection: ClusterSelection,
): Promise<{ readonly found: boolean; readonly doubt?: string | undefined }> {
  const superblock = await readExtSuperblock(image, extent);
  if (!hasExtMagic(superblock)) return { found: false };
  const layout = readSuperblock(superblock, extent.lengthBytes);
  if (typeof layout === 'string') return { found: true, doubt: layout };
  try {
    await new ExtBlocks(image, extent, layout).leaveOut(selection);
    return { found: true };
  } catch (error) {
    if (!(error instanceof Doubt)) throw error;
    selection.settle();
    selection.keep(extent.offsetBytes, extent.offsetBytes + extent.lengthBytes);
    return { found: true, doubt: error.message };
  }
}

interface Group {
  readonly index: number;
  readonly firstBlock: number;
  readonly blockCount: number;
  readonly descriptor: Buffer;
}

class ExtBlocks {
  readonly #image: RandomAccessFile;
  readonly #extent: Extent;
  readonly #layout: ExtLayout;

  constructor(image: RandomAccessFile, extent: Extent, layout: ExtLayout) {
    this.#image = image;
    this.#extent = extent;
    this.#layout = layout;
  }

  /** @throws Doubt */
  async leaveOut(selection: ClusterSelection): Promise<void> {
    const bitmap = Buffer.alloc(this.#layout.blocksPerGroup / 8);
    for await (const group of this.#groups()) {
      this.#checkDescriptor(group);
      await this.#readBitmap(group, bitmap);
      const { firstBlock, blockCount } = group;
      const next = (value: boolean, from: number) => findBit(bitmap, value, from, blockCount);
      for (let start = next(false, 0); start < blockCount; ) {
        const end = next(true, start);
        selection.leaveOut(this.#at(firstBlock + start), this.#at(firstBlock + end));
        start = next(false, end);
      }
    }
    selection.settle();
    // Where no bitmap was written, bitmaps and inode tables of other groups may stand in a group that is unused else.
    for await (const { descriptor } of this.#groups()) {
      for (const [low, high, count] of [
        [0x0, 0x20, 1],
        [0x4, 0x24, 1],
        [0x8, 0x28, this.#layout.inodeTableBlocks],
      ] as const) {
        const block = this.#number(descriptor, low, high);
        selection.keep(this.#at(block), this.#at(block + count));
      }
    }
  }

  #at(block: number): number {
    return this.#extent.offsetBytes + block * this.#layout.blockSizeBytes;
  }

  /** A block's number, in two halves where descriptors are wide. */
  #number(descriptor: Buffer, low: number, high: number): number {
    const block =
      descriptor.readUInt32LE(low) + (descriptor.length > high ? descriptor.readUInt32LE(high) * 2 ** 32 : 0);
    if (block >= this.#layout.blockCount) throw new Doubt('a group descriptor is absurd');
    return block;
  }

  async *#groups(): AsyncGenerator<Group> {
    const { firstBlock, blockCount, blocksPerGroup, descriptorBytes } = this.#layout;
    const count = Math.ceil((blockCount - firstBlock) / blocksPerGroup);
    const room = Buffer.alloc(Math.min(DESCRIPTORS_AT_A_TIME, count) * descriptorBytes);
    for (let index = 0; index < count; index += 1) {
      const at = (index % DESCRIPTORS_AT_A_TIME) * descriptorBytes;
      if (at === 0) await this.#read(room, this.#at(firstBlock + 1) + index * descriptorBytes);
      const start = firstBlock + index * blocksPerGroup;
      yield {
        index,
        firstBlock: start,
        blockCount: Math.min(blocksPerGroup, blockCount - start),
        descriptor: room.subarray(at, at + descriptorBytes),
      };
    }
  }

  async #read(target: Buffer, offsetBytes: number): Promise<void> {
    const got = await this.#image.read(target, offsetBytes);
    target.fill(0, got);
  }

  #checkDescriptor({ index, descriptor }: Group): void {
    const { checks, seed } = this.#layout;
    if (checks === 'none') return;
    const number = Buffer.alloc(4);
    number.writeUInt32LE(index);
    const crc = checks === 'crc16' ? crc16 : crc32c;
    let check = crc(descriptor.subarray(0, CHECKSUM_AT), crc(number, seed));
    if (checks === 'crc32c') check = crc(Buffer.alloc(2), check);
    check = crc(descriptor.subarray(CHECKSUM_AT + 2), check);
    if ((check & 0xffff) !== descriptor.readUInt16LE(CHECKSUM_AT)) {
      throw new Doubt('a group descriptor does not match its checksum');
    }
  }

  /** Which blocks of a group are in use; bits past its end mean nothing. */
  async #readBitmap({ index, descriptor, blockCount }: Group, bitmap: Buffer): Promise<void> {
    const { checks, seed, mayHaveCopy, copyBlocks } = this.#layout;
    if (checks !== 'none' && (descriptor.readUInt16LE(0x12) & BLOCK_UNINIT) !== 0) {
      bitmap.fill(0);
      fillBits(bitmap, 0, mayHaveCopy(index) ? Math.min(copyBlocks, blockCount) : 0, true);
      return;
    }
    await this.#read(bitmap, this.#at(this.#number(descriptor, 0x0, 0x20)));
    const isWide = descriptor.length > 32;
    if (checks === 'crc32c') {
      const expected = descriptor.readUInt16LE(0x18) + (isWide ? descriptor.readUInt16LE(0x38) * 2 ** 16 : 0);
      const check = crc32c(bitmap, seed);
      if ((isWide ? check : check & 0xffff) !== expected)
        throw new Doubt('a block bitmap does not match its checksum');
    }
    const free = descriptor.readUInt16LE(0xc) + (isWide ? descriptor.readUInt16LE(0x2c) * 2 ** 16 : 0);
    fillBits(bitmap, blockCount, bitmap.length * 8, true);
    if (bitmap.length * 8 - countBits(bitmap) !== free)
      throw new Doubt('a block bitmap does not come to its count of free blocks');
  }
}
