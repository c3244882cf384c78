/**
 * What `IMAGE@NAME` on a command line means. File names may hold an `@` too; a guess could remove or read the
 * wrong thing, so where both readings lead to a file the argument is refused.
 */
import { hasErrno, SnapError } from '../base/errors.ts';
import type { FileSystem } from '../io/file-system.ts';

/** No `/` and no `@`, so that a reference splits in one way; no first character of an option or a hidden file. */
export const NAME_PATTERN = /^[A-Za-z0-9][A-Za-z0-9_.:+-]{0,127}$/;

export interface Reference {
  /** The path of the image as it was given; whether it exists is not looked at. */
  readonly image: string;
  /** Absent where the image itself is meant. */
  readonly name?: string;
}

/** Whether a snapshot may have this name. */
export function isSnapshotName(text: string): boolean {
  return NAME_PATTERN.test(text);
}

/**
 * Splits at the last `@` after the last `/`, unless a file has the whole argument as its name. The image need
 * not exist: the snapshots of one that is gone can still be named. Throws `usage` for no image, a bad NAME and
 * an argument with two readings, and the system's error where it cannot be known what exists.
 */
export async function parseReference(files: Pick<FileSystem, 'stat'>, text: string): Promise<Reference> {
  const at = text.lastIndexOf('@');
  const head = text.slice(0, at);
  if (text === '') throw new SnapError('usage', 'the name of the image is empty');
  if (at <= text.lastIndexOf('/')) return { image: text };

  if (await isTaken(files, text)) {
    if (head === '' || !(await isTaken(files, head))) return { image: text };
    const message = `${JSON.stringify(text)} is ambiguous: both ${JSON.stringify(head)} and this file exist`;
    throw new SnapError('usage', message, {
      hint: `write ${JSON.stringify(`${text}@`)} for the image of that name`,
    });
  }
  if (head === '' || head.endsWith('/')) {
    throw new SnapError('usage', `${JSON.stringify(text)} has no image before the @`);
  }
  const name = text.slice(at + 1);
  if (name === '') return { image: head };
  if (isSnapshotName(name)) return { image: head, name };
  throw new SnapError('usage', `${JSON.stringify(name)} is not a snapshot's name`, {
    hint: `1 to 128 of A-Z a-z 0-9 _ . : + -, the first a letter or digit; ${JSON.stringify(`${text}@`)} is an image`,
  });
}

/**
 * Whether `path` leads to something that could be an image: not a directory. A path that cannot exist, such as
 * a name too long once `@NAME` is part of it, does not; what cannot be looked at is told to the caller.
 */
async function isTaken(files: Pick<FileSystem, 'stat'>, path: string): Promise<boolean> {
  try {
    const stat = await files.stat(path);
    return stat !== undefined && stat.kind !== 'directory';
  } catch (error) {
    if (hasErrno(error, 'ENOTDIR', 'ENAMETOOLONG', 'ELOOP')) return false;
    throw error;
  }
}
