/**
 * New files that are like another: whoever may not read the image must not read it from what we make of it, not even
 * for the moment between two calls. So a file is made for its maker alone (a umask can only take away from that), gets
 * its owner, and then, by the open file rather than by a name that may be somebody else's by now, its mode.
 */
import { hasCode, SnapError } from '../base/errors.ts';
import type { FileStat, FileSystem, Owner, RandomAccessFile } from './file-system.ts';

/** What a file is to be like: the permission bits, and user and group where they are named. */
export interface FileLike {
  readonly mode: number;
  readonly userId?: number;
  readonly groupId?: number;
}

/** An open file, or a directory. */
interface Giveable {
  readonly path: string;
  stat(): Promise<FileStat>;
  setPermissions(permissions: number): Promise<void>;
  setOwner(owner: Owner): Promise<void>;
}

const PRIVATE = 0o600;
const PERMISSIONS = 0o777;
/** What is not for others to do, and so is not taken away. */
const NOT_FOR_OTHERS = 0o7700;

/** Makes a file like another, for writing. Fails as mode `create` does. */
export async function createLike(files: FileSystem, path: string, like: FileLike): Promise<RandomAccessFile> {
  const file = await files.open(path, 'create', PRIVATE);
  try {
    await giveLike(file, like);
    return file;
  } catch (error) {
    await file.close();
    await files.remove(path);
    throw error;
  }
}

export function directoryAt(files: FileSystem, path: string): Giveable {
  return {
    path,
    stat: async () => {
      const stat = await files.linkStat(path);
      if (stat !== undefined) return stat;
      throw new SnapError('not-found', `${path}: is gone`, { path });
    },
    setPermissions: (permissions) => files.setPermissions(path, permissions),
    setOwner: (owner) => files.setOwner(path, owner),
  };
}

/**
 * Gives what was just made, and is its maker's alone, to whom it is to belong, as far as that is permitted, and then
 * the mode, as far as it means the same there. Setuid and the like are never taken over.
 */
export async function giveLike(made: Giveable, like: FileLike): Promise<void> {
  const stat = await giveOwner(made, like);
  const permissions = permissionsIn(stat, like);
  // A file system without modes refuses to change them, and need not.
  if (stat.mode !== permissions) await made.setPermissions(permissions);
}

/**
 * Takes away from a file that has been there for a while what `like` does not allow any more; its owner keeps what he
 * has. Nothing is added: who closed it may have meant it.
 * @throws `io` where it stays open to more
 */
export async function closeLike(file: Giveable, like: FileLike): Promise<void> {
  // Before a group gets it, too.
  await narrow(file, await file.stat(), like.mode);
  const stat = await giveOwner(file, like);
  await narrow(file, stat, permissionsIn(stat, like));
}

async function narrow(file: Giveable, stat: FileStat, allowed: number): Promise<void> {
  const permissions = stat.mode & (allowed | NOT_FOR_OTHERS);
  if (stat.mode !== permissions) await file.setPermissions(permissions);
}

/** Only root may give files away, and others only to groups of theirs; the file works as it is. */
async function giveOwner(file: Giveable, like: FileLike): Promise<FileStat> {
  const stat = await file.stat();
  const { userId = stat.userId, groupId = stat.groupId } = like;
  if (stat.userId === userId && stat.groupId === groupId) return stat;
  const given =
    (await tryGive(file, { userId, groupId })) ||
    (stat.groupId !== groupId && (await tryGive(file, { userId: stat.userId, groupId })));
  return given ? file.stat() : stat;
}

async function tryGive(file: Giveable, owner: Owner): Promise<boolean> {
  try {
    await file.setOwner(owner);
    return true;
  } catch (error) {
    if (!hasCode(error, 'io')) throw error;
    return false;
  }
}

/**
 * The bits that mean in this file what they mean in the one that it is like. If the group is another, its members are
 * strangers there and the other group's are strangers here, so each get what both may do.
 */
function permissionsIn(stat: FileStat, { mode, groupId }: FileLike): number {
  if (groupId === undefined || stat.groupId === groupId) return mode & PERMISSIONS;
  const both = (mode >> 3) & mode & 0o7;
  return (mode & 0o700) | (both << 3) | both;
}
