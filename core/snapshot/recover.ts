/**
 * Repair: one routine, run under the exclusive lock by whoever finds that the last change did not end, whatever the
 * cause: a killed command, a power loss, a failed flush. It can be interrupted and repeated at any point, and a second
 * run finds nothing to do. Who only looks never repairs.
 *
 * The order is that of the crash model in `docs/DURABILITY.md`; no line of it may move.
 */
import { hasCode, SnapError } from '../base/errors.ts';
import { NIL_UUID } from '../base/uuid.ts';
import { type Catalog, findByUuid, newestRecord, type SnapshotRecord } from '../store/catalog.ts';
import { EMPTY_FIGURE } from '../store/figure.ts';
import type { FlushRecord } from '../store/flush-record.ts';
import { assess, bitmapCounts, newestRecordOf, repairStore, type Suspicion } from '../store/proof.ts';
import type { Sidecar } from '../store/sidecar.ts';
import { type State, unknownMark } from '../store/state.ts';
import { figureIn, type Hold } from './hold.ts';

/** Whether a store cannot be repaired, and stays as it is for those who read around the damage. */
function isBeyondRepair(error: unknown): error is SnapError {
  return hasCode(error, 'damage', 'not-found', 'newer-version');
}

/**
 * @throws `damage` where state and catalog contradict each other; whatever the disk says. On a full disk the reserve is
 *   given up for it
 */
export async function repair(hold: Hold, alsoSuspect: readonly SnapshotRecord[] = []): Promise<void> {
  try {
    await repairOnce(hold, alsoSuspect);
  } catch (error) {
    if (!hasCode(error, 'no-space') || !(await hold.sidecar.dropReserve())) throw error;
    await repairOnce(hold, alsoSuspect);
  }
}

/** Repairs the sealed stores whose bitmaps do not count, which nothing else would look at after a clean end. */
export async function repairLostBitmaps(hold: Hold): Promise<void> {
  const lost: SnapshotRecord[] = [];
  for (const record of hold.catalog.snapshots) {
    if (record.sealed !== undefined && !(await needsNoRepair(hold, record))) lost.push(record);
  }
  if (lost.length > 0) await repair(hold, lost);
}

async function repairOnce(hold: Hold, alsoSuspect: readonly SnapshotRecord[]): Promise<void> {
  const before = hold.stateIfReadable;
  hold.catalog = await hold.sidecar.readCatalog();
  checkTogether(hold.sidecar, hold.catalog, before);
  // Asked before the state is changed, which then says that this boot is the one.
  const suspectUuids = new Set(
    [...(await suspectRecords(hold, before)), ...alsoSuspect].map(({ uuid }) => uuid),
  );
  const suspects = hold.catalog.snapshots.filter(({ uuid }) => suspectUuids.has(uuid));
  const suspicions = new Map(suspects.map((record) => [record.uuid, hold.suspicion(record)]));
  await openForRepair(hold, before);

  const batch = (await newestBatch(hold, before, suspects, suspicions)) + 1;
  const repaired = new Map<string, FlushRecord>();
  for (const record of suspects) {
    if (hold.damaged.has(record.uuid)) continue;
    const store = await hold.stores.open(hold.catalog, record);
    const assessment = await assess(store, suspicions.get(record.uuid) ?? hold.suspicion(record));
    repaired.set(record.uuid, await repairStore(store, assessment, batch));
  }
  await hold.sidecar.syncNames();
  const kept = await figureKept(hold);
  await hold.replaceState({ ...repairedState(hold, before, repaired), ...kept, batch });
  hold.repairDue = false;
  hold.mayAssess = true;
}

/**
 * The highest batch number that anything has seen, so that the next is new to everybody. Goes through the suspects'
 * tables, one after the other, and notes which of them are beyond repair.
 */
async function newestBatch(
  hold: Hold,
  before: State | undefined,
  suspects: readonly SnapshotRecord[],
  suspicions: ReadonlyMap<string, Suspicion>,
): Promise<number> {
  let newest = Math.max(before?.batch ?? 0, before?.mark?.batch ?? 0, before?.figure.batch ?? 0);
  for (const record of hold.catalog.snapshots) {
    newest = Math.max(newest, record.sealed?.batch ?? 0);
    try {
      const store = await hold.stores.open(hold.catalog, record);
      newest = Math.max(newest, (await store.readRecords())[0]?.made.batch ?? 0);
      if (!suspects.includes(record)) continue;
      const assessment = await assess(store, suspicions.get(record.uuid) ?? hold.suspicion(record));
      newest = Math.max(newest, assessment.newestBatch);
    } catch (error) {
      if (!isBeyondRepair(error)) throw error;
      hold.damaged.set(record.uuid, error);
    }
  }
  return newest;
}

/** @throws `damage` where one of the two is of another sidecar, or the catalog is an older one put back */
export function checkTogether(sidecar: Sidecar, catalog: Catalog, before: State | undefined): void {
  if (before === undefined) return;
  if (before.sidecarUuid !== catalog.sidecarUuid) {
    throw new SnapError('damage', `${sidecar.catalogPath}: the catalog of another sidecar`, {
      path: sidecar.catalogPath,
      hint: 'put back the files that belong together',
    });
  }
  if (catalog.generation < before.generation) {
    throw new SnapError('damage', `${sidecar.catalogPath}: an older catalog than the sidecar had`, {
      path: sidecar.catalogPath,
      hint: 'put back the newest catalog.json; with this one, snapshots would be lost or wrong',
    });
  }
}

/**
 * The store that receives copies, the one that the mark names, and after a power loss, when the mark may be lost too,
 * any whose bitmap does not count.
 */
async function suspectRecords(hold: Hold, before: State | undefined): Promise<SnapshotRecord[]> {
  const newest = newestRecord(hold.catalog);
  const marked = before?.mark && findByUuid(hold.catalog, before.mark.storeUuid);
  const suspects = new Set([newest, marked].filter((record) => record !== undefined));
  if (hold.sameBoot && before?.phase === 'open') return [...suspects];
  for (const record of hold.catalog.snapshots) {
    if (!suspects.has(record) && !(await needsNoRepair(hold, record))) suspects.add(record);
  }
  return [...suspects];
}

async function needsNoRepair(hold: Hold, record: SnapshotRecord): Promise<boolean> {
  try {
    const store = await hold.stores.open(hold.catalog, record);
    return await bitmapCounts(store, record.sealed);
  } catch (error) {
    // Nothing that repair could mend.
    if (isBeyondRepair(error)) return true;
    throw error;
  }
}

/** Repair is a change like any other: this boot's, flushed first, and marked until it is done. */
async function openForRepair(hold: Hold, before: State | undefined): Promise<void> {
  const sameBoot = before?.bootId.equals(hold.bootId) ?? false;
  const { catalog, originStat } = hold;
  const fresh: State = before ?? {
    sidecarUuid: catalog.sidecarUuid,
    bootId: hold.bootId,
    phase: 'opening',
    generation: catalog.generation,
    batch: 0,
    repairs: 0,
    originSizeBytes: originStat.sizeBytes,
    originTimeNs: originStat.modifiedNs,
    mark: unknownMark(true),
    bitsDirty: false,
    ...figureIn(NIL_UUID, { made: EMPTY_FIGURE, sequence: 0 }),
  };
  // What the mark tells of a batch holds for its own boot; whether the origin's time counts must not change by this.
  const mark = {
    ...((sameBoot ? before?.mark : undefined) ?? unknownMark(true)),
    writesOrigin: !hold.timeCounts,
  };
  const opening: State = {
    ...fresh,
    ...(!sameBoot && (await figureOnDisk(hold, before))),
    phase: 'opening',
    bootId: hold.bootId,
    mark,
  };
  await hold.writeDurably(opening, before);
  await hold.replaceState({ ...opening, phase: 'open' });
}

/**
 * After a power loss all that is read is on disk. It is noted which flush record that is, since from now on a newer one
 * may be in memory alone.
 */
async function figureOnDisk(hold: Hold, before: State | undefined): Promise<Partial<State>> {
  const newest = newestRecord(hold.catalog);
  if (newest === undefined) return {};
  try {
    const store = await hold.stores.open(hold.catalog, newest);
    const [record] = await store.readRecords();
    const made = before?.figureStoreUuid === newest.uuid ? before.figure : EMPTY_FIGURE;
    return figureIn(newest.uuid, { made, sequence: record?.sequence ?? 0 });
  } catch (error) {
    if (isBeyondRepair(error)) return {};
    throw error;
  }
}

function repairedState(
  hold: Hold,
  before: State | undefined,
  repaired: ReadonlyMap<string, FlushRecord>,
): State {
  const newest = newestRecord(hold.catalog);
  const record = newest && repaired.get(newest.uuid);
  const { originStat } = hold;
  return {
    ...hold.state,
    generation: hold.catalog.generation,
    repairs: before === undefined ? hold.context.host.randomBytes(6).readUIntLE(0, 6) : before.repairs + 1,
    // A time that counted still does: a change from outside must not be hidden by a repair.
    ...(!hold.timeCounts && { originSizeBytes: originStat.sizeBytes, originTimeNs: originStat.modifiedNs }),
    mark: undefined,
    bitsDirty: false,
    // A store beyond repair keeps the figure that shows it.
    ...(newest && record && figureIn(newest.uuid, record)),
    ...(newest === undefined && figureIn(NIL_UUID, { made: EMPTY_FIGURE, sequence: 0 })),
  };
}

/** By which the newest store goes on to count though it is beyond repair: its bitmap does, and tells what is damaged. */
async function figureKept(hold: Hold): Promise<Partial<State>> {
  const newest = newestRecord(hold.catalog);
  if (newest === undefined || !hold.damaged.has(newest.uuid)) return {};
  try {
    const store = await hold.stores.open(hold.catalog, newest);
    if (!(await bitmapCounts(store, hold.suspicion(newest).atLeast))) return {};
    return { figureStoreUuid: newest.uuid, figure: (await newestRecordOf(store)).made };
  } catch (error) {
    if (isBeyondRepair(error)) return {};
    throw error;
  }
}

/** Gives up what is in flight. Where even that fails, the mark stays, and the next one repairs. */
export async function giveUp(hold: Hold): Promise<void> {
  if (hold.stateIfReadable?.mark === undefined) return;
  try {
    // What was given up may have written to the origin since this hold looked at it.
    hold.originStat = await hold.origin.stat();
    await repair(hold);
  } catch (error) {
    hold.context.warn({
      message: `${hold.image}: could not be repaired yet; the next command will try again (${String(error)})`,
    });
  }
}
