/** Removing the files of a snapshot that the catalog has forgotten, where they are ours (invariant 9). */
import { hasCode, quietly } from '../base/errors.ts';
import type { RandomAccessFile } from '../io/file-system.ts';
import type { SnapshotRecord } from '../store/catalog.ts';
import { clonePlace, readCloneIdentity } from '../store/clone-file.ts';
import { storeIdentity } from '../store/sidecar.ts';
import { readStoreIdentity, type StorePlace } from '../store/store-file.ts';
import { isSameStore, type StoreIdentity } from '../store/store-header.ts';
import type { Hold } from './hold.ts';

type ReadIdentity = (file: RandomAccessFile) => Promise<StoreIdentity>;

/** Returns what they took on the disk. */
export async function removeFiles(hold: Hold, record: SnapshotRecord): Promise<number> {
  await hold.stores.forget(record.uuid);
  const place = hold.sidecar.storePlace(record);
  const storeBytes = await removeFile(hold, record, place, readStoreIdentity);
  if (!record.isClone) return storeBytes;
  return storeBytes + (await removeFile(hold, record, clonePlace(place), readCloneIdentity));
}

async function removeFile(
  hold: Hold,
  record: SnapshotRecord,
  place: StorePlace,
  readIdentity: ReadIdentity,
): Promise<number> {
  const { files } = hold.context.host;
  const stat = await files.linkStat(place.path);
  if (stat === undefined) return 0;
  if (stat.kind !== 'file' || !(await isOurs(hold, record, place, readIdentity))) {
    hold.context.warn({
      message: `${place.path}: left alone, since it is not this snapshot's store any more`,
      hint: 'remove it by hand if it is of no use',
    });
    return 0;
  }
  await files.remove(place.path);
  return stat.allocatedBytes;
}

/**
 * By its header. Where that is destroyed, by standing where only ours stand, under the name that the catalog gave it; but
 * a whole header of another store says that files changed places, and that one may be all that another snapshot has.
 */
async function isOurs(
  hold: Hold,
  record: SnapshotRecord,
  { path, followed }: StorePlace,
  readIdentity: ReadIdentity,
): Promise<boolean> {
  try {
    const file = await hold.context.host.files.openItself(path, 'read');
    try {
      return isSameStore(await readIdentity(file), storeIdentity(hold.catalog, record));
    } finally {
      // That a file cannot be closed says nothing about whose it is.
      await quietly(() => file.close());
    }
  } catch (error) {
    if (!hasCode(error, 'damage', 'newer-version', 'io')) throw error;
    // What the disk has lost is destroyed; what is only kept from us may be anybody's.
    return !followed && (error.code === 'damage' || error.errno === 'EIO');
  }
}
