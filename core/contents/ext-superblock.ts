/**
 * The superblock of ext2, ext3 and ext4, as far as it says whether free blocks can be told and where. Whatever is not known
 * for sure to leave the block bitmaps as they always were is refused: then all of the file system is kept.
 *
 * Facts from the kernel's documentation of ext4's layout. All little-endian.
 */
import { crc16, crc32c } from '../base/crc.ts';

export const SUPERBLOCK_OFFSET_BYTES = 1024;
export const SUPERBLOCK_BYTES = 1024;

const MAGIC = 0xef53;
const VALID_STATE = 1;
const CRC32C_TYPE = 1;

const COMPATIBLE = { sparseSuper2: 0x200 } as const;
const INCOMPATIBLE = { recover: 0x4, wide: 0x80, checksumSeed: 0x2000 } as const;
const READ_ONLY_COMPATIBLE = { sparseSuper: 0x1, descriptorChecksum: 0x10, metadataChecksum: 0x400 } as const;

/** File types, extents, 64 bits, MMP, flex_bg, and what is inside of inodes and directories. Not meta_bg (0x10). */
const KNOWN_INCOMPATIBLE =
  0x2 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000 | 0x10000 | 0x20000;
/** Not snapshots (0x80), bigalloc (0x200), replicas (0x800), nor orphans left to be removed (0x10000). */
const KNOWN_READ_ONLY =
  0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x100 | 0x400 | 0x1000 | 0x2000 | 0x4000 | 0x8000;

export interface ExtLayout {
  readonly blockSizeBytes: number;
  readonly blockCount: number;
  readonly firstBlock: number;
  readonly blocksPerGroup: number;
  readonly inodeTableBlocks: number;
  readonly descriptorBytes: number;
  readonly descriptorBlocks: number;
  /** Blocks at the head of a group that has a copy of the superblock. */
  readonly copyBlocks: number;
  /** Whether a group may have such a copy. */
  readonly mayHaveCopy: (group: number) => boolean;
  /** How descriptors are checked: not at all in old file systems, and then no group is said to be unused. */
  readonly checks: 'none' | 'crc16' | 'crc32c';
  /** What the checks begin with. */
  readonly seed: number;
}

export function hasExtMagic(superblock: Buffer): boolean {
  return superblock.length >= SUPERBLOCK_BYTES && superblock.readUInt16LE(0x38) === MAGIC;
}

/** The layout, or in a few words why free blocks cannot be told. @param mostBytes room there is for the file system */
export function readSuperblock(superblock: Buffer, mostBytes: number): ExtLayout | string {
  const u16 = (at: number) => superblock.readUInt16LE(at);
  const u32 = (at: number) => superblock.readUInt32LE(at);
  const [compatible, incompatible, readOnly] = [u32(0x5c), u32(0x60), u32(0x64)];
  if (u32(0x4c) === 0) return 'it is of the oldest revision';
  if ((incompatible & INCOMPATIBLE.recover) !== 0)
    return 'its journal has to be replayed first (it is mounted, or was not unmounted)';
  if (u16(0x3a) !== VALID_STATE) return 'it was not unmounted cleanly';
  if ((incompatible & ~KNOWN_INCOMPATIBLE) !== 0 || (readOnly & ~KNOWN_READ_ONLY) !== 0) {
    return `it has features that are not understood (${hex(incompatible & ~KNOWN_INCOMPATIBLE)}, ${hex(readOnly & ~KNOWN_READ_ONLY)})`;
  }
  const usesCrc32c = (readOnly & READ_ONLY_COMPATIBLE.metadataChecksum) !== 0;
  if (usesCrc32c && superblock.readUInt8(0x175) !== CRC32C_TYPE) return 'its checksums are not understood';
  if (usesCrc32c && crc32c(superblock.subarray(0, 0x3fc), 0xffffffff) !== u32(0x3fc))
    return 'its superblock does not match its checksum';

  const isWide = (incompatible & INCOMPATIBLE.wide) !== 0;
  const blockSizeBytes = u32(0x18) <= 6 ? 1024 << u32(0x18) : 0;
  const blockCount = u32(0x4) + (isWide ? u32(0x150) * 2 ** 32 : 0);
  const [firstBlock, blocksPerGroup, inodesPerGroup, inodeBytes] = [
    u32(0x14),
    u32(0x20),
    u32(0x28),
    u16(0x58),
  ];
  const descriptorBytes = isWide ? u16(0xfe) : 32;
  const isSane =
    blockSizeBytes > 0 &&
    firstBlock === (blockSizeBytes === 1024 ? 1 : 0) &&
    blocksPerGroup > 0 &&
    blocksPerGroup % 8 === 0 &&
    blocksPerGroup <= blockSizeBytes * 8 &&
    blockCount > firstBlock &&
    blockCount * blockSizeBytes <= mostBytes &&
    [32, 64].includes(descriptorBytes) &&
    descriptorBytes === (isWide ? 64 : 32) &&
    inodeBytes >= 128 &&
    inodesPerGroup <= blockSizeBytes * 8;
  if (!isSane) return 'its superblock does not fit';
  const groupCount = Math.ceil((blockCount - firstBlock) / blocksPerGroup);
  const descriptorBlocks = Math.ceil((groupCount * descriptorBytes) / blockSizeBytes);
  const usesCrc16 = (readOnly & READ_ONLY_COMPATIBLE.descriptorChecksum) !== 0;
  const everyGroup =
    (readOnly & READ_ONLY_COMPATIBLE.sparseSuper) === 0 || (compatible & COMPATIBLE.sparseSuper2) !== 0;
  const uuid = superblock.subarray(0x68, 0x78);
  const seed32 = (incompatible & INCOMPATIBLE.checksumSeed) !== 0 ? u32(0x270) : crc32c(uuid, 0xffffffff);
  return {
    blockSizeBytes,
    blockCount,
    firstBlock,
    blocksPerGroup,
    inodeTableBlocks: Math.ceil((inodesPerGroup * inodeBytes) / blockSizeBytes),
    descriptorBytes,
    descriptorBlocks,
    copyBlocks: 1 + descriptorBlocks + u16(0xce),
    mayHaveCopy: (group) => everyGroup || group === 0 || [3, 5, 7].some((base) => isPower(group, base)),
    checks: usesCrc32c ? 'crc32c' : usesCrc16 ? 'crc16' : 'none',
    seed: usesCrc32c ? seed32 : crc16(uuid, 0xffff),
  };
}

/** 1 is one of every base. */
function isPower(value: number, base: number): boolean {
  let power = 1;
  while (power < value) power *= base;
  return power === value;
}

function hex(features: number): string {
  return `0x${(features >>> 0).toString(16)}`;
}
