/**
 * Reads a snapshot run by run: under a shared hold a run's sources are resolved and its bytes read into memory; the
 * hashes of what was copied are checked after the lock is dropped, and before a byte is passed on.
 */
import { SnapError } from '../base/errors.ts';
import { xxh64 } from '../base/xxh64.ts';
import type { SnapshotRecord } from '../store/catalog.ts';
import type { Entry } from '../store/entry.ts';
import { clusterLengthBytes, ENTRY } from '../store/layout.ts';
import type { StoreFile } from '../store/store-file.ts';
import { Chain } from './chain.ts';
import type { Hold } from './hold.ts';
import { readOrigin } from './origin.ts';
import { FROM_ORIGIN, type Segment, segments, slotRuns, UNKNOWN_SOURCE } from './run-planner.ts';

/** What one hold reads, unless a cluster is larger. */
export const RUN_BYTES = 1 << 20;

interface Check {
  readonly clusterIndex: number;
  readonly hash: bigint;
  readonly content: Buffer;
  readonly storePath: string;
}

export interface ReadRun {
  readonly offsetBytes: number;
  readonly data: Buffer;
  readonly checks: readonly Check[];
}

export class SnapshotReader {
  readonly record: SnapshotRecord;
  readonly #snapshot: string;
  readonly #clusterSizeBytes: number;
  readonly #chain: Chain;
  readonly #table = Buffer.allocUnsafe(ENTRY.sizeBytes * 256);

  constructor(snapshot: string, record: SnapshotRecord, clusterSizeBytes: number) {
    this.#snapshot = snapshot;
    this.record = record;
    this.#clusterSizeBytes = clusterSizeBytes;
    this.#chain = new Chain(record.uuid);
  }

  /** The size of the buffers that `read` needs. */
  get bufferBytes(): number {
    return Math.max(RUN_BYTES, this.#clusterSizeBytes);
  }

  /** Reads at most a buffer full from `startBytes` on, not past `endBytes`. The bytes are not checked yet. */
  async read(hold: Hold, startBytes: number, endBytes: number, buffer: Buffer): Promise<ReadRun> {
    const size = this.#clusterSizeBytes;
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
        await this.#readStore(hold, segment, at, checks);
      }
    }
    return {
      offsetBytes: startBytes,
      data: buffer.subarray(startBytes - baseBytes, untilBytes - baseBytes),
      checks,
    };
  }

  async #readStore(hold: Hold, segment: Segment, target: Buffer, checks: Check[]): Promise<void> {
    if (segment.source === UNKNOWN_SOURCE) throw this.#unknown(segment.firstCluster);
    const record = hold.catalog.snapshots[segment.source];
    if (record === undefined) throw this.#unknown(segment.firstCluster);
    const store = await hold.stores.open(hold.catalog, record);
    const perTable = this.#table.length / ENTRY.sizeBytes;
    for (let done = 0; done < segment.count; done += perTable) {
      const count = Math.min(perTable, segment.count - done);
      const first = segment.firstCluster + done;
      const entries = await this.#readEntries(store, first, count);
      const slots = entries.map((entry) => entry.slotIndex);
      for (const { at, count: length } of slotRuns(slots)) {
        const into = target.subarray((done + at) * this.#clusterSizeBytes);
        await this.#readSlots(
          store,
          { first: first + at, entries: entries.slice(at, at + length) },
          into,
          checks,
        );
      }
    }
  }

  async #readEntries(store: StoreFile, firstCluster: number, count: number): Promise<Entry[]> {
    const table = this.#table.subarray(0, count * ENTRY.sizeBytes);
    await store.readTable(table, firstCluster);
    return Array.from({ length: count }, (_, index) => {
      const entry = store.entries.decode(table, index * ENTRY.sizeBytes, firstCluster + index);
      if (entry === undefined)
        throw this.#damaged(store.path, firstCluster + index, 'its entry does not prove itself');
      return entry;
    });
  }

  /** Clusters whose slots follow one another are read at once; zero clusters have none. */
  async #readSlots(
    store: StoreFile,
    run: { readonly first: number; readonly entries: readonly Entry[] },
    target: Buffer,
    checks: Check[],
  ): Promise<void> {
    const { first, entries } = run;
    const size = this.#clusterSizeBytes;
    const lengthBytes =
      (entries.length - 1) * size + clusterLengthBytes(store.identity, first + entries.length - 1);
    const slotIndex = entries[0]?.slotIndex ?? -1;
    const content = target.subarray(0, lengthBytes);
    if (slotIndex < 0) {
      content.fill(0);
      return;
    }
    const got = await store.readSlots(content, slotIndex);
    entries.forEach((entry, index) => {
      const clusterIndex = first + index;
      const end = index * size + clusterLengthBytes(store.identity, clusterIndex);
      if (end > got) throw this.#damaged(store.path, clusterIndex, 'its slot is past the end of the file');
      checks.push({
        clusterIndex,
        hash: entry.hash,
        content: target.subarray(index * size, end),
        storePath: store.path,
      });
    });
  }

  /** @throws `damage` naming the first cluster that is not what was copied */
  check(run: ReadRun): void {
    for (const { clusterIndex, hash, content, storePath } of run.checks) {
      if (xxh64(content) !== hash)
        throw this.#damaged(storePath, clusterIndex, 'its content does not match its hash');
    }
  }

  #damaged(path: string, clusterIndex: number, what: string): SnapError {
    return new SnapError(
      'damage',
      `${this.#snapshot}: cluster ${clusterIndex} is damaged in ${path}: ${what}`,
      {
        path,
        clusterIndex,
        offsetBytes: clusterIndex * this.#clusterSizeBytes,
        snapshot: this.#snapshot,
        hint: `read around it with --offset and --length (clusters of ${this.#clusterSizeBytes} bytes), and see all of it with snap-verify`,
      },
    );
  }

  #unknown(clusterIndex: number): SnapError {
    const reason = this.#chain.broken;
    return new SnapError(
      'damage',
      `${this.#snapshot}: cluster ${clusterIndex} cannot be told: ${reason?.message ?? 'a store of its chain is damaged'}`,
      { path: reason?.path, clusterIndex, snapshot: this.#snapshot, hint: reason?.hint, cause: reason },
    );
  }
}
