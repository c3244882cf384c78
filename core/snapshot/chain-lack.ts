/**
 * Which snapshots lack which clusters: have them in no store from their own to the newest, and so read them from the
 * origin. Asked where a copy cannot be made, or need not be. One pass over the stores for a whole batch.
 */
import { getBit } from '../base/bitmap.ts';
import { hasCode } from '../base/errors.ts';
import { filesOfSame, isAlive, type SnapshotRecord } from '../store/catalog.ts';
import { clusterCount } from '../store/layout.ts';
import type { Hold } from './hold.ts';

/** Bits that one read of a bitmap fetches at most. */
const WINDOW_CLUSTERS = 32768;

export interface Lack {
  /** Not ended. */
  readonly record: SnapshotRecord;
  /** Ascending, and at least one. */
  readonly clusters: readonly number[];
}

/** @param clusters ascending */
export async function whoLacks(hold: Hold, clusters: readonly number[]): Promise<Lack[]> {
  const { clusterSizeBytes, snapshots } = hold.catalog;
  const lacks: Lack[] = [];
  let nowhereYet = clusters;
  for (const record of [...snapshots].reverse()) {
    if (nowhereYet.length === 0) break;
    const there = await clustersOf(hold, record, nowhereYet);
    nowhereYet = nowhereYet.filter((clusterIndex) => !there.has(clusterIndex));
    const count = clusterCount({ sizeBytes: record.sizeBytes, clusterSizeBytes });
    const covered = nowhereYet.filter((clusterIndex) => clusterIndex < count);
    if (covered.length > 0 && isAlive(record)) lacks.push({ record, clusters: covered });
  }
  return lacks;
}

/**
 * Of `clusters`, ascending, those that the newest store lacks and somebody else lacks too: whoever is read at all reads
 * them from the origin. Ends at the newest snapshot that is read, since older ones read through its stores.
 * @throws what keeps a file of a snapshot that spilled from being read: another of its files must not get what that has
 */
export async function clustersNeeded(hold: Hold, clusters: readonly number[]): Promise<number[]> {
  const { clusterSizeBytes, snapshots } = hold.catalog;
  const needed: number[] = [];
  let nowhereYet = clusters;
  for (const record of [...snapshots].reverse()) {
    if (nowhereYet.length === 0) break;
    const there = await clustersOf(hold, record, nowhereYet);
    const count = isAlive(record) ? clusterCount({ sizeBytes: record.sizeBytes, clusterSizeBytes }) : 0;
    const lacking = nowhereYet.filter((clusterIndex) => !there.has(clusterIndex));
    needed.push(...lacking.filter((clusterIndex) => clusterIndex < count));
    nowhereYet = lacking.filter((clusterIndex) => clusterIndex >= count);
  }
  return needed.sort((a, b) => a - b);
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
  const there = new Set<number>();
  for (let at = 0; at < clusters.length; ) {
    const first = (clusters[at] ?? 0) & ~7;
    let end = at;
    while (end < clusters.length && (clusters[end] ?? 0) < Math.min(count, first + WINDOW_CLUSTERS)) end += 1;
    if (end === at) break;
    const last = clusters[end - 1] ?? first;
    const bits = Buffer.alloc(((last - first) >>> 3) + 1);
    try {
      await hold.readBits(record, bits, first >>> 3);
    } catch (error) {
      const mayPass = hasCode(error, 'damage', 'not-found', 'newer-version');
      if (mayPass && filesOfSame(hold.catalog, record).length === 1) return new Set();
      throw error;
    }
    for (const clusterIndex of clusters.slice(at, end)) {
      if (getBit(bits, clusterIndex - first)) there.add(clusterIndex);
    }
    at = end;
  }
  return there;
}
