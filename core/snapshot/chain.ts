/**
 * The chain: the content of a cluster in a snapshot is in the first store, from the snapshot's own to the newest,
 * that has the cluster, else in the origin. That is why a write costs one copy however many snapshots there are. For a
 * cluster that is no candidate of the snapshot, the chain is not asked.
 *
 * Bitmaps of long chains are read in windows, so that memory does not grow with the image or the chain.
 */
import { findBit, getBit } from '../base/bitmap.ts';
import { SnapError } from '../base/errors.ts';
import { ownerUuid, type SnapshotRecord } from '../store/catalog.ts';
import { clusterCount } from '../store/layout.ts';
import { readCandidates } from './candidates.ts';
import type { Hold } from './hold.ts';
import { FROM_CLONE, FROM_ORIGIN, NO_CANDIDATE, UNKNOWN_SOURCE } from './run-planner.ts';

const WINDOW_BYTES = 4096;
const WINDOW_CLUSTERS = WINDOW_BYTES * 8;

interface Window {
  readonly stamp: string;
  readonly firstCluster: number;
  /** What the sealed stores say; the newest is laid over it each time. */
  readonly sources: Int16Array;
  readonly broken: SnapError | undefined;
  /** The snapshot whose store is broken: only other files of it may still answer. */
  readonly brokenOwner: string | undefined;
}

export class Chain {
  readonly #uuid: string;
  readonly #ignoresCandidates: boolean;
  #window: Window | undefined;
  /** Why sources are unknown, where some are. */
  broken: SnapError | undefined;

  /** @param options `ignoresCandidates`: as older snapshots read through it, whatever its own candidates are */
  constructor(snapshotUuid: string, options: { readonly ignoresCandidates?: boolean } = {}) {
    this.#uuid = snapshotUuid;
    this.#ignoresCandidates = options.ignoresCandidates ?? false;
  }

  /** Sources, as indexes into the catalog's list, of `count` clusters from `firstCluster` on, or of as many as one window has. */
  async resolve(hold: Hold, firstCluster: number, count: number): Promise<Int16Array> {
    const { snapshots } = hold.catalog;
    const own = snapshots.findIndex(({ uuid }) => uuid === this.#uuid);
    const windowStart = firstCluster - (firstCluster % WINDOW_CLUSTERS);
    const window = await this.#sealedWindow(hold, own, windowStart);
    this.broken = window.broken;
    const at = firstCluster - windowStart;
    const sources = window.sources.slice(at, Math.min(at + count, WINDOW_CLUSTERS));
    const newest = snapshots.length - 1;
    const record = snapshots[newest];
    if (record && mayAnswer(record, window.brokenOwner))
      await this.#overlayNewest(hold, { sources, firstCluster, newest });
    if (this.broken !== undefined) {
      for (const [index, source] of sources.entries())
        if (source === FROM_ORIGIN) sources[index] = UNKNOWN_SOURCE;
    }
    return sources;
  }

  async #overlayNewest(
    hold: Hold,
    over: { readonly sources: Int16Array; readonly firstCluster: number; readonly newest: number },
  ): Promise<void> {
    const { sources, firstCluster, newest } = over;
    if (!sources.includes(FROM_ORIGIN)) return;
    try {
      const active = await hold.active();
      if (active === undefined) return;
      for (let index = 0; index < sources.length; index += 1) {
        if (sources[index] === FROM_ORIGIN && getBit(active.bitmap.bits, firstCluster + index)) {
          sources[index] = newest;
        }
      }
      const record = hold.catalog.snapshots[newest];
      if (record?.isClone) await endAtClone(hold, newest, { sources, firstCluster });
    } catch (error) {
      this.broken ??= brokenBy(error);
    }
  }

  async #sealedWindow(hold: Hold, own: number, firstCluster: number): Promise<Window> {
    const stamp = hold.sealedStamp;
    if (this.#window?.stamp === stamp && this.#window.firstCluster === firstCluster) return this.#window;
    const { snapshots, clusterSizeBytes } = hold.catalog;
    const sources = new Int16Array(WINDOW_CLUSTERS).fill(FROM_ORIGIN);
    const remaining = Buffer.alloc(WINDOW_BYTES, 0xff);
    const bits = Buffer.alloc(WINDOW_BYTES);
    let broken = await this.#leaveCandidates(hold, own, firstCluster, { sources, remaining });
    let brokenOwner: string | undefined;
    for (let index = own; index < snapshots.length - 1; index += 1) {
      const record = snapshots[index] as SnapshotRecord;
      if (!mayAnswer(record, brokenOwner)) continue;
      const geometry = { sizeBytes: record.sizeBytes, clusterSizeBytes };
      const inWindow = Math.min(clusterCount(geometry) - firstCluster, WINDOW_CLUSTERS);
      try {
        // One that is too short to have any of these must be that short by its own header too.
        if (inWindow <= 0) await hold.stores.open(hold.catalog, record);
        else await hold.readBits(record, bits.subarray(0, Math.ceil(inWindow / 8)), firstCluster / 8);
      } catch (error) {
        broken ??= brokenBy(error);
        brokenOwner = ownerUuid(record);
        continue;
      }
      if (inWindow <= 0) continue;
      for (let at = 0; at < Math.ceil(inWindow / 8); at += 1)
        bits[at] = (bits[at] ?? 0) & (remaining[at] ?? 0);
      for (
        let bit = findBit(bits, true, 0, inWindow);
        bit < inWindow;
        bit = findBit(bits, true, bit + 1, inWindow)
      ) {
        sources[bit] = index;
        remaining[bit >>> 3] = (remaining[bit >>> 3] ?? 0) & ~(1 << (bit & 7));
      }
      if (!record.isClone) continue;
      try {
        await endAtClone(hold, index, { sources, firstCluster });
        remaining.fill(0, 0, Math.floor(inWindow / 8));
        if (inWindow % 8 !== 0)
          remaining[inWindow >>> 3] = (remaining[inWindow >>> 3] ?? 0) & (0xff << (inWindow % 8));
      } catch (error) {
        broken ??= brokenBy(error);
        brokenOwner = ownerUuid(record);
      }
    }
    this.#window = { stamp, firstCluster, sources, broken, brokenOwner };
    return this.#window;
  }

  /** Keeps only candidates in `remaining`, or none, and returns why, where these cannot be told. */
  async #leaveCandidates(
    hold: Hold,
    own: number,
    firstCluster: number,
    window: { readonly sources: Int16Array; readonly remaining: Buffer },
  ): Promise<SnapError | undefined> {
    const { snapshots, clusterSizeBytes } = hold.catalog;
    const record = snapshots[own];
    if (!record?.hasCandidates || this.#ignoresCandidates) return undefined;
    const { sources, remaining } = window;
    const count = Math.min(clusterCount({ ...record, clusterSizeBytes }) - firstCluster, WINDOW_CLUSTERS);
    try {
      await readCandidates(hold, record, remaining.subarray(0, Math.ceil(count / 8)), firstCluster / 8);
    } catch (error) {
      // Nobody may answer: what a store has may be for another snapshot alone.
      sources.fill(UNKNOWN_SOURCE);
      remaining.fill(0);
      return brokenBy(error);
    }
    const next = (from: number) => findBit(remaining, false, from, count);
    for (let bit = next(0); bit < count; bit = next(bit + 1)) sources[bit] = NO_CANDIDATE;
    return undefined;
  }
}

/** A clone has every cluster of its snapshot: what no store before it has is there. */
async function endAtClone(
  hold: Hold,
  index: number,
  window: { readonly sources: Int16Array; readonly firstCluster: number },
): Promise<void> {
  const record = hold.catalog.snapshots[index] as SnapshotRecord;
  await hold.stores.openClone(hold.catalog, record);
  const { sources, firstCluster } = window;
  const count = clusterCount({ ...record, clusterSizeBytes: hold.catalog.clusterSizeBytes }) - firstCluster;
  for (let at = 0; at < Math.min(count, sources.length); at += 1) {
    if (sources[at] === FROM_ORIGIN) sources[at] = FROM_CLONE + index;
  }
}

/**
 * Behind a store that cannot be read only other files of the same snapshot may have a cluster for certain: no cluster is
 * in two of them.
 */
function mayAnswer(record: SnapshotRecord, brokenOwner: string | undefined): boolean {
  return brokenOwner === undefined || ownerUuid(record) === brokenOwner;
}

/** Whatever is wrong with a store of the chain, it is damage to the snapshots that read through it (invariant 3). */
function brokenBy(error: unknown): SnapError {
  if (!(error instanceof SnapError)) throw error;
  if (error.code !== 'not-found') return error;
  return new SnapError('damage', error.message, { path: error.path, hint: error.hint, cause: error });
}
