/**
 * What happens when a copy has no place: the snapshot's own limit is reached, or nothing can be copied at all. Whoever
 * asked for `refuse` is kept and the write fails; all others end, marked durably before the write goes on (invariant
 * 5), as fss, fssnap and dm-snapshot end theirs.
 */
import { isZero } from '../base/bytes.ts';
import { SnapError } from '../base/errors.ts';
import { formatTime } from '../base/time.ts';
import { formatSize } from '../base/units.ts';
import { endsAtClone, isAlive, type SnapshotRecord, withRecord } from '../store/catalog.ts';
import { clusterLengthBytes, ENTRY } from '../store/layout.ts';
import { newestRecordOf } from '../store/proof.ts';
import { type Lack, neededBy, whoLacks } from './chain-lack.ts';
import type { ActiveStore, Hold } from './hold.ts';
import { readOldContent } from './origin.ts';
import { unusedPlaces } from './spill.ts';

const LIMIT_REASON = 'its limit was reached';
const NO_SPACE_REASON = 'its store could not grow: no space left';

/** By the UUID of a store; the same ones are asked for again by every older snapshot that may end. */
type SlotCounts = Map<string, number>;

/**
 * Refuses a limit under which not even one cluster and its entry could be kept (snap.c: a log smaller than its own map).
 * @throws `refused`, naming the smallest
 */
export function checkLimit(image: string, maxSizeBytes: number | undefined, clusterSizeBytes: number): void {
  const smallestBytes = clusterSizeBytes + ENTRY.sizeBytes;
  if (maxSizeBytes === undefined || maxSizeBytes >= smallestBytes) return;
  throw new SnapError(
    'refused',
    `${image}: a limit of ${maxSizeBytes} bytes cannot hold a cluster of ${clusterSizeBytes} and its entry`,
    {
      path: image,
      hint: `the smallest is --max-size ${smallestBytes}; give it room for what will change while the snapshot lives`,
    },
  );
}

/** Bytes that count against `owner`'s limit: its own copies, and those made on its account after newer ones ended. */
async function limitUsageBytes(
  hold: Hold,
  owner: SnapshotRecord,
  active: ActiveStore,
  seen: SlotCounts,
): Promise<number> {
  const { snapshots, clusterSizeBytes } = hold.catalog;
  const from = snapshots.findIndex(({ uuid }) => uuid === owner.uuid);
  let slotCount = active.flushRecord.ownSlotCount;
  for (const record of snapshots.slice(from, -1)) {
    let count = seen.get(record.uuid);
    if (count === undefined) {
      const store = await hold.stores.open(hold.catalog, record);
      count = (await newestRecordOf(store)).ownSlotCount;
      seen.set(record.uuid, count);
    }
    slotCount += count;
  }
  return slotCount * clusterSizeBytes;
}

/** Whether copies may be made on its account: none are that stand behind a clone which its chain ends at. */
function isLimited({ catalog }: Hold, record: SnapshotRecord): boolean {
  return isAlive(record) && !record.hidden && !endsAtClone(catalog, record);
}

/** A snapshot whose limit is nearly used up. */
export interface NearLimit {
  readonly record: SnapshotRecord;
  readonly leftBytes: number;
  readonly maxSizeBytes: number;
}

/**
 * After a batch that copied something: the snapshot on whose account that went, where less than a tenth of its limit is
 * left.
 * @param told UUIDs of those that need not be looked at any more
 */
export async function nearLimit(hold: Hold, told: ReadonlySet<string>): Promise<NearLimit | undefined> {
  const owner = hold.catalog.snapshots.findLast((record) => isLimited(hold, record));
  if (owner?.maxSizeBytes === undefined || told.has(owner.uuid)) return undefined;
  const { maxSizeBytes } = owner;
  const active = await hold.active();
  if (active === undefined) return undefined;
  const leftBytes = maxSizeBytes - (await limitUsageBytes(hold, owner, active, new Map()));
  return leftBytes < maxSizeBytes / 10 ? { record: owner, leftBytes, maxSizeBytes } : undefined;
}

/**
 * Checks limits before anything of the batch is written. A limit covers its snapshot's store and those that come after
 * it up to the next that has a name and its trust; so when one ends, copying goes on at the cost of the next older.
 * True where snapshots were ended and the batch must be planned anew.
 * @throws `no-space` where one whose limit would be passed says `refuse`; then none is ended
 */
export async function limitReached(
  hold: Hold,
  active: ActiveStore,
  missing: readonly number[],
): Promise<boolean> {
  const ended = new Set<string>();
  const seen: SlotCounts = new Map();
  let lacks: readonly Lack[] | undefined;
  const mayEnd = hold.catalog.snapshots.filter((record) => isLimited(hold, record)).reverse();
  let needed = missing;
  for (const owner of mayEnd) {
    if (ended.size > 0) {
      lacks ??= await whoLacks(hold, missing);
      needed = neededBy(lacks.filter(({ record }) => !ended.has(record.uuid)));
    }
    if (needed.length === 0 || !(await isPassed(hold, owner, active, needed, seen))) break;
    if (owner.onFull === 'refuse') throw limitRefusal(hold, owner, needed);
    ended.add(owner.uuid);
  }
  if (ended.size === 0) return false;
  const records = mayEnd.filter(({ uuid }) => ended.has(uuid));
  await end(hold, records, { reason: LIMIT_REASON, clusterIndex: missing[0] });
  return true;
}

async function isPassed(
  hold: Hold,
  owner: SnapshotRecord,
  active: ActiveStore,
  needed: readonly number[],
  seen: SlotCounts,
): Promise<boolean> {
  if (owner.maxSizeBytes === undefined) return false;
  const { clusterSizeBytes } = hold.catalog;
  const leftBytes = owner.maxSizeBytes - (await limitUsageBytes(hold, owner, active, seen));
  if (needed.length * clusterSizeBytes <= leftBytes) return false;
  // Zero clusters take no space, so near the limit it is worth looking.
  return (await countNotZero(hold, active, needed)) * clusterSizeBytes > leftBytes;
}

function limitRefusal(hold: Hold, owner: SnapshotRecord, needed: readonly number[]): SnapError {
  const snapshot = `${hold.image}@${owner.name}`;
  return new SnapError(
    'no-space',
    `${snapshot}: its limit of ${formatSize(owner.maxSizeBytes ?? 0)} is reached, and it refuses to end`,
    {
      path: hold.image,
      snapshot,
      clusterIndex: needed[0],
      hint: `remove it with snap-gc ${snapshot} to go on`,
    },
  );
}

/** Of clusters of the origin, how many a copy of would take a slot. */
export async function countNotZero(
  hold: Hold,
  active: ActiveStore,
  missing: readonly number[],
): Promise<number> {
  const { identity } = active.store;
  const content = Buffer.allocUnsafe(identity.clusterSizeBytes);
  let count = 0;
  for (const clusterIndex of missing) {
    const cluster = content.subarray(0, clusterLengthBytes(identity, clusterIndex));
    await readOldContent(
      hold.origin,
      hold.originStat.sizeBytes,
      cluster,
      clusterIndex * identity.clusterSizeBytes,
    );
    if (!isZero(cluster)) count += 1;
  }
  return count;
}

/** Marks snapshots invalid in one durable commit, and says so whatever is silenced. */
async function end(
  hold: Hold,
  records: readonly SnapshotRecord[],
  why: { readonly reason: string; readonly clusterIndex: number | undefined },
): Promise<void> {
  const ending = { ...why, time: formatTime(hold.context.host.now()) };
  try {
    await hold.commit((catalog) =>
      records.reduce((changed, { uuid }) => withRecord(changed, uuid, { trust: 'invalid', ending }), catalog),
    );
  } catch (error) {
    // A commit that failed may have taken place all the same; then the loss is told, whatever else is.
    const { snapshots } = await hold.sidecar.readCatalog().catch(() => hold.catalog);
    const isEnded = ({ uuid }: SnapshotRecord) =>
      snapshots.some((found) => found.uuid === uuid && !isAlive(found));
    tellEnd(hold, records.filter(isEnded), why);
    throw error;
  }
  tellEnd(hold, records, why);
}

function tellEnd(
  hold: Hold,
  records: readonly SnapshotRecord[],
  why: { readonly reason: string; readonly clusterIndex: number | undefined },
): void {
  for (const record of records) {
    if (record.hidden) continue;
    hold.context.warn({
      message: `${hold.image}@${record.name}: ended at cluster ${why.clusterIndex ?? 0}: ${why.reason}`,
      hint: 'snap-gc reclaims what it took',
      loss: true,
    });
  }
}

/**
 * Nothing could be copied: ends every snapshot whose chain lacks one of the clusters; but only those newer than one that
 * has places to spill to, which are tried then.
 * @throws the given error where one of them says `refuse`, or the marks could not be made durable
 */
export async function endForLackOfSpace(
  hold: Hold,
  missing: readonly number[],
  error: SnapError,
): Promise<void> {
  const lacking = (await whoLacks(hold, missing)).map(({ record }) => record);
  const next = lacking.findIndex((record, at) => at > 0 && unusedPlaces(hold.catalog, record).length > 0);
  const affected = next < 0 ? lacking : lacking.slice(0, next);
  // What could not be copied is copied after all, or nobody needs it any more: the batch is planned anew.
  if (affected.length === 0) return;
  const refusing = affected.find((record) => record.onFull === 'refuse' && !record.hidden);
  if (refusing !== undefined) {
    const snapshot = `${hold.image}@${refusing.name}`;
    throw new SnapError(
      'no-space',
      `${error.message}; the old content could not be copied, so nothing was written`,
      {
        path: error.path,
        offsetBytes: error.offsetBytes,
        errno: error.errno,
        snapshot,
        hint: `free some space, or remove ${snapshot} with snap-gc`,
        cause: error,
      },
    );
  }
  await end(hold, affected, { reason: NO_SPACE_REASON, clusterIndex: missing[0] });
}
