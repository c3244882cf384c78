/**
 * Removing one snapshot: hand over what older ones need, take it out of the catalog, remove its store. A snapshot
 * that is being read is only hidden: it stays in the chain until a later run finds it unused, since an open file alone
 * would not save its reader (fssnap keeps a deleted snapshot until its last close the same way).
 */
import { hasCode, quietly, SnapError } from '../base/errors.ts';
import { NIL_UUID } from '../base/uuid.ts';
import type { FileSystem } from '../io/file-system.ts';
import { inUseOffset } from '../io/lock-offsets.ts';
import { type Pace, RepairNeeded } from '../store/append.ts';
import {
  type Catalog,
  findByUuid,
  mayBeRead,
  newestRecord,
  type SnapshotRecord,
  withRecord,
} from '../store/catalog.ts';
import { storeIdentity } from '../store/sidecar.ts';
import { readStoreIdentity } from '../store/store-file.ts';
import { isSameStore, type StoreIdentity } from '../store/store-header.ts';
import { HandOver } from './hand-over.ts';
import type { CommitOptions, Hold } from './hold.ts';
import { giveUp } from './recover.ts';
import { unusedPlaces } from './spill.ts';
import type { Volume } from './volume.ts';

export interface Removal {
  readonly outcome: 'removed' | 'hidden' | 'gone';
  /** What its store took on the disk, less what was handed over; 0 where it stays. */
  readonly bytesFreed: number;
}

/** The snapshots before `uuid` that still need what is read through it. */
export function neededByOlder(catalog: Catalog, uuid: string): boolean {
  const index = catalog.snapshots.findIndex((record) => record.uuid === uuid);
  return catalog.snapshots.slice(0, index).some(mayBeRead);
}

/**
 * The caller holds the removal lock.
 * @param pace another than the usual one
 * @throws `damage` where a cluster that must be handed over is not whole
 */
export async function removeSnapshot(volume: Volume, uuid: string, pace?: Pace): Promise<Removal> {
  let handOver: HandOver | undefined;
  let receiverUuid: string | undefined;
  let handedBytes = 0;
  for (;;) {
    if (volume.context.signal.aborted) throw new SnapError('interrupted', 'interrupted');
    const result = await volume.exclusive(async (hold): Promise<Removal | undefined> => {
      const record = hold && findByUuid(hold.catalog, uuid);
      if (hold === undefined || record === undefined) return { outcome: 'gone', bytesFreed: 0 };
      // It goes after its snapshot: one that is read stays, and all its files with it.
      if (findByUuid(hold.catalog, record.part?.ofUuid ?? NIL_UUID) !== undefined)
        return { outcome: 'hidden', bytesFreed: 0 };
      if (isInUse(hold, record)) return hide(hold, record, 'it is being read');
      if (!neededByOlder(hold.catalog, uuid))
        return takeOut(hold, record, { handOver: undefined, handedBytes });
      const receiver = olderNeighbour(hold.catalog, uuid);
      if (handOver === undefined || receiverUuid !== receiver.uuid) {
        handOver = new HandOver(record, receiver, pace);
      }
      receiverUuid = receiver.uuid;
      try {
        const step = await handOver.step(hold);
        handedBytes += step.bytes;
        return step.complete ? await takeOut(hold, record, { handOver, handedBytes }) : undefined;
      } catch (error) {
        if (error instanceof RepairNeeded) throw damagedTable(hold, receiver);
        if (!hasCode(error, 'no-space')) throw error;
        await giveUp(hold);
        if (hold.state.mark !== undefined) throw error;
        return hide(hold, record, 'the disk is too full to hand over what older snapshots need');
      }
    });
    if (result !== undefined) return result;
  }
}

/** It was repaired just before: what still stands in the way is not of a crash. */
function damagedTable(hold: Hold, record: SnapshotRecord): SnapError {
  const storePath = hold.sidecar.storePath(record);
  return new SnapError('damage', `${storePath}: its indirect table is damaged`, { path: storePath });
}

function olderNeighbour(catalog: Catalog, uuid: string): SnapshotRecord {
  const index = catalog.snapshots.findIndex((record) => record.uuid === uuid);
  const older = catalog.snapshots[index - 1];
  if (older === undefined) throw new Error('needed by older snapshots, and there is none');
  return older;
}

function isInUse(hold: Hold, record: SnapshotRecord): boolean {
  const { stateFile } = hold.sidecar;
  const offsetBytes = inUseOffset(record.number);
  if (!stateFile.tryLock(offsetBytes, 'exclusive')) return true;
  stateFile.unlock(offsetBytes);
  return false;
}

async function hide(hold: Hold, record: SnapshotRecord, why: string): Promise<Removal> {
  if (!record.hidden) {
    await hold.commit((catalog) => withRecord(catalog, record.uuid, { hidden: true }));
    hold.context.warn({
      message: `${hold.image}@${record.name}: its name is free, its space is not yet: ${why}`,
      hint: `snap-gc ${hold.image} reclaims it later`,
    });
  }
  return { outcome: 'hidden', bytesFreed: 0 };
}

/** Commits the removal, with the receiver's new figure in the same commit, and removes the store. */
async function takeOut(
  hold: Hold,
  record: SnapshotRecord,
  handed: { readonly handOver: HandOver | undefined; readonly handedBytes: number },
): Promise<Removal> {
  const wasNewest = newestRecord(hold.catalog)?.uuid === record.uuid;
  const receiver =
    hold.catalog.snapshots[hold.catalog.snapshots.findIndex(({ uuid }) => uuid === record.uuid) - 1];
  const target = handed.handOver?.target;
  const figure = target?.flushRecord.made ?? receiver?.sealed;
  const sequence = target?.flushRecord.sequence ?? 0;
  const change = (catalog: Catalog): Catalog => {
    const { path, followed } = hold.sidecar.storePlace(record);
    const without: Catalog = {
      ...catalog,
      snapshots: catalog.snapshots.filter(({ uuid }) => uuid !== record.uuid),
      leftovers: [
        ...(catalog.leftovers ?? []),
        ...(followed ? [{ uuid: record.uuid, path }] : []),
        // Files made there may come back with a power loss, and nobody would know the place any more.
        ...unusedPlaces(catalog, record),
      ],
    };
    if (receiver === undefined) return without;
    return withRecord(without, receiver.uuid, { sealed: wasNewest ? undefined : figure });
  };
  const options: CommitOptions =
    wasNewest && receiver !== undefined && figure !== undefined
      ? { figure: { storeUuid: receiver.uuid, record: { made: figure, sequence } } }
      : {};
  await hold.commit(change, options);
  const storeBytes = await removeStore(hold, record);
  return { outcome: 'removed', bytesFreed: Math.max(0, storeBytes - handed.handedBytes) };
}

/** Removes the store's file where it is ours (invariant 9); returns what it took on the disk. */
async function removeStore(hold: Hold, record: SnapshotRecord): Promise<number> {
  const { files } = hold.context.host;
  const { path } = hold.sidecar.storePlace(record);
  await hold.stores.forget(record.uuid);
  const stat = await files.linkStat(path);
  if (stat === undefined) return 0;
  if (stat.kind !== 'file' || !(await isOurs(hold, record))) {
    hold.context.warn({
      message: `${path}: left alone, since it is not this snapshot's store any more`,
      hint: 'remove it by hand if it is of no use',
    });
    return 0;
  }
  await files.remove(path);
  return stat.allocatedBytes;
}

/**
 * By its header. Where that is destroyed, by standing where only ours stand, under the name that the catalog gave it; but
 * a whole header of another store says that files changed places, and that one may be all that another snapshot has.
 */
async function isOurs(hold: Hold, record: SnapshotRecord): Promise<boolean> {
  const { path, followed } = hold.sidecar.storePlace(record);
  try {
    const identity = await readIdentity(hold.context.host.files, path);
    return isSameStore(identity, storeIdentity(hold.catalog, record));
  } catch (error) {
    if (!hasCode(error, 'damage', 'newer-version', 'io')) throw error;
    // What the disk has lost is destroyed; what is only kept from us may be anybody's.
    return !followed && (error.code === 'damage' || error.errno === 'EIO');
  }
}

async function readIdentity(files: FileSystem, path: string): Promise<StoreIdentity> {
  const file = await files.openItself(path, 'read');
  try {
    return await readStoreIdentity(file);
  } finally {
    // That a file cannot be closed says nothing about whose it is.
    await quietly(() => file.close());
  }
}
