/**
 * What interrupted commands left: stores that no catalog names, files that were never given their name, sidecars that
 * were never finished. Judged and removed under the lock, and only what is provably ours (invariant 9): a store by its
 * header, which is whole before it has its name; what is unfinished by the name that only we give, in the place that
 * only we use.
 */
import * as path from 'node:path';
import { hasCode } from '../base/errors.ts';
import type { FileSystem } from '../io/file-system.ts';
import { acquire, release } from '../io/turnstile.ts';
import { type Leftover, STORE_SUFFIX } from '../store/catalog.ts';
import { CLONE_SUFFIX, filePathsOf, readCloneIdentity } from '../store/clone-file.ts';
import { CATALOG_FILE, RESERVE_FILE, STATE_FILE, sidecarPath, UNFINISHED_SUFFIX } from '../store/sidecar.ts';
import { readStoreIdentity } from '../store/store-file.ts';
import type { Hold } from './hold.ts';
import { unfinishedParts } from './spill.ts';
import type { Volume } from './volume.ts';

const BUILD_SUFFIX_PATTERN = /^\.[0-9a-f]{16}\.tmp$/;
const UNFINISHED_CATALOG = `${CATALOG_FILE}${UNFINISHED_SUFFIX}`;
const UNFINISHED_STORE_PATTERN = /-[0-9a-f]{8}\.(cow|clone)\.tmp$/;

/** Stores, in the sidecar or where a snapshot may spill to, that its catalog does not name, and a catalog never renamed. */
export async function findGarbage(hold: Hold): Promise<string[]> {
  const { files } = hold.context.host;
  const { directory } = hold.sidecar;
  const named = new Set(hold.catalog.snapshots.flatMap((record) => filePathsOf(hold.sidecar, record)));
  const garbage: string[] = [];
  for (const name of await files.list(directory)) {
    const filePath = path.join(directory, name);
    if (named.has(filePath) || (await files.linkStat(filePath))?.kind !== 'file') continue;
    if (name === UNFINISHED_CATALOG || UNFINISHED_STORE_PATTERN.test(name)) garbage.push(filePath);
    if (!name.endsWith(STORE_SUFFIX) && !name.endsWith(CLONE_SUFFIX)) continue;
    if (await isStoreOfSidecar(files, filePath, hold.catalog.sidecarUuid)) garbage.push(filePath);
  }
  for (const record of hold.catalog.snapshots) {
    garbage.push(...(await unfinishedParts(hold, record)));
  }
  for (const leftover of hold.catalog.leftovers ?? []) {
    if (await isLeft(hold, leftover)) garbage.push(leftover.path);
  }
  return garbage;
}

/** @param storeUuid of which store, if not of any */
async function isStoreOfSidecar(
  files: FileSystem,
  filePath: string,
  sidecarUuid: string,
  storeUuid?: string,
): Promise<boolean> {
  const file = await files.openItself(filePath, 'read');
  try {
    const identity = await readStoreIdentity(file).catch((error: unknown) => {
      // A clone begins with whatever the image began with, and has its header at its end.
      if (hasCode(error, 'damage')) return readCloneIdentity(file);
      throw error;
    });
    return identity.sidecarUuid === sidecarUuid && [identity.storeUuid, undefined].includes(storeUuid);
  } catch (error) {
    if (hasCode(error, 'damage', 'newer-version')) return false;
    throw error;
  } finally {
    await file.close();
  }
}

/** Whether a removed store outside of the sidecar is still there; undefined where it cannot be looked at. */
async function isLeft(hold: Hold, { uuid, path: filePath }: Leftover): Promise<boolean | undefined> {
  const { files } = hold.context.host;
  try {
    if ((await files.linkStat(filePath))?.kind !== 'file') return false;
    return await isStoreOfSidecar(files, filePath, hold.catalog.sidecarUuid, uuid);
  } catch (error) {
    if (!hasCode(error, 'not-found', 'io')) throw error;
    return undefined;
  }
}

/**
 * In an exclusive hold: removes what is left of removed stores outside of the sidecar, and forgets them once that is
 * durable. Of a disk that is not mounted, or a place that cannot be looked at, nothing is known, and they are remembered.
 */
export async function removeLeftovers(hold: Hold): Promise<void> {
  const { files } = hold.context.host;
  const done: Leftover[] = [];
  const unreachable = new Set<string>();
  for (const leftover of hold.catalog.leftovers ?? []) {
    const isThere = await isLeft(hold, leftover);
    if (isThere) await files.remove(leftover.path);
    if (isThere !== undefined) done.push(leftover);
  }
  for (const directory of new Set(done.map((each) => path.dirname(each.path)))) {
    if ((await files.stat(directory))?.kind === 'directory') await files.syncDirectory(directory);
    else unreachable.add(directory);
  }
  const forgotten = new Set(
    done
      .filter((each) => !unreachable.has(path.dirname(each.path)))
      .map((each) => `${each.uuid} ${each.path}`),
  );
  if (forgotten.size === 0) return;
  await hold.commit((catalog) => ({
    ...catalog,
    leftovers: catalog.leftovers?.filter((each) => !forgotten.has(`${each.uuid} ${each.path}`)) ?? [],
  }));
}

/** In an exclusive hold. Returns the bytes freed. */
export async function removeGarbage(hold: Hold): Promise<number> {
  const { files } = hold.context.host;
  let bytes = 0;
  for (const filePath of await findGarbage(hold)) {
    bytes += (await files.linkStat(filePath))?.allocatedBytes ?? 0;
    await files.remove(filePath);
  }
  return bytes;
}

/** Directories beside the image in which a first sidecar was being built. */
async function buildDirectories(volume: Volume): Promise<string[]> {
  const finalPath = sidecarPath(volume.imagePath);
  const parent = path.dirname(finalPath);
  const base = path.basename(finalPath);
  const names = await volume.context.host.files.list(parent);
  return names
    .filter((name) => name.startsWith(base) && BUILD_SUFFIX_PATTERN.test(name.slice(base.length)))
    .map((name) => path.join(parent, name));
}

/**
 * Removes sidecars that were never finished. Their makers hold the image's lock for as long as they live, so it is
 * taken; where the image cannot be written to, they are left.
 */
export async function removeUnfinishedSidecars(volume: Volume): Promise<void> {
  const directories = await buildDirectories(volume);
  if (directories.length === 0) return;
  const { host, signal, waitMs } = volume.context;
  let image: Awaited<ReturnType<FileSystem['open']>>;
  try {
    image = await host.files.open(volume.imagePath, 'update');
  } catch (error) {
    if (hasCode(error, 'io')) return;
    throw error;
  }
  try {
    await acquire(host, image, 'exclusive', {
      deadlineMs: host.monotonicMs() + waitMs,
      signal,
      subject: volume.image,
    });
    try {
      for (const directory of directories) await removeUnfinished(host.files, directory);
    } finally {
      release(image);
    }
  } finally {
    await image.close();
  }
}

/** Removes the directory if everything in it is what a maker of sidecars puts there. */
async function removeUnfinished(files: FileSystem, directory: string): Promise<void> {
  if ((await files.linkStat(directory))?.kind !== 'directory') return;
  const paths = (await files.list(directory)).map((name) => path.join(directory, name));
  for (const filePath of paths) if (!(await isMakersFile(files, filePath))) return;
  for (const filePath of paths) await files.remove(filePath);
  await files.removeDirectory(directory);
}

/** By its name alone: after a power loss there may be anything in it. */
async function isMakersFile(files: FileSystem, filePath: string): Promise<boolean> {
  if ((await files.linkStat(filePath))?.kind !== 'file') return false;
  const name = path.basename(filePath);
  return (
    [STATE_FILE, CATALOG_FILE, UNFINISHED_CATALOG, RESERVE_FILE].includes(name) ||
    name.endsWith(STORE_SUFFIX) ||
    name.endsWith(CLONE_SUFFIX)
  );
}
