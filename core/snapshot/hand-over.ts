/**
 * Handing over: before a snapshot is removed, what older ones still read through its store goes into the next older
 * store, batch by batch under the lock, each cluster checked against its hash on the way.
 */
import { RunBuffers } from '../base/ahead.ts';
import { findBit } from '../base/bitmap.ts';
import {
  AppendBatch,
  type AppendTarget,
  PACE,
  type Pace,
  type Run,
  type RunContent,
} from '../store/append.ts';
import { filesOfSame, type SnapshotRecord } from '../store/catalog.ts';
import { clusterCount, clusterLengthBytes } from '../store/layout.ts';
import { assess, repairStore } from '../store/proof.ts';
import { ClusterDamage, readClusters, verifyChecks } from '../store/read-clusters.ts';
import type { StoreFile } from '../store/store-file.ts';
import { readOrAll } from './candidates.ts';
import type { Hold } from './hold.ts';
import { closeReceiver } from './like-image.ts';
import { clusterDamaged } from './snapshot-reader.ts';

export interface HandOverStep {
  readonly bytes: number;
  /** Nothing is left that the receiver lacks. */
  readonly complete: boolean;
}

function removeBits(bits: Buffer, which: Buffer): void {
  for (let at = 0; at < bits.length; at += 1) bits[at] = (bits[at] ?? 0) & ~(which[at] ?? 0);
}

export class HandOver {
  readonly #donor: SnapshotRecord;
  readonly #receiver: SnapshotRecord;
  readonly #pace: Pace;
  readonly #buffers = new RunBuffers();
  #target: AppendTarget | undefined;
  #stamp = '';

  constructor(donor: SnapshotRecord, receiver: SnapshotRecord, pace: Pace = PACE) {
    this.#donor = donor;
    this.#receiver = receiver;
    this.#pace = pace;
  }

  /** What the receiver has, once it was repaired. */
  get target(): AppendTarget | undefined {
    return this.#target;
  }

  /** Hands over one batch. @throws `damage` of the donor; whatever the receiver's disk says */
  async step(hold: Hold): Promise<HandOverStep> {
    await hold.ensureOpen();
    hold.stores.pin('donor', this.#donor.uuid);
    hold.stores.pin('receiver', this.#receiver.uuid);
    const donor = await hold.stores.open(hold.catalog, this.#donor);
    const target = await this.#repairedTarget(hold);
    const mostCount = Math.max(1, Math.floor(this.#pace.batchBytes / hold.catalog.clusterSizeBytes));
    const missing = await this.#missing(hold, target, mostCount + 1);
    const complete = missing.length <= mostCount;
    const now = complete ? missing : missing.slice(0, mostCount);
    if (now.length === 0) return { bytes: 0, complete };
    const batch = await this.#begin(hold, now, target.flushRecord.made.batch);
    const append = await AppendBatch.start(target, {
      batch,
      handedOver: true,
      flushAheadBytes: this.#pace.flushAheadBytes,
      durable: true,
    });
    await append.add(
      now,
      (run, content) => this.#content(hold, { donor, target, run, content }),
      this.#buffers,
    );
    // Before its bits are set: cleared by a repair that does not end, it would leave bits without entries.
    await append.publish(() => hold.noteHandedOver());
    // Nobody else looks after this store's bits: they are on disk before anything ends that tells of them.
    await target.store.flush();
    await hold.finish();
    this.#stamp = hold.sealedStamp;
    return { bytes: append.bytesCopied, complete };
  }

  /** Before the first batch, and again if a repair came between, the receiver is repaired: its bits must be right. */
  async #repairedTarget(hold: Hold): Promise<AppendTarget> {
    if (this.#target !== undefined && this.#stamp === hold.sealedStamp) return this.#target;
    const store = await hold.stores.open(hold.catalog, this.#receiver);
    await closeReceiver(hold, store);
    const assessment = await assess(store, hold.suspicion(this.#receiver));
    const batch = await this.#begin(hold, [], assessment.newestBatch);
    const flushRecord = await repairStore(store, assessment, batch);
    await hold.finish();
    this.#target = { store, bitmap: assessment.bitmap, flushRecord };
    this.#stamp = hold.sealedStamp;
    return this.#target;
  }

  #begin(hold: Hold, clusters: readonly number[], above: number): Promise<number> {
    const [firstCluster, lastCluster] = [clusters[0] ?? 0, clusters.at(-1) ?? 0];
    return hold.begin(
      { storeUuid: this.#receiver.uuid, firstCluster, lastCluster, writesOrigin: false },
      above,
    );
  }

  /** Clusters, at most `most`, that the donor has, and the receiver's snapshot lacks in all its files, covers and needs. */
  async #missing(hold: Hold, target: AppendTarget, most: number): Promise<number[]> {
    const geometry = (record: SnapshotRecord) => ({
      sizeBytes: record.sizeBytes,
      clusterSizeBytes: hold.catalog.clusterSizeBytes,
    });
    const count = Math.min(clusterCount(geometry(this.#donor)), clusterCount(geometry(this.#receiver)));
    const bits = Buffer.alloc(Math.ceil(count / 8));
    await hold.readBits(this.#donor, bits, 0);
    removeBits(bits, target.bitmap.bits);
    const there = Buffer.alloc(bits.length);
    await readOrAll(hold, this.#receiver, 'needed', { target: there, firstByte: 0 });
    for (let at = 0; at < bits.length; at += 1) bits[at] = (bits[at] ?? 0) & (there[at] ?? 0);
    for (const record of filesOfSame(hold.catalog, this.#receiver)) {
      if (record.uuid === this.#receiver.uuid) continue;
      await hold.readBits(record, there, 0);
      removeBits(bits, there);
    }
    const missing: number[] = [];
    for (let bit = findBit(bits, true, 0, count); bit < count && missing.length < most; ) {
      missing.push(bit);
      bit = findBit(bits, true, bit + 1, count);
    }
    return missing;
  }

  /**
   * Adjacent clusters as the receiver must have them: the last one cut, or filled up, to its own size. What is the same in
   * both has the hash that it was checked against.
   */
  async #content(
    hold: Hold,
    work: {
      readonly donor: StoreFile;
      readonly target: AppendTarget;
      readonly run: Run;
      readonly content: Buffer;
    },
  ): Promise<RunContent> {
    const { donor, target, run, content } = work;
    const { firstCluster, count } = run;
    const size = hold.catalog.clusterSizeBytes;
    // Zeros where the donor's last cluster is shorter than the receiver's: nobody alive reads them.
    const last = firstCluster + count - 1;
    const lastBytes = clusterLengthBytes(target.store.identity, last);
    const donorLastBytes = clusterLengthBytes(donor.identity, last);
    content.fill(0, (count - 1) * size + donorLastBytes);
    try {
      const checks = await readClusters(donor, run, content);
      verifyChecks(checks);
      const sameCount = lastBytes === donorLastBytes ? count : count - 1;
      const hashes = checks.slice(0, sameCount).map(({ hash }) => hash);
      return { content: content.subarray(0, (count - 1) * size + lastBytes), hashes };
    } catch (error) {
      if (!(error instanceof ClusterDamage)) throw error;
      throw clusterDamaged(`${hold.image}@${this.#donor.name}`, size, error);
    }
  }
}
