/** What is handed over when a snapshot is removed, and where it is read: here from its store. `clone-donor.ts` is the other. */
import { findBit } from '../base/bitmap.ts';
import type { Run } from '../store/append.ts';
import type { SnapshotRecord } from '../store/catalog.ts';
import { clusterLengthBytes } from '../store/layout.ts';
import { ClusterDamage, readClusters, verifyChecks } from '../store/read-clusters.ts';
import type { Hold } from './hold.ts';
import { clusterDamaged } from './snapshot-reader.ts';

/** A bit for each cluster that the receiver lacks, covers and needs. */
export interface Lacking {
  readonly bits: Buffer;
  readonly count: number;
}

export interface Found {
  /** Ascending. */
  readonly clusters: readonly number[];
  /** There are no more. */
  readonly complete: boolean;
}

export interface Donor {
  readonly record: SnapshotRecord;
  /** Of what is lacking, what must be handed over: at most `most` clusters. */
  find(hold: Hold, lacking: Lacking, most: number): Promise<Found>;
  /**
   * Fills `content` with adjacent clusters, and with zeros behind a short last one.
   * @returns their hashes, where they are known and were checked
   */
  read(hold: Hold, run: Run, content: Buffer): Promise<readonly bigint[]>;
}

/** The set bits, of those the first `most`. */
function firstBits(bits: Buffer, count: number, most: number): number[] {
  const found: number[] = [];
  for (let bit = findBit(bits, true, 0, count); bit < count && found.length < most; ) {
    found.push(bit);
    bit = findBit(bits, true, bit + 1, count);
  }
  return found;
}

/** All that a store has goes to the receiver. */
export class StoreDonor implements Donor {
  readonly record: SnapshotRecord;

  constructor(record: SnapshotRecord) {
    this.record = record;
  }

  async find(hold: Hold, { bits, count }: Lacking, most: number): Promise<Found> {
    hold.stores.pin('donor', this.record.uuid);
    const there = Buffer.alloc(bits.length);
    await hold.readBits(this.record, there, 0);
    for (let at = 0; at < bits.length; at += 1) there[at] = (there[at] ?? 0) & (bits[at] ?? 0);
    const clusters = firstBits(there, count, most + 1);
    return { clusters: clusters.slice(0, most), complete: clusters.length <= most };
  }

  async read(hold: Hold, run: Run, content: Buffer): Promise<readonly bigint[]> {
    const { record } = this;
    const size = hold.catalog.clusterSizeBytes;
    const store = await hold.stores.open(hold.catalog, record);
    content.fill(
      0,
      (run.count - 1) * size + clusterLengthBytes(store.identity, run.firstCluster + run.count - 1),
    );
    try {
      const checks = await readClusters(store, run, content);
      verifyChecks(checks);
      return checks.flatMap(({ run: { hashes } }) => [...hashes]);
    } catch (error) {
      if (!(error instanceof ClusterDamage)) throw error;
      throw clusterDamaged(`${hold.image}@${record.name}`, size, error);
    }
  }
}
