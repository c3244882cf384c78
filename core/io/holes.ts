/**
 * Where a file has data and where it is a hole, by `lseek` with SEEK_DATA: an image of a terabyte with a gigabyte of data
 * is then read in the time of the gigabyte. Where it cannot be asked, holes are read like everything else.
 *
 * Asked only of file systems that are known to answer rightly for what was just written. (OpenZFS 2.2.0 did not, and `cp`
 * lost data that way.)
 */
import fs from 'node:fs';
import { lazyRequire } from '../base/lazy-require.ts';
import { cLibrary } from './c-library.ts';

/** `f_type` of statfs(2). */
const TRUSTED_TYPES: ReadonlySet<bigint> = new Set([
  0xef53n, // ext2, ext3, ext4
  0x58465342n, // XFS
  0x9123683en, // btrfs
  0x01021994n, // tmpfs
]);

/**
 * A function that gives the first place at or after `offsetBytes` which may hold other than zeros, the file's end where
 * there is none; undefined where holes cannot be seen. It moves the descriptor's own position, which positional calls do not use.
 */
export function dataFinder(descriptor: number): ((offsetBytes: number) => number) | undefined {
  const { size, blocks } = fs.fstatSync(descriptor, { bigint: true });
  // koffi takes 9 ms to load: not for a file without holes.
  if (blocks * 512n >= size || !isTrusted(descriptor)) return undefined;
  const { constants }: typeof import('node:os') = lazyRequire('node:os');
  const library = cLibrary();
  if (library === undefined) return undefined;
  return (offsetBytes) => {
    const found = library.seekData(descriptor, offsetBytes);
    if (found >= offsetBytes && Number.isSafeInteger(found)) return found;
    // Nothing but a hole up to the end; what any other answer means is not known.
    const isHole = found < 0 && library.errno() === constants.errno.ENXIO;
    return isHole ? Math.max(offsetBytes, fs.fstatSync(descriptor).size) : offsetBytes;
  };
}

function isTrusted(descriptor: number): boolean {
  return TRUSTED_TYPES.has(fs.statfsSync(`/proc/self/fd/${descriptor}`, { bigint: true }).type);
}
