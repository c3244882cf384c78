/**
 * Replaces a small file so that after any crash it is either wholly the old or wholly the new one: write aside,
 * flush, rename over, flush the directory.
 */
import { dirname } from 'node:path';
import { hasCode } from '../base/errors.ts';
import type { FileStat, FileSystem } from './file-system.ts';

/** The permission bits that a file gets exactly, and whose it becomes, where that is permitted. */
export interface FileLike {
  readonly mode: number;
  readonly userId?: number;
  readonly groupId?: number;
}

/**
 * Makes `content` the content of `path`, whether or not that exists, `like` another; durable
 * when it returns. Writes `<path>.tmp` on the way: callers must exclude each other. Where it throws, `path` is as
 * it was, or (only if flushing the directory failed) new and perhaps not durable.
 */
export async function replaceFile(
  files: FileSystem,
  path: string,
  content: Buffer,
  like: FileLike,
): Promise<void> {
  const temporaryPath = `${path}.tmp`;
  await removeIfThere(files, temporaryPath);
  try {
    await writeAside(files, temporaryPath, content, like);
    await files.rename(temporaryPath, path);
  } catch (error) {
    // The first error is the one to report; what stays behind is removed by the next replacement.
    await removeIfThere(files, temporaryPath).catch(() => undefined);
    throw error;
  }
  await files.syncDirectory(dirname(path));
}

async function writeAside(files: FileSystem, path: string, content: Buffer, like: FileLike): Promise<void> {
  const file = await files.open(path, 'create', like.mode);
  try {
    await file.write(content, 0);
    const made = await file.stat();
    await giveTo(files, path, made, like);
    // The umask may have taken some bits away, and a change of the owner others.
    if ((await file.stat()).mode !== like.mode) await files.setPermissions(path, like.mode);
    await file.syncAll();
  } finally {
    await file.close();
  }
}

async function giveTo(files: FileSystem, path: string, made: FileStat, like: FileLike): Promise<void> {
  const { userId = made.userId, groupId = made.groupId } = like;
  if (made.userId === userId && made.groupId === groupId) return;
  try {
    await files.setOwner(path, { userId, groupId });
  } catch (error) {
    // Only root may give files away; the file works as it is.
    if (!hasCode(error, 'io')) throw error;
  }
}

async function removeIfThere(files: FileSystem, path: string): Promise<void> {
  try {
    await files.remove(path);
  } catch (error) {
    if (!hasCode(error, 'not-found')) throw error;
  }
}
