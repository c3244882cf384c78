/**
 * Handing over: before a snapshot is removed, what older ones still read through its store goes into the next older
 * store, batch by batch under the lock, each cluster checked against its hash on the way.
 */
import { bitmapBytes } from '../base/bitmap.ts';
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
import { readOrAll } from './candidates.ts';
import type { Donor, Lacking } from './donor.ts';
import type { Hold } from './hold.ts';
import { closeReceiver } from './like-image.ts';

export interface HandOverStep {
  readonly bytes: number;
  /** Nothing is left that the receiver lacks. */
  readonly complete: boolean;
}

function removeBits(bits: Buffer, which: Buffer): void {
  for (let at = 0; at < bits.length; at += 1) bits[at] = (bits[at] ?? 0) & ~(which[at] ?? 0);
}

export class HandOver {
  readonly #donor: Donor;
  readonly #receiver: SnapshotRecord;
  readonly #pace: Pace;
  #target: AppendTarget | undefined;
  #stamp = '';

  constructor(donor: Donor, receiver: SnapshotRecord, pace: Pace = PACE) {
    this.#donor = donor;
    this.#receiver = receiver;
    this.#pace = pace;
  }

  /** What the receiver has, once it was repaired. */
  get target(): AppendTarget | undefined {
    return this.#target;
  }

  /**
   * Hands over one batch, a longer one while nobody else wants the lock.
   * @throws `damage` of the donor; whatever the receiver's disk says
   */
  async step(hold: Hold, isWantedByOthers: boolean): Promise<HandOverStep> {
    await hold.ensureOpen();
    hold.stores.pin('receiver', this.#receiver.uuid);
    const target = await this.#repairedTarget(hold);
    const { batchBytes, aloneBytes = batchBytes } = this.#pace;
    const mostBytes = isWantedByOthers ? batchBytes : aloneBytes;
    const mostCount = Math.max(1, Math.floor(mostBytes / hold.catalog.clusterSizeBytes));
    const lacking = await this.#lacking(hold, target);
    const { clusters, complete } = await this.#donor.find(hold, lacking, mostCount);
    if (clusters.length === 0) return { bytes: 0, complete };
    const batch = await this.#begin(hold, clusters, target.flushRecord.made.batch);
    const append = await AppendBatch.start(target, {
      batch,
      handedOver: true,
      flushAheadBytes: this.#pace.flushAheadBytes,
      durable: true,
    });
    await append.add(clusters, (run, content) => this.#content(hold, target, run, content));
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

  /**
   * What the receiver covers, needs and lacks, as far as the donor covers it. A part gets nothing that stands between its
   * snapshot and itself: nobody would read it there, until what hid it is removed and finds that it has it already.
   */
  async #lacking(hold: Hold, target: AppendTarget): Promise<Lacking> {
    const geometry = (record: SnapshotRecord) => ({
      sizeBytes: record.sizeBytes,
      clusterSizeBytes: hold.catalog.clusterSizeBytes,
    });
    const count = Math.min(
      clusterCount(geometry(this.#donor.record)),
      clusterCount(geometry(this.#receiver)),
    );
    const bits = Buffer.alloc(Math.ceil(count / 8));
    await readOrAll(hold, this.#receiver, 'needed', { target: bits, firstByte: 0 });
    removeBits(bits, target.bitmap.bits);
    const { snapshots } = hold.catalog;
    const [first = this.#receiver] = filesOfSame(hold.catalog, this.#receiver);
    const end = snapshots.findIndex(({ uuid }) => uuid === this.#receiver.uuid);
    for (const record of snapshots.slice(snapshots.indexOf(first), end)) {
      const there = Buffer.alloc(Math.min(bits.length, bitmapBytes(clusterCount(geometry(record)))));
      await hold.readBits(record, there, 0);
      removeBits(bits, there);
    }
    return { bits, count };
  }

  /**
   * Adjacent clusters as the receiver must have them: the last one cut, or filled up with zeros that nobody reads, to its
   * own size. What is the same in both has the hash that it was checked against.
   */
  async #content(hold: Hold, target: AppendTarget, run: Run, content: Buffer): Promise<RunContent> {
    const size = hold.catalog.clusterSizeBytes;
    const last = run.firstCluster + run.count - 1;
    const lastBytes = clusterLengthBytes(target.store.identity, last);
    const donorSize = { sizeBytes: this.#donor.record.sizeBytes, clusterSizeBytes: size };
    const hashes = await this.#donor.read(hold, run, content);
    const sameCount = lastBytes === clusterLengthBytes(donorSize, last) ? run.count : run.count - 1;
    return {
      content: content.subarray(0, (run.count - 1) * size + lastBytes),
      hashes: hashes.slice(0, sameCount),
    };
  }
}
