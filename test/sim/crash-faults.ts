/** Flushes that fail once: what the disk has afterwards, and what is read from memory until the power goes. */
import type { Random } from './crash-content.ts';
import { CrashContent } from './crash-content.ts';
import type { CrashVolume } from './crash-volume.ts';
import { findDirectory, syncSomeEntries } from './name-tree.ts';
import type { Operation } from './session.ts';
import { systemError } from './system-error.ts';

export function isFlush({ kind }: Operation): boolean {
  return kind === 'syncData' || kind === 'syncAll' || kind === 'syncDirectory';
}

/**
 * Of a file the system forgets what was dirty, and some of it is not even read from memory any more. Of a directory
 * some of the changes have reached the disk, and the next flush tries the others again: file systems keep names in a
 * journal, and stop at an error of that.
 * @throws EIO, always
 */
export function failFlush(volume: CrashVolume, { path, inode }: Operation, random: Random): never {
  if (inode === undefined) syncSomeEntries(findDirectory(volume.root, path), random);
  else if (inode.content instanceof CrashContent) inode.content.failSync(random);
  throw systemError('EIO');
}
