/** Where a snapshot's store goes: into the sidecar, or where `--store` says, as long as that can harm nothing. */
import * as path from 'node:path';
import { SnapError } from '../base/errors.ts';
import type { FileSystem } from '../io/file-system.ts';
import { SIDECAR_SUFFIX, sidecarPath } from '../store/sidecar.ts';
import { checkCoherent } from './origin.ts';
import type { Volume } from './volume.ts';

/**
 * @param wanted a directory, or a file that does not exist yet; undefined for the sidecar
 * @returns how the catalog names it: a file name in the sidecar, or an absolute path
 * @throws `refused`, `exists`, `not-found`
 */
export async function chooseStorePath(
  volume: Volume,
  wanted: string | undefined,
  storeName: string,
): Promise<string> {
  if (wanted === undefined) return storeName;
  const { files } = volume.context.host;
  const stat = await files.stat(wanted);
  const isDirectory = stat?.kind === 'directory';
  if (stat !== undefined && !isDirectory) {
    const what = stat.kind === 'file' ? 'exists already' : `is a ${stat.kind}, not a regular file`;
    throw new SnapError(stat.kind === 'file' ? 'exists' : 'refused', `${wanted}: ${what}`, {
      path: wanted,
      hint: 'name a directory, or a file that does not exist yet',
    });
  }
  const parent = path.resolve(isDirectory ? wanted : path.dirname(wanted));
  const parentStat = await files.stat(parent);
  if (parentStat?.kind !== 'directory') {
    throw new SnapError('not-found', `${parent}: no such directory`, { path: parent, hint: 'make it first' });
  }
  const absolute = path.join(await files.realPath(parent), isDirectory ? storeName : path.basename(wanted));
  await checkCoherent(volume.context, volume.image, parent);
  if (absolute.endsWith(SIDECAR_SUFFIX)) {
    throw new SnapError('refused', `${wanted}: is the name of a sidecar`, {
      path: wanted,
      hint: 'name another file',
    });
  }
  const ownSidecar = sidecarPath(volume.imagePath);
  const ownDirectory =
    (await files.stat(ownSidecar)) === undefined ? ownSidecar : await files.realPath(ownSidecar);
  for (const directory of [ownDirectory, ...sidecarsAbove(absolute)]) {
    if (absolute.startsWith(`${directory}/`)) {
      throw new SnapError('refused', `${wanted}: is inside a sidecar`, {
        path: wanted,
        hint: "leave --store out for this image's own sidecar, or name a place outside every sidecar",
      });
    }
  }
  await prepareStorePath(files, absolute);
  return absolute;
}

/** Directories on the way to a path that are named as sidecars are. */
function sidecarsAbove(absolute: string): string[] {
  const above: string[] = [];
  for (let directory = path.dirname(absolute); directory !== '/'; directory = path.dirname(directory)) {
    if (directory.endsWith(SIDECAR_SUFFIX)) above.push(directory);
  }
  return above;
}

/** Nothing may stand there: a store is only ever made, never taken over. */
export async function prepareStorePath(files: FileSystem, storePath: string): Promise<void> {
  if ((await files.linkStat(storePath)) === undefined) return;
  throw new SnapError('exists', `${storePath}: exists already`, {
    path: storePath,
    hint: 'name another file',
  });
}
