/**
 * Replaces a small file so that after any crash it is either wholly the old or wholly the new one: write aside,
 * flush, rename over, flush the directory.
 */
import { dirname } from 'node:path';
import { hasCode } from '../base/errors.ts';
import { createLike, type FileLike } from './file-like.ts';
import type { FileSystem } from './file-system.ts';

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
  const file = await createLike(files, path, like);
  try {
    await file.write(content, 0);
    await file.syncAll();
  } finally {
    await file.close();
  }
}

async function removeIfThere(files: FileSystem, path: string): Promise<void> {
  try {
    await files.remove(path);
  } catch (error) {
    if (!hasCode(error, 'not-found')) throw error;
  }
}
