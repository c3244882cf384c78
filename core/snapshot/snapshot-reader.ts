/**
 * Reads a snapshot run by run: under a shared hold a run's sources are resolved and its bytes read into memory; the
 * hashes of what was copied are checked after the lock is dropped, and before a byte is passed on.
 */
import { RUN_BYTES } from '../base/ahead.ts';
import { SnapError } from '../base/errors.ts';
import type { RandomAccessFile } from '../io/file-system.ts';
import type { SnapshotRecord } from '../store/catalog.ts';
import { type Check, ClusterDamage, readClusters, verifyChecks } from '../store/read-clusters.ts';
import { Chain } from './chain.ts';
import type { Hold } from './hold.ts';
import { readOrigin } from './origin.ts';
import {
  FROM_CLONE,
  FROM_ORIGIN,
  joinNear,
  NO_CANDIDATE,
  type Segment,
  segments,
  UNKNOWN_SOURCE,
} from './run-planner.ts';

/** Parts of the origin that are so near to each other are read in one call, with what lies between: that is faster. */
const NEAR_BYTES = 256 << 10;

/** What one hold gives of a hole; hashing it takes some milliseconds, and then signals are heard. */
const HOLE_BYTES = 64 << 20;

export interface ReadRun {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** Absent where all of it is zeros that need not be read: a hole of the origin, or no candidates. */
  readonly data: Buffer | undefined;
  readonly checks: readonly Check[];
  /** Parts in whole clusters that are zeros since they are no candidates; absent where there are none. */
  readonly noCandidates?: readonly Segment[];
}

/** How long a hole is that begins at `startBytes`; 0 where there is none, or none that is worth a run of its own. */
export function holeLengthBytes(origin: RandomAccessFile, startBytes: number, endBytes: number): number {
  const mostBytes = Math.min(endBytes - startBytes, HOLE_BYTES);
  const lengthBytes = Math.min(mostBytes, origin.dataFrom(startBytes) - startBytes);
  return lengthBytes < Math.min(RUN_BYTES, mostBytes) ? 0 : lengthBytes;
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

  constructor(
    snapshot: string,
    record: SnapshotRecord,
    clusterSizeBytes: number,
    chain = new Chain(record.uuid),
  ) {
    this.#snapshot = snapshot;
    this.record = record;
    this.clusterSizeBytes = clusterSizeBytes;
    this.#chain = chain;
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
    const zeros = await this.#zeros(hold, startBytes, endBytes);
    if (zeros !== undefined) return zeros;
    const wanted = Math.min(lastCluster - firstCluster + 1, Math.floor(buffer.length / size));
    const sources = await this.#chain.resolve(hold, firstCluster, wanted);
    const baseBytes = firstCluster * size;
    const untilBytes = Math.min(endBytes, baseBytes + sources.length * size);
    const parts = [...segments(sources, firstCluster)];
    for (const { firstCluster: first, count } of joinNear(parts, Math.floor(NEAR_BYTES / size))) {
      const from = Math.max(startBytes, first * size);
      const to = Math.min(untilBytes, (first + count) * size);
      await readOrigin(hold.origin, buffer.subarray(from - baseBytes, to - baseBytes), from);
    }
    const checks: Check[] = [];
    for (const part of parts) {
      if (part.source === FROM_ORIGIN) continue;
      const at = buffer.subarray((part.firstCluster - firstCluster) * size);
      if (part.source === NO_CANDIDATE) {
        at.fill(0, 0, part.count * size);
        continue;
      }
      if (part.source >= FROM_CLONE) await this.#readClone(hold, part, at);
      else checks.push(...(await this.#readStore(hold, part, at)));
    }
    const data = buffer.subarray(startBytes - baseBytes, untilBytes - baseBytes);
    const noCandidates = parts.filter(({ source }) => source === NO_CANDIDATE);
    return { offsetBytes: startBytes, lengthBytes: data.length, data, checks, noCandidates };
  }

  /**
   * The first adjacent clusters, from `startBytes` on, that are not the origin's as it is now. Empty where there are none
   * in as many as are looked at in one go; then it says how far that was.
   */
  async otherRange(
    hold: Hold,
    startBytes: number,
    endBytes: number,
  ): Promise<{ readonly startBytes: number; readonly endBytes: number }> {
    const size = this.clusterSizeBytes;
    const firstCluster = Math.floor(startBytes / size);
    const wanted = Math.ceil(endBytes / size) - firstCluster;
    const sources = await this.#chain.resolve(hold, firstCluster, wanted);
    const otherAt = sources.findIndex((source) => source !== FROM_ORIGIN);
    const from = otherAt < 0 ? sources.length : otherAt;
    let to = from;
    while (to < sources.length && sources[to] !== FROM_ORIGIN) to += 1;
    const place = (index: number) => Math.min(endBytes, (firstCluster + index) * size);
    return { startBytes: place(from), endBytes: place(to) };
  }

  /**
   * Zeros that begin at `startBytes`: a hole of the origin, as far as nothing of it was copied, or clusters that are no
   * candidates; undefined where they are not worth a run.
   */
  async #zeros(hold: Hold, startBytes: number, endBytes: number): Promise<ReadRun | undefined> {
    const size = this.clusterSizeBytes;
    const holeEndBytes = startBytes + holeLengthBytes(hold.origin, startBytes, endBytes);
    const mostBytes = this.record.hasCandidates ? Math.min(endBytes, startBytes + HOLE_BYTES) : holeEndBytes;
    if (mostBytes === startBytes) return undefined;
    const firstCluster = Math.floor(startBytes / size);
    const sources = await this.#chain.resolve(hold, firstCluster, Math.ceil(mostBytes / size) - firstCluster);
    const until = (isZero: (source: number, at: number) => boolean) => {
      const count = sources.findIndex((source, at) => !isZero(source, at));
      return (firstCluster + (count < 0 ? sources.length : count)) * size;
    };
    const holeBytes = Math.min(
      holeEndBytes,
      until((source) => source === FROM_ORIGIN || source === NO_CANDIDATE),
    );
    const freeBytes = Math.min(
      mostBytes,
      until((source) => source === NO_CANDIDATE),
    );
    const isWorthIt = freeBytes - startBytes >= Math.min(RUN_BYTES, endBytes - startBytes);
    const lengthBytes = Math.max(holeBytes, isWorthIt ? freeBytes : 0) - startBytes;
    if (lengthBytes <= 0) return undefined;
    return { offsetBytes: startBytes, lengthBytes, data: undefined, checks: [] };
  }

  async #readClone(hold: Hold, { source, firstCluster, count }: Segment, target: Buffer): Promise<void> {
    const record = hold.catalog.snapshots[source - FROM_CLONE];
    if (record === undefined) throw this.#unknown(firstCluster);
    const clone = await hold.stores.openClone(hold.catalog, record);
    const offsetBytes = firstCluster * this.clusterSizeBytes;
    const lengthBytes = Math.min(count * this.clusterSizeBytes, record.sizeBytes - offsetBytes);
    const got = await clone.read(target.subarray(0, lengthBytes), offsetBytes);
    if (got < Math.min(lengthBytes, target.length)) throw this.#unknown(firstCluster);
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
