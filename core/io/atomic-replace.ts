/**
 * Replaces a small file so that after any crash it is either wholly the old or wholly the new one: write aside,
 * flush, rename over, flush the directory.
 */
import { dirname } from 'node:path';
import { hasCode } from '../base/errors.ts';
import type { FileSystem } from './file-system.ts';

/**
 * Makes `content` the content of `path`, whether or not that exists, with exactly these permission bits; durable
 * when it returns. Writes `<path>.tmp` on the way: callers must exclude each other. Where it throws, `path` is as
 * it was, or (only if flushing the directory failed) new and perhaps not durable.
 */
export async function replaceFile(
  files: FileSystem,
  path: string,
  content: Buffer,
  permissions: number,
): Promise<void> {
  const temporaryPath = `${path}.tmp`;
  await removeIfThere(files, temporaryPath);
  try {
    await writeAside(files, temporaryPath, content, permissions);
    await files.rename(temporaryPath, path);
  } catch (error) {
    // The first error is the one to report; what stays behind is removed by the next replacement.
    await removeIfThere(files, temporaryPath).catch(() => undefined);
    throw error;
  }
  await files.syncDirectory(dirname(path));
}

async function writeAside(
  files: FileSystem,
  path: string,
  content: Buffer,
  permissions: number,
): Promise<void> {
  const file = await files.open(path, 'create', permissions);
  try {
    await file.write(content, 0);
    // The umask may have taken some bits away.
    if ((await file.stat()).mode !== permissions) await files.setPermissions(path, permissions);
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
