/**
 * What happens when a copy has no place: the snapshot's own limit is reached, or nothing can be copied at all. Whoever
 * asked for `refuse` is kept and the write fails; all others end, marked durably before the write goes on (invariant
 * 5), as fss, fssnap and dm-snapshot end theirs.
 */
import { getBit } from '../base/bitmap.ts';
import { isZero } from '../base/bytes.ts';
import { SnapError } from '../base/errors.ts';
import { formatTime } from '../base/time.ts';
import { formatSize } from '../base/units.ts';
import { type Catalog, isAlive, type SnapshotRecord, withRecord } from '../store/catalog.ts';
import { clusterLengthBytes } from '../store/layout.ts';
import { trustedRecord } from '../store/proof.ts';
import type { ActiveStore, Hold } from './hold.ts';
import { readOrigin } from './origin.ts';

export const LIMIT_REASON = 'its limit was reached';
export const NO_SPACE_REASON = 'its store could not grow: no space left';

/**
 * Whose limit covers the store that receives copies: the newest snapshot that still has a name and its trust. What
 * came after it, invalid or hidden, is copied on its account.
 */
export function limitOwner(catalog: Catalog): SnapshotRecord | undefined {
  return catalog.snapshots.findLast((record) => isAlive(record) && !record.hidden);
}

/** Bytes that count against `owner`'s limit: its own copies and those made after it on its account. */
export async function limitUsageBytes(
  hold: Hold,
  owner: SnapshotRecord,
  active: ActiveStore,
): Promise<number> {
  const { snapshots, clusterSizeBytes } = hold.catalog;
  let slotCount = active.flushRecord.ownSlotCount;
  for (const record of snapshots.slice(
    snapshots.findIndex(({ uuid }) => uuid === owner.uuid),
    -1,
  )) {
    const store = await hold.stores.open(hold.catalog, record);
    slotCount += (await trustedRecord(store, record.sealed)).ownSlotCount;
  }
  return slotCount * clusterSizeBytes;
}

/**
 * Checks the limit before anything of the batch is written. True where a snapshot was ended and the batch must be
 * planned anew: older ones may still need the copies, on another's account.
 * @throws `no-space` where the limit's snapshot says `refuse`
 */
export async function limitReached(
  hold: Hold,
  active: ActiveStore,
  missing: readonly number[],
): Promise<boolean> {
  const owner = limitOwner(hold.catalog);
  if (owner?.maxSizeBytes === undefined || missing.length === 0) return false;
  const { clusterSizeBytes } = hold.catalog;
  const usedBytes = await limitUsageBytes(hold, owner, active);
  if (usedBytes + missing.length * clusterSizeBytes <= owner.maxSizeBytes) return false;
  // Zero clusters take no space, so near the limit it is worth looking.
  const slotCount = await countNotZero(hold, active, missing);
  if (usedBytes + slotCount * clusterSizeBytes <= owner.maxSizeBytes) return false;
  const snapshot = `${hold.image}@${owner.name}`;
  if (owner.onFull === 'refuse') {
    throw new SnapError(
      'no-space',
      `${snapshot}: its limit of ${formatSize(owner.maxSizeBytes)} is reached, and it refuses to end`,
      {
        path: hold.image,
        snapshot,
        clusterIndex: missing[0],
        hint: `remove it with snap-gc ${snapshot} to go on`,
      },
    );
  }
  await end(hold, [owner], { reason: LIMIT_REASON, clusterIndex: missing[0] });
  return true;
}

async function countNotZero(hold: Hold, active: ActiveStore, missing: readonly number[]): Promise<number> {
  const { identity } = active.store;
  const content = Buffer.allocUnsafe(identity.clusterSizeBytes);
  let count = 0;
  for (const clusterIndex of missing) {
    const cluster = content.subarray(0, clusterLengthBytes(identity, clusterIndex));
    await readOrigin(hold.origin, cluster, clusterIndex * identity.clusterSizeBytes);
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
  await hold.commit((catalog) =>
    records.reduce((changed, { uuid }) => withRecord(changed, uuid, { trust: 'invalid', ending }), catalog),
  );
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
 * Nothing could be copied: ends every snapshot whose chain lacks one of the clusters.
 * @throws the given error where one of them says `refuse`, or the marks could not be made durable
 */
export async function endForLackOfSpace(
  hold: Hold,
  missing: readonly number[],
  error: SnapError,
): Promise<void> {
  const affected = await snapshotsLacking(hold, missing);
  const refusing = affected.find((record) => record.onFull === 'refuse' && !record.hidden);
  if (refusing !== undefined || affected.length === 0) {
    const snapshot = refusing && `${hold.image}@${refusing.name}`;
    throw new SnapError(
      'no-space',
      `${error.message}; the old content could not be copied, so nothing was written`,
      {
        path: error.path,
        offsetBytes: error.offsetBytes,
        errno: error.errno,
        snapshot,
        hint: `free some space${snapshot ? `, or remove ${snapshot} with snap-gc` : ''}`,
        cause: error,
      },
    );
  }
  await end(hold, affected, { reason: NO_SPACE_REASON, clusterIndex: missing[0] });
}

async function snapshotsLacking(hold: Hold, missing: readonly number[]): Promise<SnapshotRecord[]> {
  const { clusterSizeBytes, snapshots } = hold.catalog;
  const affected: SnapshotRecord[] = [];
  let lacking = [...missing];
  for (const record of [...snapshots].reverse()) {
    const stillLacking: number[] = [];
    for (const clusterIndex of lacking) {
      if (
        clusterIndex * clusterSizeBytes >= record.sizeBytes ||
        !(await hasCluster(hold, record, clusterIndex))
      ) {
        stillLacking.push(clusterIndex);
      }
    }
    lacking = stillLacking;
    const lacksOne = lacking.some((clusterIndex) => clusterIndex * clusterSizeBytes < record.sizeBytes);
    if (lacksOne && isAlive(record)) affected.push(record);
  }
  return affected;
}

async function hasCluster(hold: Hold, record: SnapshotRecord, clusterIndex: number): Promise<boolean> {
  const byte = Buffer.alloc(1);
  await hold.readBits(record, byte, clusterIndex >>> 3);
  return getBit(byte, clusterIndex & 7);
}
