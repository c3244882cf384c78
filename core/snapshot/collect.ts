/**
 * Collecting: which snapshots go (by name, by rule, by size, or because they are invalid), oldest first, and then
 * what interrupted commands left. Planning looks only; so a dry run is the plan.
 */

import { quietly, SnapError } from '../base/errors.ts';
import { REMOVAL_LOCK_OFFSET_BYTES } from '../io/lock-offsets.ts';
import type { Pace } from '../store/append.ts';
import { findByName, ownerUuid, type SnapshotRecord } from '../store/catalog.ts';
import { settleIfOpen } from './closing.ts';
import type { Context } from './context.ts';
import { findGarbage, removeGarbage, removeLeftovers, removeUnfinishedSidecars } from './garbage.ts';
import type { Hold } from './hold.ts';
import { changedOutside, trustNow } from './outside-change.ts';
import { noSuchSnapshot } from './read.ts';
import { repairLostBitmaps } from './recover.ts';
import { removeSnapshot } from './remove.ts';
import { hasAnyRule, planRetention, type RetentionRules } from './retention.ts';
import { handOverBytes, snapshotBytes, storeBytes } from './space.ts';
import { Volume } from './volume.ts';

export interface CollectRequest {
  /** Remove these, and nothing else. */
  readonly names?: readonly string[] | undefined;
  /** The same by UUID, whatever they are called by now; those that are gone are passed over. */
  readonly uuids?: readonly string[] | undefined;
  /** Remove what no rule keeps; without any rule, all that is valid stays. */
  readonly rules?: RetentionRules | undefined;
  /** Then remove the oldest created until all stores together fit, never the newest. */
  readonly maxTotalBytes?: number | undefined;
  readonly dryRun: boolean;
  /** Another than the usual one. */
  readonly pace?: Pace;
}

export interface Verdict {
  readonly name: string;
  readonly reasons: readonly string[];
}

export interface Collection {
  readonly image: string;
  readonly dryRun: boolean;
  readonly kept: readonly Verdict[];
  readonly removed: readonly Verdict[];
  readonly bytesFreed: number;
}

interface Plan {
  readonly kept: Verdict[];
  readonly removed: Verdict[];
  /** What goes, in order of creation, nameless ones included. */
  readonly records: readonly SnapshotRecord[];
}

function isOfWholeImage({ names, uuids }: CollectRequest): boolean {
  return names === undefined && uuids === undefined;
}

/** @throws `not-found`, and what removing throws; what was removed before stays removed, and is named */
export async function collectSnapshots(
  context: Context,
  image: string,
  request: CollectRequest,
): Promise<Collection> {
  const volume = await Volume.open(context, image, request.dryRun ? 'look' : 'change');
  const result = (plan: Plan, bytesFreed: number): Collection => ({
    image,
    dryRun: request.dryRun,
    kept: plan.kept,
    removed: plan.removed,
    bytesFreed,
  });
  try {
    if (request.dryRun) {
      return await volume.shared(async (hold) => {
        const plan = await planCollection(image, hold, request);
        return result(plan, hold === undefined ? 0 : await expectedBytes(hold, plan, request));
      });
    }
    if (isOfWholeImage(request)) {
      await removeUnfinishedSidecars(volume);
      await volume.exclusive(async (hold) => hold && repairLostBitmaps(hold));
    }
    return await volume.withByteLock(REMOVAL_LOCK_OFFSET_BYTES, async () => {
      const plan = await volume.shared((hold) => planCollection(image, hold, request));
      const gone = new Set<string>();
      try {
        return result(plan, await carryOut(volume, plan, request, gone));
      } catch (error) {
        throw await tellingWhatIsGone(volume, plan, gone, error);
      }
    });
  } finally {
    await volume.close();
  }
}

/** Returns the bytes that were freed; `gone` is given the UUID of each that was removed. */
async function carryOut(
  volume: Volume,
  plan: Plan,
  request: CollectRequest,
  gone: Set<string>,
): Promise<number> {
  let bytesFreed = 0;
  for (const { uuid } of plan.records) {
    bytesFreed += (await removeSnapshot(volume, uuid, request.pace)).bytesFreed;
    gone.add(uuid);
    volume.context.progress(bytesFreed, undefined);
  }
  if (isOfWholeImage(request)) {
    bytesFreed += await volume.exclusive(async (hold) => (hold === undefined ? 0 : removeGarbage(hold)));
  }
  await volume.exclusive(async (hold) => hold && removeLeftovers(hold));
  await settleIfOpen(volume);
  return bytesFreed;
}

/** In the error itself: a program, or whoever asked for quiet, is shown nothing else. */
async function tellingWhatIsGone(
  volume: Volume,
  plan: Plan,
  gone: ReadonlySet<string>,
  error: unknown,
): Promise<unknown> {
  if (!(error instanceof SnapError)) return error;
  let isGone = ({ uuid }: SnapshotRecord) => gone.has(uuid);
  // One may be gone whose removal failed: its commit is not the last thing that is done for it. Whoever waited for the lock
  // in vain did nothing, and is not to wait once more.
  await quietly(async () => {
    if (error.code === 'busy') return;
    const left = await volume.shared(async (hold) => hold?.catalog.snapshots ?? []);
    const named = new Set(left.filter(({ hidden }) => !hidden).map(({ uuid }) => uuid));
    isGone = ({ uuid }) => !named.has(uuid);
  });
  const names = plan.records
    .filter((record) => !record.hidden && isGone(record))
    .map(({ name }) => `${volume.image}@${name}`);
  if (names.length === 0) return error;
  return new SnapError(error.code, `${error.message}; gone by then: ${names.join(', ')}`, {
    ...error,
    cause: error,
  });
}

async function planCollection(image: string, hold: Hold | undefined, request: CollectRequest): Promise<Plan> {
  if (hold === undefined) {
    const [name] = request.names ?? [];
    if (name !== undefined) throw noSuchSnapshot(image, name);
    return { kept: [], removed: [], records: [] };
  }
  return isOfWholeImage(request) ? planByRules(hold, request) : planChosen(hold, request);
}

function planChosen(hold: Hold, request: CollectRequest): Plan {
  const chosen = new Set(request.uuids);
  for (const name of request.names ?? []) {
    const record = findByName(hold.catalog, name);
    if (record === undefined) throw noSuchSnapshot(hold.image, name);
    chosen.add(record.uuid);
  }
  const named = hold.catalog.snapshots.filter((record) => !record.hidden);
  return {
    kept: named.filter(({ uuid }) => !chosen.has(uuid)).map(({ name }) => ({ name, reasons: [] })),
    removed: named.filter(({ uuid }) => chosen.has(uuid)).map(({ name }) => ({ name, reasons: ['named'] })),
    records: hold.catalog.snapshots.filter((record) => chosen.has(ownerUuid(record))),
  };
}

async function planByRules(hold: Hold, request: CollectRequest): Promise<Plan> {
  const { snapshots } = hold.catalog;
  const changed = await changedOutside(hold);
  const named = snapshots.filter((record) => !record.hidden);
  const valid = named.filter((record) => trustNow(hold, record, changed) !== 'invalid');
  const rules = request.rules ?? {};
  const plan = hasAnyRule(rules)
    ? planRetention(valid, rules)
    : { kept: valid.map(({ name }) => ({ name, reasons: [] as readonly string[] })), removed: [] };
  const reasons = new Map(plan.removed.map((verdict) => [verdict.name, verdict.reasons]));
  for (const record of named) if (!valid.includes(record)) reasons.set(record.name, ['invalid']);
  if (request.maxTotalBytes !== undefined) await fitTotal(hold, named, reasons, request.maxTotalBytes);
  const byUuid = new Map(snapshots.map((record) => [record.uuid, record]));
  const goes = (record: SnapshotRecord): boolean => {
    // A part goes with its snapshot, or after it.
    const owner = record.part && byUuid.get(record.part.ofUuid);
    return owner === undefined ? record.hidden || reasons.has(record.name) : goes(owner);
  };
  return {
    kept: plan.kept
      .filter(({ name }) => !reasons.has(name))
      .map(({ name, reasons: why }) => ({ name, reasons: why })),
    removed: named.filter(goes).map(({ name }) => ({ name, reasons: reasons.get(name) ?? [] })),
    records: snapshots.filter(goes),
  };
}

/** Lets the oldest created go until what stays, with what is handed to it, fits; never the newest. */
async function fitTotal(
  hold: Hold,
  named: readonly SnapshotRecord[],
  reasons: Map<string, readonly string[]>,
  maxTotalBytes: number,
): Promise<void> {
  const sizes = new Map<string, number>();
  for (const record of named) sizes.set(record.uuid, await snapshotBytes(hold, record));
  const staying = named.filter(({ name }) => !reasons.has(name));
  const going = new Set(named.filter(({ name }) => reasons.has(name)).map(({ uuid }) => uuid));
  let totalBytes = staying.reduce((sum, { uuid }) => sum + (sizes.get(uuid) ?? 0), 0);
  for (const oldest of staying.slice(0, -1)) {
    // What is handed over only adds to it, and takes longer to tell.
    if (totalBytes <= maxTotalBytes && totalBytes + (await handOverBytes(hold, going)) <= maxTotalBytes)
      return;
    reasons.set(oldest.name, ['max-total']);
    going.add(oldest.uuid);
    totalBytes -= sizes.get(oldest.uuid) ?? 0;
  }
}

/** What a dry run says would be freed. */
async function expectedBytes(hold: Hold, plan: Plan, request: CollectRequest): Promise<number> {
  const going = new Set(plan.records.map(({ uuid }) => uuid));
  let bytes = 0;
  for (const record of hold.catalog.snapshots) {
    if (going.has(record.uuid)) bytes += await storeBytes(hold, record);
  }
  bytes -= await handOverBytes(hold, going);
  if (isOfWholeImage(request)) {
    for (const filePath of await findGarbage(hold)) {
      bytes += (await hold.context.host.files.linkStat(filePath))?.allocatedBytes ?? 0;
    }
  }
  return Math.max(0, bytes);
}
