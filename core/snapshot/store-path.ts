/** Where a snapshot's store goes: into the sidecar, or where `--store` says, as long as that can harm nothing. */
import * as path from 'node:path';
import { SnapError } from '../base/errors.ts';
import type { FileStat, FileSystem } from '../io/file-system.ts';
import type { SnapshotRecord } from '../store/catalog.ts';
import { clonePlace } from '../store/clone-file.ts';
import { SIDECAR_SUFFIX, sidecarAbove } from '../store/sidecar.ts';
import { isStore } from '../store/store-file.ts';
import { checkCoherent, KIND_NAMES } from './origin.ts';
import type { Volume } from './volume.ts';

/**
 * @param wanted a directory, or a file that does not exist yet; undefined for the sidecar
 * @param snapshots those that there are: their stores keep their places even while the file is missing
 * @returns how the catalog names it: a file name in the sidecar, or an absolute path
 * @throws `refused`, `exists`, `not-found`
 */
export async function chooseStorePath(
  volume: Volume,
  wanted: string | undefined,
  storeName: string,
  snapshots: readonly SnapshotRecord[],
): Promise<string> {
  if (wanted === undefined) return storeName;
  const { files } = volume.context.host;
  const stat = await files.stat(wanted);
  const isDirectory = stat?.kind === 'directory';
  if (stat !== undefined && !isDirectory) throw await occupied(volume, wanted, stat);
  const parent = path.resolve(isDirectory ? wanted : path.dirname(wanted));
  const parentStat = await files.stat(parent);
  if (parentStat?.kind !== 'directory') {
    throw new SnapError('not-found', `${parent}: no such directory`, { path: parent, hint: 'make it first' });
  }
  const absolute = path.join(await files.realPath(parent), isDirectory ? storeName : path.basename(wanted));
  await checkCoherent(volume.context, volume.image, parent);
  await checkNoSidecar(volume, wanted, absolute);
  const owner = snapshots.find((record) => placesOutside(record).includes(absolute));
  if (owner !== undefined) {
    throw new SnapError('exists', `${wanted}: is the place of another snapshot's store`, {
      path: wanted,
      snapshot: `${volume.image}@${owner.name}`,
      hint: 'name another file; the store that belongs there is missing',
    });
  }
  await prepareStorePath(files, absolute);
  return absolute;
}

/** Where files of a snapshot are, or may come to be, outside of the sidecar. */
function placesOutside({ storePath, isClone, spill }: SnapshotRecord): string[] {
  const clone = isClone ? [clonePlace({ path: storePath, followed: true }).path] : [];
  return [storePath, ...clone, ...(spill?.paths ?? [])];
}

/** The error for a path at which something stands that is no directory. */
async function occupied(volume: Volume, wanted: string, stat: FileStat): Promise<SnapError> {
  const details = { path: wanted, hint: 'name a directory, or a file that does not exist yet' };
  if (stat.kind !== 'file' && stat.kind !== 'directory') {
    return new SnapError('refused', `${wanted}: is ${KIND_NAMES[stat.kind]}, not a regular file`, details);
  }
  const image = await volume.origin.stat();
  const isImage = stat.device === image.device && stat.inode === image.inode;
  const what = isImage
    ? 'is the image itself'
    : (await isReadableStore(volume, wanted))
      ? 'is the store of another snapshot'
      : 'exists already';
  return new SnapError('exists', `${wanted}: ${what}`, details);
}

/** What may not be read is refused all the same, as a file that exists. */
async function isReadableStore(volume: Volume, wanted: string): Promise<boolean> {
  try {
    return await isStore(volume.context.host.files, wanted);
  } catch (error) {
    if (error instanceof SnapError) return false;
    throw error;
  }
}

/** @throws `refused` for a sidecar's name, and for a place inside of one, be it this image's, which may not exist yet */
async function checkNoSidecar(volume: Volume, wanted: string, absolute: string): Promise<void> {
  const { files } = volume.context.host;
  if (absolute.endsWith(SIDECAR_SUFFIX)) {
    throw new SnapError('refused', `${wanted}: is the name of a sidecar`, {
      path: wanted,
      hint: 'name another file',
    });
  }
  const named = path
    .dirname(absolute)
    .split(path.sep)
    .some((name) => name.endsWith(SIDECAR_SUFFIX));
  if (!named && (await sidecarAbove(files, absolute)) === undefined) return;
  throw new SnapError('refused', `${wanted}: is inside a sidecar`, {
    path: wanted,
    hint: "leave --store out for this image's own sidecar, or name a place outside every sidecar",
  });
}

/** Nothing may stand there: a store is only ever made, never taken over. */
export async function prepareStorePath(files: FileSystem, storePath: string): Promise<void> {
  if ((await files.linkStat(storePath)) === undefined) return;
  throw new SnapError('exists', `${storePath}: exists already`, {
    path: storePath,
    hint: 'name another file',
  });
}
