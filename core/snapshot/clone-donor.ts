/**
 * Removing a clone that older snapshots end their chain at: they get all in which it differs from what they read once it
 * is gone. That must not change while it is compared, piece by piece, under a lock that others take in between. So there
 * is a snapshot after the clone for which writers copy: one that is there, or a nameless one, the fence, that is taken
 * for it and goes with it. Its sync point takes the origin as it is then; a change from outside ends it like any other,
 * and then all is compared again with another.
 */
import { RUN_BYTES } from '../base/ahead.ts';
import { findBit } from '../base/bitmap.ts';
import { hasCode, SnapError } from '../base/errors.ts';
import { formatTime } from '../base/time.ts';
import { uuidFromRandom } from '../base/uuid.ts';
import type { Run } from '../store/append.ts';
import { findByUuid, type SnapshotRecord, STORE_SUFFIX } from '../store/catalog.ts';
import { clusterLengthBytes, MAX_CLUSTER_COUNT } from '../store/layout.ts';
import { addStore } from './add-store.ts';
import { Chain } from './chain.ts';
import type { Donor, Found, Lacking } from './donor.ts';
import type { Hold } from './hold.ts';
import { SnapshotReader } from './snapshot-reader.ts';

/** What one hold compares at most. */
const STEP_BYTES = 64 << 20;
/** As often as it is begun anew before it is left for another time. */
const MOST_FENCES = 8;

export class CloneDonor implements Donor {
  readonly record: SnapshotRecord;
  /** The snapshot that keeps what is compared with from changing. */
  #fenceUuid: string | undefined;
  /** It was taken for this. */
  #ownFences: string[] = [];
  #after: SnapshotReader | undefined;
  #nextCluster = 0;
  readonly #clone = Buffer.allocUnsafeSlow(RUN_BYTES);
  readonly #view = Buffer.allocUnsafeSlow(RUN_BYTES);

  constructor(record: SnapshotRecord) {
    this.record = record;
  }

  /** Snapshots that were taken only for this, and are to be removed after it. */
  get fences(): readonly string[] {
    return this.#ownFences;
  }

  async find(hold: Hold, lacking: Lacking, most: number): Promise<Found> {
    if (!(await this.#isFenced(hold))) return { clusters: [], complete: false };
    const { bits, count } = lacking;
    const { clusterSizeBytes } = hold.catalog;
    const mostInRun = Math.max(1, Math.floor(RUN_BYTES / clusterSizeBytes));
    const clusters: number[] = [];
    let comparedBytes = 0;
    let first = findBit(bits, true, this.#nextCluster, count);
    while (first < count && clusters.length < most && comparedBytes < STEP_BYTES) {
      const end = Math.min(
        findBit(bits, false, first, count),
        first + mostInRun,
        first + most - clusters.length,
      );
      const run = { firstCluster: first, count: end - first };
      clusters.push(...(await this.#differing(hold, run)));
      comparedBytes += run.count * clusterSizeBytes;
      this.#nextCluster = end;
      first = findBit(bits, true, end, count);
    }
    return { clusters, complete: first >= count };
  }

  async read(hold: Hold, run: Run, content: Buffer): Promise<readonly bigint[]> {
    const size = hold.catalog.clusterSizeBytes;
    const last = run.firstCluster + run.count - 1;
    const geometry = { sizeBytes: this.record.sizeBytes, clusterSizeBytes: size };
    const lengthBytes = (run.count - 1) * size + clusterLengthBytes(geometry, last);
    const clone = await hold.stores.openClone(hold.catalog, this.record);
    content.fill(0, lengthBytes);
    const got = await clone.read(content.subarray(0, lengthBytes), run.firstCluster * size);
    if (got === lengthBytes) return [];
    throw new SnapError('damage', `${clone.path}: ends too early`, { path: clone.path });
  }

  /** False where a fence was only just made, and the next hold is to begin. */
  async #isFenced(hold: Hold): Promise<boolean> {
    const { snapshots } = hold.catalog;
    const after = snapshots.slice(snapshots.findIndex(({ uuid }) => uuid === this.record.uuid) + 1);
    const fence = findByUuid(hold.catalog, this.#fenceUuid ?? '');
    const next = after[0];
    if (next !== undefined && fence !== undefined && keeps(fence)) {
      this.#after ??= viewOf(hold, next);
      return true;
    }
    this.#nextCluster = 0;
    this.#after = undefined;
    this.#fenceUuid = after.find(keeps)?.uuid;
    if (this.#fenceUuid === undefined) this.#fenceUuid = await this.#makeFence(hold);
    return false;
  }

  async #makeFence(hold: Hold): Promise<string> {
    if (this.#ownFences.length === MOST_FENCES) {
      throw new SnapError(
        'busy',
        `${hold.image}@${this.record.name}: the image is changed outside all the time`,
        {
          path: hold.image,
          hint: 'run snap-gc again when nothing else writes to it',
        },
      );
    }
    const { host } = hold.context;
    const uuid = uuidFromRandom(host.randomBytes(16));
    const { name } = this.record;
    // What is compared with is on disk: else a power loss could change it.
    await hold.origin.syncAll();
    const fence: SnapshotRecord = {
      name,
      uuid,
      number: hold.catalog.nextNumber,
      created: formatTime(host.now()),
      // As large as any snapshot may be, whatever the origin has become.
      sizeBytes: Math.min(hold.originStat.sizeBytes, hold.catalog.clusterSizeBytes * MAX_CLUSTER_COUNT),
      trust: 'valid',
      hidden: true,
      onFull: 'invalidate',
      storePath: `${name}-${uuid.slice(0, 8)}${STORE_SUFFIX}`,
    };
    await addStore(hold, fence, (catalog) => ({
      ...catalog,
      nextNumber: fence.number + 1,
      snapshots: [...catalog.snapshots, fence],
    }));
    this.#ownFences.push(uuid);
    return uuid;
  }

  /** Of a run, the clusters that the clone has otherwise than what is read without it; also those that cannot be told. */
  async #differing(hold: Hold, run: Run): Promise<number[]> {
    const size = hold.catalog.clusterSizeBytes;
    const fence = findByUuid(hold.catalog, this.#fenceUuid ?? '');
    const all = Array.from({ length: run.count }, (_, at) => run.firstCluster + at);
    const after = this.#after;
    if (fence === undefined || after === undefined) return all;
    const wholeBytes = Math.min(fence.sizeBytes, after.record.sizeBytes);
    const startBytes = run.firstCluster * size;
    const clone = await this.#cloneOf(hold, run);
    const view = await this.#viewOf(hold, after, startBytes, Math.min(startBytes + clone.length, wholeBytes));
    return all.filter((_, at) => {
      const mine = clone.subarray(at * size, (at + 1) * size);
      return !mine.equals(view.subarray(at * size, at * size + mine.length));
    });
  }

  async #cloneOf(hold: Hold, run: Run): Promise<Buffer> {
    const size = hold.catalog.clusterSizeBytes;
    const buffer = run.count * size <= RUN_BYTES ? this.#clone : Buffer.allocUnsafe(run.count * size);
    const content = buffer.subarray(0, run.count * size);
    await this.read(hold, run, content);
    return content.subarray(0, Math.min(content.length, this.record.sizeBytes - run.firstCluster * size));
  }

  /** As much as can be read; what a damaged store has is not known, and counts as other. */
  async #viewOf(hold: Hold, after: SnapshotReader, startBytes: number, endBytes: number): Promise<Buffer> {
    const neededBytes = Math.max(after.bufferBytes, 0);
    const buffer = neededBytes <= RUN_BYTES ? this.#view : Buffer.allocUnsafe(neededBytes);
    const pieces: Buffer[] = [];
    try {
      for (let at = startBytes; at < endBytes; ) {
        const run = await after.read(hold, at, endBytes, buffer);
        after.check(run);
        pieces.push(run.data === undefined ? Buffer.alloc(run.lengthBytes) : Buffer.from(run.data));
        at += run.lengthBytes;
      }
    } catch (error) {
      if (!hasCode(error, 'damage')) throw error;
    }
    return pieces.length === 1 ? (pieces[0] ?? Buffer.alloc(0)) : Buffer.concat(pieces);
  }
}

/** Whether what stands behind the clone cannot change without a copy as long as this one is there and trusted. */
function keeps(record: SnapshotRecord): boolean {
  if (record.isClone) return true;
  return record.trust === 'valid' && record.part === undefined && !record.hasCandidates;
}

/** What is read from there on, whatever that snapshot's candidates are. */
function viewOf(hold: Hold, next: SnapshotRecord): SnapshotReader {
  const record = { ...next, hasCandidates: undefined };
  const chain = new Chain(next.uuid, { ignoresCandidates: true });
  return new SnapshotReader(`${hold.image}@${next.name}`, record, hold.catalog.clusterSizeBytes, chain);
}
