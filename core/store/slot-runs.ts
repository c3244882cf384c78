/**
 * From entries to runs: adjacent clusters whose slots follow one another are read in one call. Pure, and made of numbers:
 * verifying goes through millions of entries, and an object for each took longer than hashing what they stand for.
 */
import type { Run } from './append.ts';
import type { EntryCodec } from './entry.ts';
import { ENTRY } from './layout.ts';

/** Adjacent clusters, and where their content stands. */
export interface SlotRun extends Run {
  /** The first one's slot, the others' follow; -1 for zero clusters, which have none. */
  readonly slotIndex: number;
  /** XXH64 of each cluster, as its entry has it. */
  readonly hashes: BigUint64Array;
}

/** A run while it grows; without a cluster there is none, whatever else it still says. */
interface Growing {
  firstCluster: number;
  count: number;
  slotIndex: number;
}

/**
 * The entries of `clusters`, which stand in `table` from `at` on, as runs no longer than `mostCount`.
 * @param unproven is told of a cluster whose entry does not prove itself; it is in no run
 */
export function slotRuns(
  codec: EntryCodec,
  { table, at, clusters }: { readonly table: Buffer; readonly at: number; readonly clusters: Run },
  mostCount: number,
  unproven: (clusterIndex: number) => void,
): SlotRun[] {
  const runs: SlotRun[] = [];
  const { firstCluster, count } = clusters;
  const run: Growing = { firstCluster, count: 0, slotIndex: -1 };
  const finish = () => {
    if (run.count === 0) return;
    const from = (at + run.firstCluster - firstCluster) * ENTRY.sizeBytes;
    runs.push({ ...run, hashes: codec.hashes(table, from, run.count) });
    run.count = 0;
  };
  for (let index = 0; index < count; index += 1) {
    const clusterIndex = firstCluster + index;
    const slotIndex = codec.provenSlot(table, (at + index) * ENTRY.sizeBytes, clusterIndex);
    const follows = slotIndex === (run.slotIndex < 0 ? -1 : run.slotIndex + run.count);
    if (run.count > 0 && (!follows || run.count >= mostCount)) finish();
    if (slotIndex === undefined) unproven(clusterIndex);
    else if (run.count > 0) run.count += 1;
    else Object.assign(run, { firstCluster: clusterIndex, count: 1, slotIndex });
  }
  finish();
  return runs;
}

/** One cluster of a run by itself. */
export function oneOf(run: SlotRun, index: number): SlotRun {
  return {
    firstCluster: run.firstCluster + index,
    count: 1,
    slotIndex: run.slotIndex < 0 ? -1 : run.slotIndex + index,
    hashes: run.hashes.subarray(index, index + 1),
  };
}
