/**
 * A clone: a copy of the whole origin that shares its blocks on the disk (a reflink), made by the file system in an
 * instant (fss does without copies too where its file system freezes the data). Nothing is copied for it, and it ends
 * the chain: what stores before it lack is in it.
 *
 *   content of the origin | up to the next page: nothing | header, as a store's but for the magic
 */

import { roundUp } from '../base/bytes.ts';
import { quietly, SnapError } from '../base/errors.ts';
import { createLike, type FileLike, giveLike } from '../io/file-like.ts';
import type { FileSystem, RandomAccessFile } from '../io/file-system.ts';
import { type SnapshotRecord, STORE_SUFFIX } from './catalog.ts';
import { PAGE_BYTES, STORE_HEADER } from './layout.ts';
import type { Sidecar } from './sidecar.ts';
import { lookAtStore, type StorePlace } from './store-file.ts';
import { decodeStoreHeader, encodeStoreHeader, isSameStore, type StoreIdentity } from './store-header.ts';

export const CLONE_SUFFIX = '.clone';

/** Beside the snapshot's store. */
export function clonePlace({ path, followed }: StorePlace): StorePlace {
  const base = path.endsWith(STORE_SUFFIX) ? path.slice(0, -STORE_SUFFIX.length) : path;
  return { path: `${base}${CLONE_SUFFIX}`, followed };
}

/** The files of one record of the catalog: its store, and a clone where it is one. */
export function filePathsOf(sidecar: Sidecar, record: SnapshotRecord): string[] {
  const place = sidecar.storePlace(record);
  return record.isClone ? [place.path, clonePlace(place).path] : [place.path];
}

/**
 * Makes a clone, durable but for its directory entry.
 * @throws `refused` where the file system cannot share blocks between these two files
 */
export async function makeClone(
  files: FileSystem,
  origin: RandomAccessFile,
  clone: { readonly path: string; readonly identity: StoreIdentity; readonly like: FileLike },
): Promise<void> {
  const { path, identity, like } = clone;
  const file = await createLike(files, path, like);
  try {
    const { groupId } = await file.stat();
    if (like.groupId !== undefined && groupId !== like.groupId) {
      // The file system gives a clone the permissions of what it is cloned from, which mean another group there.
      throw new SnapError('refused', `${path}: a clone could not be given to the image's group`, {
        path,
        hint: 'take the snapshot as a member of that group, or without --clone',
      });
    }
    await origin.shareInto(file);
    await giveLike(file, like);
    const headerOffsetBytes = roundUp(identity.sizeBytes, PAGE_BYTES);
    await file.truncate(headerOffsetBytes + PAGE_BYTES);
    await file.write(encodeStoreHeader(identity, 'clone'), headerOffsetBytes);
    await file.syncAll();
    await file.close();
  } catch (error) {
    await quietly(() => file.close());
    await quietly(() => files.remove(path));
    throw error;
  }
}

/** @throws `not-found`; `damage` where the file is not that clone */
export async function openClone(
  files: FileSystem,
  place: StorePlace,
  expected: StoreIdentity,
): Promise<RandomAccessFile> {
  const { path, followed } = place;
  const stat = await lookAtStore(files, place);
  if (stat === undefined) {
    throw new SnapError('not-found', `${path}: the clone is missing`, {
      path,
      hint: 'put the file back, or remove the snapshots that need it with snap-gc',
    });
  }
  if (stat.kind !== 'file') throw new SnapError('damage', `${path}: the clone is no regular file`, { path });
  const file = await (followed ? files.open(path, 'read') : files.openItself(path, 'read'));
  try {
    const identity = await readCloneIdentity(file);
    if (isSameStore(identity, expected)) return file;
    throw new SnapError('damage', `${path}: this is the clone of another snapshot`, {
      path,
      hint: 'put the right file back',
    });
  } catch (error) {
    await quietly(() => file.close());
    throw error;
  }
}

/** @throws `damage` where the file does not end as a clone does; `newer-version` */
export async function readCloneIdentity(file: RandomAccessFile): Promise<StoreIdentity> {
  const { sizeBytes } = await file.stat();
  const bytes = Buffer.alloc(STORE_HEADER.sizeBytes);
  const offsetBytes = sizeBytes - PAGE_BYTES;
  const got = offsetBytes < 0 ? 0 : await file.read(bytes, offsetBytes);
  const identity = decodeStoreHeader(bytes.subarray(0, got), file.path, 'clone');
  if (offsetBytes === roundUp(identity.sizeBytes, PAGE_BYTES)) return identity;
  throw new SnapError('damage', `${file.path}: the clone is not as long as its snapshot`, {
    path: file.path,
  });
}
