/**
 * `--candidates auto`: what of an image no file system in it uses. A cluster is left out only if every byte of it is in free
 * blocks of file systems that are understood; everything else is kept, and so is all of what gives reason for doubt.
 */
import type { RandomAccessFile } from '../io/file-system.ts';
import type { Geometry } from '../store/layout.ts';
import { type Extent, leaveOutFreeBlocks, readExtSuperblock } from './ext-blocks.ts';
import { hasExtMagic } from './ext-superblock.ts';
import { readPartitions } from './partitions.ts';
import { ClusterSelection, type Selection } from './selection.ts';

/** What else may own a place where an old superblock still stands: XFS, LUKS, LVM, MD, swap space, btrfs. */
const OTHER_OWNERS: readonly (readonly [offsetBytes: number, magic: string])[] = [
  [0, 'XFSB'],
  [0, 'LUKS\xba\xbe'],
  [0, 'LABELONE'],
  [512, 'LABELONE'],
  [0, '\xfc\x4e\x2b\xa9'],
  [4096, '\xfc\x4e\x2b\xa9'],
  [4086, 'SWAPSPACE2'],
  [65_600, '_BHRfS_M'],
];

const ALL_KEPT = 'so all of it is kept';

/** Looks at the file systems of an image. It is as quick as reading their block bitmaps. */
export async function candidatesOfFileSystems(
  image: RandomAccessFile,
  geometry: Geometry,
): Promise<Selection> {
  const whole: Extent = { offsetBytes: 0, lengthBytes: geometry.sizeBytes };
  const isBare = hasExtMagic(await readExtSuperblock(image, whole));
  const partitions = await readPartitions(image, geometry.sizeBytes);
  const keepAll = (why: string): Selection => ({ candidates: undefined, doubts: [`${why}, ${ALL_KEPT}`] });
  if (typeof partitions === 'string') return keepAll(`its partition table is not understood (${partitions})`);
  if (isBare && partitions !== undefined)
    return keepAll('it looks like a file system and like a partitioned disk');

  const selection = new ClusterSelection(geometry);
  const doubts: string[] = [];
  let used = 0;
  for (const extent of partitions ?? [whole]) {
    const { found, doubt } = (await isAnothers(image, extent))
      ? { found: false, doubt: undefined }
      : await leaveOutFreeBlocks(image, extent, selection);
    if (found && doubt === undefined) used += 1;
    const what = partitions === undefined ? 'the file system' : `the file system at ${extent.offsetBytes}`;
    if (doubt !== undefined) doubts.push(`the free blocks of ${what} cannot be told: ${doubt}, ${ALL_KEPT}`);
  }
  if (used > 0) return { candidates: selection.bits, doubts };
  if (doubts.length === 0) return keepAll('no ext2, ext3 or ext4 file system was found in it');
  return { candidates: undefined, doubts };
}

async function isAnothers(image: RandomAccessFile, { offsetBytes }: Extent): Promise<boolean> {
  for (const [at, magic] of OTHER_OWNERS) {
    const bytes = Buffer.alloc(magic.length);
    await image.read(bytes, offsetBytes + at);
    if (bytes.toString('latin1') === magic) return true;
  }
  return false;
}
