/**
 * Reads a snapshot run by run: under a shared hold a run's sources are resolved and its bytes read into memory; the
 * hashes of what was copied are checked after the lock is dropped, and before a byte is passed on.
 */
import { SnapError } from '../base/errors.ts';
import type { SnapshotRecord } from '../store/catalog.ts';
import { type Check, ClusterDamage, readClusters, verifyChecks } from '../store/read-clusters.ts';
import { Chain } from './chain.ts';
import type { Hold } from './hold.ts';
import { readOrigin } from './origin.ts';
import { FROM_ORIGIN, type Segment, segments, UNKNOWN_SOURCE } from './run-planner.ts';

/** What one hold reads, unless a cluster is larger. */
export const RUN_BYTES = 1 << 20;

export interface ReadRun {
  readonly offsetBytes: number;
  readonly data: Buffer;
  readonly checks: readonly Check[];
}

/** Names the snapshot that the damage was met in. */
export function clusterDamaged(snapshot: string, clusterSizeBytes: number, damage: ClusterDamage): SnapError {
  const { clusterIndex, storePath, message } = damage;
  const offsetBytes = clusterIndex * clusterSizeBytes;
  return new SnapError(
    'damage',
    `${snapshot}: cluster ${clusterIndex} at offset ${offsetBytes} is damaged in ${storePath}: ${message}`,
    {
      path: storePath,
      clusterIndex,
      offsetBytes,
      snapshot,
      hint: `read around it with --offset and --length (clusters of ${clusterSizeBytes} bytes); snap-verify tells all that is damaged`,
      cause: damage,
    },
  );
}

export class SnapshotReader {
  readonly record: SnapshotRecord;
  readonly #snapshot: string;
  readonly clusterSizeBytes: number;
  readonly #chain: Chain;

  constructor(snapshot: string, record: SnapshotRecord, clusterSizeBytes: number) {
    this.#snapshot = snapshot;
    this.record = record;
    this.clusterSizeBytes = clusterSizeBytes;
    this.#chain = new Chain(record.uuid);
  }

  /** The size of the buffers that `read` needs. */
  get bufferBytes(): number {
    return Math.max(RUN_BYTES, this.clusterSizeBytes);
  }

  /** Reads at most a buffer full from `startBytes` on, not past `endBytes`. The bytes are not checked yet. */
  async read(hold: Hold, startBytes: number, endBytes: number, buffer: Buffer): Promise<ReadRun> {
    const size = this.clusterSizeBytes;
    const firstCluster = Math.floor(startBytes / size);
    const lastCluster = Math.ceil(endBytes / size) - 1;
    const wanted = Math.min(lastCluster - firstCluster + 1, Math.floor(buffer.length / size));
    const sources = await this.#chain.resolve(hold, firstCluster, wanted);
    const baseBytes = firstCluster * size;
    const untilBytes = Math.min(endBytes, baseBytes + sources.length * size);
    const checks: Check[] = [];
    for (const segment of segments(sources, firstCluster)) {
      const at = buffer.subarray((segment.firstCluster - firstCluster) * size);
      if (segment.source === FROM_ORIGIN) {
        const from = Math.max(startBytes, segment.firstCluster * size);
        const to = Math.min(untilBytes, (segment.firstCluster + segment.count) * size);
        await readOrigin(hold.origin, buffer.subarray(from - baseBytes, to - baseBytes), from);
      } else {
        checks.push(...(await this.#readStore(hold, segment, at)));
      }
    }
    return {
      offsetBytes: startBytes,
      data: buffer.subarray(startBytes - baseBytes, untilBytes - baseBytes),
      checks,
    };
  }

  async #readStore(hold: Hold, segment: Segment, target: Buffer): Promise<Check[]> {
    const record = hold.catalog.snapshots[segment.source];
    if (segment.source === UNKNOWN_SOURCE || record === undefined) throw this.#unknown(segment.firstCluster);
    const store = await hold.stores.open(hold.catalog, record);
    try {
      return await readClusters(store, segment, target);
    } catch (error) {
      throw this.#named(error);
    }
  }

  /** @throws `damage` naming the first cluster that is not what was copied */
  check(run: ReadRun): void {
    try {
      verifyChecks(run.checks);
    } catch (error) {
      throw this.#named(error);
    }
  }

  #named(error: unknown): unknown {
    if (!(error instanceof ClusterDamage)) return error;
    return clusterDamaged(this.#snapshot, this.clusterSizeBytes, error);
  }

  #unknown(clusterIndex: number): SnapError {
    const reason = this.#chain.broken;
    const offsetBytes = clusterIndex * this.clusterSizeBytes;
    return new SnapError(
      reason?.code ?? 'damage',
      `${this.#snapshot}: cluster ${clusterIndex} at offset ${offsetBytes} cannot be told: ${reason?.message ?? 'a store of its chain is damaged'}`,
      {
        path: reason?.path,
        errno: reason?.errno,
        clusterIndex,
        // Of the store, where that is what could not be read.
        offsetBytes: reason?.offsetBytes ?? offsetBytes,
        snapshot: this.#snapshot,
        hint: reason?.hint,
        cause: reason,
      },
    );
  }
}
