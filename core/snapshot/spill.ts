/**
 * Spilling: when the file of the store that receives copies is as long as it may become, or its disk is full, copying
 * goes on in a part of the snapshot at the next place that was given for it (fssnap's further backing files, snap.c's
 * log devices). A part is a whole store, one link more in the chain, so that nothing else need know of it: it is made
 * and committed as a new snapshot's store is, only without a sync point, since nothing is frozen by it.
 */
import * as path from 'node:path';
import { hasCode, quietly, SnapError } from '../base/errors.ts';
import type { RandomAccessFile } from '../io/file-system.ts';
import {
  type Catalog,
  findByUuid,
  isAlive,
  type Leftover,
  ownerUuid,
  type SnapshotRecord,
  type Spill,
  STORE_SUFFIX,
} from '../store/catalog.ts';
import { type Geometry, regions } from '../store/layout.ts';
import { MAX_PART_INDEX, partUuid } from '../store/part.ts';
import { storeIdentity } from '../store/sidecar.ts';
import { readStoreIdentity } from '../store/store-file.ts';
import { isSameStore } from '../store/store-header.ts';
import { addStore } from './add-store.ts';
import type { ActiveStore, Hold } from './hold.ts';
import { giveUp } from './recover.ts';
import { chooseStorePath } from './store-path.ts';
import type { Volume } from './volume.ts';

export interface SpillOptions {
  /** Where copying goes on when the store's file is full, in this order: directories, or files that do not exist yet. */
  readonly spillPaths?: readonly string[];
  /** How long a file may become by copying. */
  readonly maxStoreFileBytes?: number | undefined;
}

/** What of a new snapshot its parts follow from. */
interface Planned extends Geometry {
  readonly name: string;
  readonly uuid: string;
  readonly storePath: string;
}

/** @throws `refused` where a file could not hold its tables and a cluster; what `chooseStorePath` throws */
export async function planSpill(
  volume: Volume,
  options: SpillOptions,
  planned: Planned,
  present: readonly SnapshotRecord[],
): Promise<Spill | undefined> {
  const { spillPaths = [], maxStoreFileBytes } = options;
  if (spillPaths.length === 0 && maxStoreFileBytes === undefined) return undefined;
  const { image } = volume;
  const leastBytes = regions(planned).dataOffsetBytes + planned.clusterSizeBytes;
  if (maxStoreFileBytes !== undefined && maxStoreFileBytes < leastBytes) {
    throw new SnapError(
      'refused',
      `${image}: a file of ${maxStoreFileBytes} bytes could not hold its tables and one cluster`,
      { path: image, hint: `give --max-store-file at least ${leastBytes}` },
    );
  }
  if (spillPaths.length > MAX_PART_INDEX) {
    throw new SnapError('refused', `${image}: more than ${MAX_PART_INDEX} places to spill to`, {
      path: image,
    });
  }
  const paths: string[] = [];
  for (const [at, wanted] of spillPaths.entries()) {
    const uuid = partUuid({ ofUuid: planned.uuid, index: at + 1 });
    const name = `${planned.name}-${uuid.slice(0, 8)}${STORE_SUFFIX}`;
    const chosen = await chooseStorePath(volume, wanted, name, present);
    if (paths.includes(chosen) || chosen === planned.storePath) {
      throw new SnapError('refused', `${wanted}: is given for two files of one snapshot`, {
        path: wanted,
        hint: 'name another file, or a directory, which can take several',
      });
    }
    paths.push(chosen);
  }
  return { maxFileBytes: maxStoreFileBytes, paths };
}

/** How many more clusters copying may put into the file of the store that receives copies. */
export async function roomInFile(hold: Hold, { record, store }: ActiveStore): Promise<number> {
  const maxFileBytes = findByUuid(hold.catalog, ownerUuid(record))?.spill?.maxFileBytes;
  if (maxFileBytes === undefined) return Number.POSITIVE_INFINITY;
  const { clusterSizeBytes } = store.identity;
  const mostSlots = Math.floor((maxFileBytes - store.regions.dataOffsetBytes) / clusterSizeBytes);
  return Math.max(0, mostSlots - (await store.nextSlot()));
}

export function fileFull({ store }: ActiveStore): SnapError {
  const { path } = store;
  return new SnapError('no-space', `${path}: may not become longer`, {
    path,
    hint: 'take snapshots with more room: --max-store-file, and places to --spill to',
  });
}

/**
 * Lets copying go on in another file; the batch is then planned anew. In an exclusive hold with nothing in flight.
 * False where no place is left that takes one.
 */
export async function spill(hold: Hold): Promise<boolean> {
  for (const owner of possibleOwners(hold.catalog)) {
    for (const part of unusedParts(hold.catalog, owner)) {
      try {
        if (await isUnfinished(hold, part)) await hold.context.host.files.remove(part.storePath);
        await addStore(hold, part, (catalog) => ({
          ...catalog,
          snapshots: [...catalog.snapshots, part],
        }));
      } catch (error) {
        if (!(error instanceof SnapError) || !isOfPlace(error, part)) throw error;
        await giveUp(hold);
        if (hold.state.mark !== undefined) throw error;
        hold.context.warn({ message: `${part.storePath}: cannot take copies: ${error.message}` });
        continue;
      }
      hold.context.warn({
        message: `${hold.image}@${owner.name}: its copies go on in ${part.storePath}`,
      });
      return true;
    }
  }
  return false;
}

/** Whether there is a place that `spill` would try. */
export function hasUnusedPlace(catalog: Catalog): boolean {
  return possibleOwners(catalog).some((owner) => unusedParts(catalog, owner).length > 0);
}

/** Whether it is the place that does not take a file, or the catalog another record, and nothing else that failed. */
function isOfPlace({ path: failed, code }: SnapError, { storePath }: SnapshotRecord): boolean {
  return code === 'refused' || failed === storePath || failed === path.dirname(storePath);
}

/** Whose places may be used: those of ended ones too, as their stores are, up to the newest that must be kept. */
function possibleOwners(catalog: Catalog): SnapshotRecord[] {
  const newestFirst = catalog.snapshots.filter(({ part }) => part === undefined).reverse();
  const alive = newestFirst.findIndex(isAlive);
  return newestFirst.slice(0, alive + 1).filter(({ spill: places }) => places !== undefined);
}

function unusedParts(catalog: Catalog, owner: SnapshotRecord): SnapshotRecord[] {
  const { name, number, created, sizeBytes, onFull, spill: places } = owner;
  const parts = (places?.paths ?? []).map((storePath, at): SnapshotRecord => {
    const part = { ofUuid: owner.uuid, index: at + 1 };
    const uuid = partUuid(part);
    return {
      name,
      uuid,
      number,
      created,
      sizeBytes,
      trust: 'invalid',
      hidden: true,
      onFull,
      storePath,
      part,
    };
  });
  return parts.filter(({ uuid }) => findByUuid(catalog, uuid) === undefined);
}

/** Where no part of a snapshot is yet, with the UUIDs that parts there would have. */
export function unusedPlaces(catalog: Catalog, owner: SnapshotRecord): Leftover[] {
  return unusedParts(catalog, owner).map(({ uuid, storePath }) => ({ uuid, path: storePath }));
}

/**
 * Files at places that no part is at yet, which an interrupted spill left: only that can have made them, since the UUID
 * is the part's.
 */
export async function unfinishedParts(hold: Hold, owner: SnapshotRecord): Promise<string[]> {
  const found: string[] = [];
  for (const part of unusedParts(hold.catalog, owner)) {
    if (await isUnfinished(hold, part)) found.push(part.storePath);
  }
  return found;
}

/** Not where it cannot be looked at: such a place takes no part, and keeps nobody from anything else. */
async function isUnfinished(hold: Hold, part: SnapshotRecord): Promise<boolean> {
  const { files } = hold.context.host;
  let file: RandomAccessFile | undefined;
  try {
    if ((await files.linkStat(part.storePath))?.kind !== 'file') return false;
    file = await files.openItself(part.storePath, 'read');
    return isSameStore(await readStoreIdentity(file), storeIdentity(hold.catalog, part));
  } catch (error) {
    if (!hasCode(error, 'damage', 'newer-version', 'not-found', 'io')) throw error;
    return false;
  } finally {
    await quietly(async () => file?.close());
  }
}
