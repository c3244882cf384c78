/**
 * Removing one snapshot: hand over what older ones need, take it out of the catalog, remove its store. A snapshot
 * that is being read is only hidden: it stays in the chain until a later run finds it unused, since an open file alone
 * would not save its reader (fssnap keeps a deleted snapshot until its last close the same way).
 */
import { hasCode, SnapError } from '../base/errors.ts';
import { NIL_UUID } from '../base/uuid.ts';
import { inUseOffset } from '../io/lock-offsets.ts';
import { type Pace, RepairNeeded } from '../store/append.ts';
import {
  type Catalog,
  endsAtClone,
  filesOfSame,
  findByUuid,
  isAlive,
  type Leftover,
  newestRecord,
  type SnapshotRecord,
  withRecord,
} from '../store/catalog.ts';
import { filePathsOf } from '../store/clone-file.ts';
import { CloneDonor } from './clone-donor.ts';
import { type Donor, StoreDonor } from './donor.ts';
import { HandOver } from './hand-over.ts';
import type { CommitOptions, Hold } from './hold.ts';
import { giveUp } from './recover.ts';
import { removeFiles } from './remove-files.ts';
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
  const older = catalog.snapshots.slice(0, index);
  // A clone has all that those before it, and itself, still need.
  return older.slice(older.findLastIndex(({ isClone }) => isClone) + 1).some(isAlive);
}

/** Whether snapshots that read through a clone would come to an origin without it that is shorter than they are. */
function wouldEndOlder({ catalog, originStat }: Hold, clone: SnapshotRecord): boolean {
  const without = { ...catalog, snapshots: catalog.snapshots.filter(({ uuid }) => uuid !== clone.uuid) };
  return without.snapshots.some(
    (record) =>
      isAlive(record) &&
      record.sizeBytes > originStat.sizeBytes &&
      endsAtClone(catalog, record) &&
      !endsAtClone(without, record),
  );
}

/**
 * The caller holds the removal lock.
 * @param pace another than the usual one
 * @throws `damage` where a cluster that must be handed over is not whole
 */
export async function removeSnapshot(volume: Volume, uuid: string, pace?: Pace): Promise<Removal> {
  const donors = new Map<string, CloneDonor>();
  const removal = await removeOne(volume, uuid, donors, pace);
  // Taken only while the clone was compared.
  for (const fence of [...donors.values()].flatMap(({ fences }) => fences)) {
    await removeOne(volume, fence, donors, pace);
  }
  return removal;
}

async function removeOne(
  volume: Volume,
  uuid: string,
  clones: Map<string, CloneDonor>,
  pace: Pace | undefined,
): Promise<Removal> {
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
      if (record.isClone && wouldEndOlder(hold, record))
        return hide(hold, record, 'the image is shorter than older snapshots, which only this keeps');
      if (!neededByOlder(hold.catalog, uuid))
        return takeOut(hold, unneededFiles(hold.catalog, record), { handOver: undefined, handedBytes });
      const receiver = olderNeighbour(hold.catalog, uuid);
      if (handOver === undefined || receiverUuid !== receiver.uuid) {
        handOver = new HandOver(donorOf(record, clones), receiver, pace);
      }
      receiverUuid = receiver.uuid;
      try {
        const step = await handOver.step(hold, volume.hadToWait);
        handedBytes += step.bytes;
        return step.complete ? await takeOut(hold, [record], { handOver, handedBytes }) : undefined;
      } catch (error) {
        if (error instanceof RepairNeeded) throw damagedTable(hold, receiver);
        // A flush of the origin that failed is told once by the system, and then by us.
        if (!hasCode(error, 'no-space') || error.path === hold.origin.path) throw error;
        await giveUp(hold);
        if (hold.state.mark !== undefined) throw error;
        return hide(hold, record, 'the disk is too full to hand over what older snapshots need');
      }
    });
    if (result !== undefined) return result;
  }
}

function donorOf(record: SnapshotRecord, clones: Map<string, CloneDonor>): Donor {
  if (!record.isClone) return new StoreDonor(record);
  const donor = new CloneDonor(record);
  clones.set(record.uuid, donor);
  return donor;
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

/** All files of a snapshot where nobody else needs any of them, and they stand next to each other; else the first alone. */
function unneededFiles(catalog: Catalog, record: SnapshotRecord): readonly SnapshotRecord[] {
  const files = filesOfSame(catalog, record);
  const first = catalog.snapshots.indexOf(record);
  const isNextToEachOther = files.every((file, at) => file === catalog.snapshots[first + at]);
  return isNextToEachOther ? files : [record];
}

/** Commits the removal, with the receiver's new figure in the same commit, and removes the store. */
async function takeOut(
  hold: Hold,
  files: readonly SnapshotRecord[],
  handed: { readonly handOver: HandOver | undefined; readonly handedBytes: number },
): Promise<Removal> {
  const going = new Set(files.map(({ uuid }) => uuid));
  const wasNewest = going.has(newestRecord(hold.catalog)?.uuid ?? NIL_UUID);
  const receiver =
    hold.catalog.snapshots[hold.catalog.snapshots.findIndex(({ uuid }) => going.has(uuid)) - 1];
  const target = handed.handOver?.target;
  const figure = target?.flushRecord.made ?? receiver?.sealed;
  const sequence = target?.flushRecord.sequence ?? 0;
  const change = (catalog: Catalog): Catalog => {
    const without: Catalog = {
      ...catalog,
      snapshots: catalog.snapshots.filter(({ uuid }) => !going.has(uuid)),
      leftovers: [
        ...(catalog.leftovers ?? []),
        ...files.flatMap((record) => filesOutside(hold, record)),
        // Files made there may come back with a power loss, and nobody would know the place any more.
        ...files.flatMap((record) => unusedPlaces(catalog, record)),
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
  let storeBytes = 0;
  for (const record of files) storeBytes += await removeFiles(hold, record);
  return { outcome: 'removed', bytesFreed: Math.max(0, storeBytes - handed.handedBytes) };
}

/** Those that nobody would find again if they stayed. */
function filesOutside(hold: Hold, record: SnapshotRecord): Leftover[] {
  const { followed } = hold.sidecar.storePlace(record);
  return followed ? filePathsOf(hold.sidecar, record).map((path) => ({ uuid: record.uuid, path })) : [];
}
