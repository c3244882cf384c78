/**
 * Whose the files of a sidecar are: the image's owner's where that is permitted, with the image's mode, and never open
 * to anybody whom the image is not open to. When an image was closed to somebody later, its next snapshot is made as the
 * image is now, and takes the sidecar along; with the directory, everything in it is out of reach.
 */
import { SnapError } from '../base/errors.ts';
import { closeLike, directoryAt, type FileLike } from '../io/file-like.ts';
import type { FileStat } from '../io/file-system.ts';
import type { StoreFile } from '../store/store-file.ts';
import type { Context } from './context.ts';
import type { Hold } from './hold.ts';

/** The image's mode, and read and write for the owner, who could not go on without. */
export function likeImage({ mode, userId, groupId }: FileStat): FileLike {
  return { mode: (mode & 0o777) | 0o600, userId, groupId };
}

/** Who may read the image may look for its snapshots. */
export function directoryLikeImage(originStat: FileStat): FileLike {
  const like = likeImage(originStat);
  return { ...like, mode: like.mode | ((like.mode & 0o444) >> 2) };
}

/** Remarks that a new store is not the image owner's: only root may give files away. */
export async function remarkOwner(context: Context, originStat: FileStat, store: StoreFile): Promise<void> {
  const { userId } = await store.stat();
  if (userId === originStat.userId) return;
  context.warn({ message: `${store.path}: could not be given to the image's owner` });
}

/** Closes a sidecar to whom the image was closed since. What is in it already does not stop a snapshot: a remark. */
export async function closeSidecar(hold: Hold): Promise<void> {
  const { context, originStat, sidecar } = hold;
  try {
    await closeLike(sidecar.stateFile, likeImage(originStat));
    await closeLike(directoryAt(context.host.files, sidecar.directory), directoryLikeImage(originStat));
  } catch (error) {
    if (!isNotOurs(error)) throw error;
    context.warn({
      message: `${sidecar.directory}: is open to more users than ${hold.image} is`,
      hint: 'its owner can change that with chmod',
    });
  }
}

/**
 * Before a store is handed anything, it is closed to whom the image was closed since it was made. It need not be as
 * closed as the store that the clusters come from: what it lacks of a snapshot, the image still held when it was made,
 * and was as open then as the store is.
 * @throws `refused` where it stays open to more
 */
export async function closeReceiver(hold: Hold, store: StoreFile): Promise<void> {
  try {
    await store.closeLike(likeImage(hold.originStat));
  } catch (error) {
    if (!isNotOurs(error)) throw error;
    throw new SnapError('refused', `${store.path}: is open to more users than ${hold.image} is now`, {
      path: store.path,
      hint: "have the file's owner, or root, change that with chmod, or run this command",
      cause: error,
    });
  }
}

/** Only a file's owner, and root, may change who else may read it. */
function isNotOurs(error: unknown): boolean {
  return error instanceof SnapError && error.errno === 'EPERM';
}
