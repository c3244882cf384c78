/**
 * What images and snapshots are to their user, as simple as can be: whole copies in memory. Beside the bytes it says
 * what a write costs: which clusters are copied, whose limit they count against, who ends when that is reached.
 */

export type ModelTrust = 'valid' | 'modified' | 'invalid';

/** What a store has of a cluster: nothing but a mark, a slot that counts against a limit, or one handed over. */
export type CopyKind = 'zero' | 'own' | 'handed-over';

export interface Limit {
  readonly maxSizeBytes: number;
  readonly onFull: 'invalidate' | 'refuse';
}

export interface ModelSnapshot {
  /** Rises; never used again. */
  readonly number: number;
  readonly name: string;
  /** As the image was, but zero where it is no candidate; meaningless once it is not valid, but for its length. */
  readonly frozen: Buffer;
  readonly limit: Limit | undefined;
  readonly transient: boolean;
  /** It has all of its clusters, and so those before it never come to the image. */
  readonly clone: boolean;
  readonly candidates: ReadonlySet<number>;
  /** What its store may be handed: candidates, and what older ones had not copied yet when it was made. */
  readonly needed: ReadonlySet<number>;
  readonly copied: Map<number, CopyKind>;
  trust: ModelTrust;
  hidden: boolean;
}

export interface ModelExtent {
  readonly offsetBytes: number;
  readonly data: Buffer;
}

export interface ModelWrite extends ModelExtent {
  readonly extend: boolean;
  readonly delta: boolean;
}

export interface WritePlan {
  /** What gets into the image. */
  readonly extents: readonly ModelExtent[];
  readonly failure: 'refused' | 'no-space' | undefined;
  /** Clusters, ascending, that are copied first. */
  readonly missing: readonly number[];
  readonly bytesCopied: number;
  /** Snapshots whose limit ends them. */
  readonly ended: readonly ModelSnapshot[];
  /** The name of the one that receives copies, where any are made and somebody may read it. */
  readonly receiver: string | undefined;
}

const DEFAULT_CLUSTER_BYTES = 65_536;

export class Model {
  image: Buffer;
  clusterSizeBytes = DEFAULT_CLUSTER_BYTES;
  /** In the order of creation. */
  snapshots: ModelSnapshot[] = [];

  constructor(image: Buffer) {
    this.image = image;
  }

  /** Those that have a name. */
  get visible(): ModelSnapshot[] {
    return this.snapshots.filter(({ hidden }) => !hidden);
  }

  create(
    name: string,
    limit: Limit | undefined,
    clusterSizeBytes: number,
    how: {
      readonly number: number;
      readonly transient: boolean;
      readonly clone: boolean;
      readonly isCandidate: (index: number) => boolean;
    },
  ): void {
    const { number, transient, clone, isCandidate } = how;
    if (this.snapshots.length === 0) this.clusterSizeBytes = clusterSizeBytes;
    const frozen = Buffer.from(this.image);
    const candidates = new Set<number>();
    for (let index = 0; index * this.clusterSizeBytes < frozen.length; index += 1) {
      if (isCandidate(index)) candidates.add(index);
      else frozen.subarray(index * this.clusterSizeBytes, (index + 1) * this.clusterSizeBytes).fill(0);
    }
    const previous = this.snapshots.at(-1);
    const inherited = [...(previous?.needed ?? [])].filter((index) => !previous?.copied.has(index));
    this.snapshots.push({
      number,
      name,
      frozen,
      limit,
      transient,
      clone,
      candidates,
      needed: new Set([...candidates, ...inherited]),
      copied: new Map(),
      trust: 'valid',
      hidden: false,
    });
  }

  planWrite(write: ModelWrite): WritePlan {
    const { offsetBytes, data, extend, delta } = write;
    const nothing = { extents: [], missing: [], bytesCopied: 0, ended: [], receiver: undefined };
    const room = extend ? data.length : this.image.length - offsetBytes;
    if (room < 0) return { ...nothing, failure: 'refused' };
    const fitting = data.subarray(0, room);
    const whole = fitting.length === 0 ? [] : [{ offsetBytes, data: fitting }];
    const extents = delta ? this.#differing(offsetBytes, fitting) : whole;
    const tooLong = fitting.length < data.length ? 'refused' : undefined;
    const ended: ModelSnapshot[] = [];
    for (;;) {
      const missing = this.#missing(extents, ended);
      const slots = missing.filter((index) => !this.#isZeroCluster(index));
      const owner = this.snapshots.findLast(
        (it) => isAlive(it) && !it.hidden && !ended.includes(it) && !this.#endsAtClone(it),
      );
      if (!this.#isOverLimit(owner, slots.length) || missing.length === 0) {
        // As long as in the newest snapshot, whose store it is, though the image may be shorter by now.
        const endBytes = this.snapshots.at(-1)?.frozen.length ?? 0;
        const size = this.clusterSizeBytes;
        const bytesCopied = slots.reduce((sum, index) => sum + Math.min(size, endBytes - index * size), 0);
        return {
          extents,
          failure: tooLong,
          missing,
          bytesCopied,
          ended,
          receiver: this.#receiver(missing, ended),
        };
      }
      if (owner?.limit?.onFull === 'refuse') return { ...nothing, ended: [], failure: 'no-space' };
      if (owner !== undefined) ended.push(owner);
    }
  }

  /** Carries out what was planned, before anything else happens. */
  write(plan: WritePlan): void {
    for (const snapshot of plan.ended) snapshot.trust = 'invalid';
    const newest = this.snapshots.at(-1);
    for (const index of plan.missing) newest?.copied.set(index, this.kindOfCopy(index));
    this.image = imageWith(this.image, plan.extents);
  }

  /** What the store would have of this cluster if it were copied now. */
  kindOfCopy(index: number): CopyKind {
    return this.#isZeroCluster(index) ? 'zero' : 'own';
  }

  /** Somebody wrote past core: what was not copied in time is not what it was. */
  changeOutside(image: Buffer): void {
    for (const snapshot of this.snapshots) {
      if (this.#endsAtClone(snapshot)) continue;
      if (image.length < snapshot.frozen.length) snapshot.trust = 'invalid';
      else if (snapshot.trust === 'valid' && this.reachesOrigin(snapshot)) snapshot.trust = 'modified';
    }
    this.image = image;
  }

  /** Transient ones end with the boot. */
  reboot(): void {
    for (const snapshot of this.snapshots) if (snapshot.transient) snapshot.trust = 'invalid';
  }

  /** Whether any cluster of the snapshot is nowhere but in the image. */
  reachesOrigin(snapshot: ModelSnapshot): boolean {
    if (this.#endsAtClone(snapshot)) return false;
    const later = this.snapshots.slice(this.snapshots.indexOf(snapshot));
    for (const index of snapshot.candidates) {
      if (!later.some(({ copied }) => copied.has(index))) return true;
    }
    return false;
  }

  #endsAtClone(snapshot: ModelSnapshot): boolean {
    return this.snapshots.slice(this.snapshots.indexOf(snapshot)).some(({ clone }) => clone);
  }

  /** Whether snapshots that are longer than the image would come to it without this one. */
  keepsLonger(snapshot: ModelSnapshot): boolean {
    if (this.snapshots.findLast(({ clone }) => clone) !== snapshot) return false;
    const before = this.snapshots.slice(0, this.snapshots.indexOf(snapshot));
    const from = before.findLastIndex(({ clone }) => clone) + 1;
    return before.slice(from).some((it) => isAlive(it) && it.frozen.length > this.image.length);
  }

  /**
   * Takes a snapshot away; what it has goes to the next older one where anybody may still read that far back. What goes
   * there of a clone follows from what is different without it; that is left to whoever looks.
   */
  remove(snapshot: ModelSnapshot): void {
    const at = this.snapshots.indexOf(snapshot);
    const older = this.snapshots.slice(0, at);
    const receiver = older.at(-1);
    this.snapshots = this.snapshots.filter((it) => it !== snapshot);
    const behindClone = older.slice(older.findLastIndex(({ clone }) => clone) + 1);
    if (receiver === undefined || !behindClone.some(isAlive)) return;
    for (const [index, kind] of snapshot.copied) {
      const covered = index * this.clusterSizeBytes < receiver.frozen.length;
      if (!covered || !receiver.needed.has(index) || receiver.copied.has(index)) continue;
      receiver.copied.set(index, kind === 'zero' ? 'zero' : 'handed-over');
    }
  }

  #receiver(missing: readonly number[], ended: readonly ModelSnapshot[]): string | undefined {
    const newest = this.snapshots.at(-1);
    if (newest === undefined || missing.length === 0) return undefined;
    return isAlive(newest) && !newest.hidden && !ended.includes(newest) ? newest.name : undefined;
  }

  /** A limit covers the snapshot's own copies and those made later on its account. */
  #isOverLimit(owner: ModelSnapshot | undefined, newSlots: number): boolean {
    if (owner?.limit === undefined || newSlots === 0) return false;
    let slots = newSlots;
    for (const { copied } of this.snapshots.slice(this.snapshots.indexOf(owner))) {
      for (const kind of copied.values()) if (kind === 'own') slots += 1;
    }
    return slots * this.clusterSizeBytes > owner.limit.maxSizeBytes;
  }

  #missing(extents: readonly ModelExtent[], ended: readonly ModelSnapshot[]): number[] {
    const newest = this.snapshots.at(-1);
    if (newest === undefined) return [];
    const alive = this.snapshots.filter((it) => isAlive(it) && !ended.includes(it));
    const neededBytes = Math.max(0, ...alive.map(({ frozen }) => frozen.length));
    const endBytes = Math.min(neededBytes, newest.frozen.length);
    const missing = new Set<number>();
    for (const { offsetBytes, data } of extents) {
      for (let at = offsetBytes; at < Math.min(endBytes, offsetBytes + data.length); ) {
        const index = Math.floor(at / this.clusterSizeBytes);
        if (!newest.copied.has(index)) missing.add(index);
        at = (index + 1) * this.clusterSizeBytes;
      }
    }
    const lacks = (snapshot: ModelSnapshot, index: number) =>
      snapshot.candidates.has(index) &&
      !this.snapshots.slice(this.snapshots.indexOf(snapshot)).some((it) => this.#has(it, index));
    return [...missing].filter((index) => alive.some((it) => lacks(it, index))).sort((a, b) => a - b);
  }

  #has({ clone, frozen, copied }: ModelSnapshot, index: number): boolean {
    return copied.has(index) || (clone && index * this.clusterSizeBytes < frozen.length);
  }

  /** The image's bytes of a cluster of the newest snapshot. */
  #cluster(index: number): Buffer {
    const endBytes = Math.min((index + 1) * this.clusterSizeBytes, this.snapshots.at(-1)?.frozen.length ?? 0);
    return this.image.subarray(index * this.clusterSizeBytes, endBytes);
  }

  #isZeroCluster(index: number): boolean {
    const cluster = this.#cluster(index);
    return cluster.equals(Buffer.alloc(cluster.length));
  }

  #differing(offsetBytes: number, data: Buffer): ModelExtent[] {
    const extents: ModelExtent[] = [];
    // Without a sidecar there are no clusters but those of the default size.
    for (let at = 0; at < data.length; ) {
      const start = offsetBytes + at;
      const end = Math.min(data.length, at + this.clusterSizeBytes - (start % this.clusterSizeBytes));
      const piece = data.subarray(at, end);
      if (!this.image.subarray(start, start + piece.length).equals(piece)) {
        extents.push({ offsetBytes: start, data: piece });
      }
      at = end;
    }
    return extents;
  }
}

export function isAlive(snapshot: ModelSnapshot): boolean {
  return snapshot.trust !== 'invalid';
}

/** `image` with `extents` in it, longer where they reach past its end. */
export function imageWith(image: Buffer, extents: readonly ModelExtent[]): Buffer {
  const endBytes = extents.reduce((end, it) => Math.max(end, it.offsetBytes + it.data.length), image.length);
  const result = Buffer.alloc(endBytes);
  image.copy(result);
  for (const { offsetBytes, data } of extents) data.copy(result, offsetBytes);
  return result;
}
