/**
 * Which snapshots lack which clusters: have them in no store from their own to the newest, and so read them from the
 * origin, if they are candidates. Asked where a copy cannot be made, or need not be. One pass over the stores for a whole batch.
 */
import { hasCode } from '../base/errors.ts';
import { filesOfSame, isAlive, type SnapshotRecord } from '../store/catalog.ts';
import { clusterCount } from '../store/layout.ts';
import { chosenOf, whereSet } from './candidates.ts';
import type { Hold } from './hold.ts';

export interface Lack {
  /** Not ended. */
  readonly record: SnapshotRecord;
  /** Ascending, and at least one. */
  readonly clusters: readonly number[];
}

/**
 * The newest first.
 * @param clusters ascending
 */
export async function whoLacks(hold: Hold, clusters: readonly number[]): Promise<Lack[]> {
  const { clusterSizeBytes, snapshots } = hold.catalog;
  const lacks: Lack[] = [];
  let nowhereYet = clusters;
  for (const record of newestFirst(snapshots)) {
    if (nowhereYet.length === 0) break;
    const there = await clustersOf(hold, record, nowhereYet);
    nowhereYet = nowhereYet.filter((clusterIndex) => !there.has(clusterIndex));
    const count = clusterCount({ sizeBytes: record.sizeBytes, clusterSizeBytes });
    const covered = nowhereYet.filter((clusterIndex) => clusterIndex < count);
    if (covered.length === 0 || !isAlive(record)) continue;
    const lacking = await chosenOf(hold, record, 'candidate', covered);
    if (lacking.length > 0) lacks.push({ record, clusters: lacking });
  }
  return lacks;
}

/**
 * Of `clusters`, ascending, those that the newest store lacks and somebody else lacks too: whoever is read at all reads
 * them from the origin. Ends at the newest snapshot that has them as candidates, since older ones read through its stores.
 * @throws what keeps a file of a snapshot that spilled from being read: another of its files must not get what that has
 */
export async function clustersNeeded(hold: Hold, clusters: readonly number[]): Promise<number[]> {
  const { clusterSizeBytes, snapshots } = hold.catalog;
  const needed: number[] = [];
  let nowhereYet = clusters;
  for (const record of newestFirst(snapshots)) {
    if (nowhereYet.length === 0) break;
    const there = await clustersOf(hold, record, nowhereYet);
    const count = isAlive(record) ? clusterCount({ sizeBytes: record.sizeBytes, clusterSizeBytes }) : 0;
    const lacking = nowhereYet.filter((clusterIndex) => !there.has(clusterIndex));
    const covered = lacking.filter((clusterIndex) => clusterIndex < count);
    const found = new Set(await chosenOf(hold, record, 'candidate', covered));
    needed.push(...found);
    nowhereYet = lacking.filter((clusterIndex) => !found.has(clusterIndex));
  }
  return needed.sort((a, b) => a - b);
}

/** To the oldest that is read: what was before it, nobody reads through, and it may be as it will. */
function newestFirst(snapshots: readonly SnapshotRecord[]): SnapshotRecord[] {
  const oldest = snapshots.findIndex(isAlive);
  return oldest < 0 ? [] : snapshots.slice(oldest).reverse();
}

/** The clusters that somebody lacks, ascending. */
export function neededBy(lacks: readonly Lack[]): number[] {
  return [...new Set(lacks.flatMap(({ clusters }) => clusters))].sort((a, b) => a - b);
}

/**
 * Of `clusters`, those that a store has. One that cannot be read counts as having none: more is kept, or ends, then.
 * @throws `damage`, `not-found` of a store that is not its snapshot's only one
 */
export async function clustersOf(
  hold: Hold,
  record: SnapshotRecord,
  clusters: readonly number[],
): Promise<Set<number>> {
  const count = clusterCount({
    sizeBytes: record.sizeBytes,
    clusterSizeBytes: hold.catalog.clusterSizeBytes,
  });
  // A clone has all.
  if (record.isClone) return new Set(clusters.filter((clusterIndex) => clusterIndex < count));
  try {
    return new Set(
      await whereSet(clusters, count, (bits, firstByte) => hold.readBits(record, bits, firstByte)),
    );
  } catch (error) {
    const mayPass = hasCode(error, 'damage', 'not-found', 'newer-version');
    if (mayPass && filesOfSame(hold.catalog, record).length === 1) return new Set();
    throw error;
  }
}
