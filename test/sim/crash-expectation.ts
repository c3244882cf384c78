/**
 * What must be true of an image and its snapshots, whatever crashes: the bytes that are known, the bytes that a write
 * not acknowledged may have reached, and the snapshots that exist, or may.
 */

export interface Range {
  readonly startBytes: number;
  readonly endBytes: number;
}

export interface ExpectedSnapshot {
  readonly bytes: Buffer;
  /** False while its creation or removal is not acknowledged: it may be there or not, and if it is, it is right. */
  certain: boolean;
  /** What ends it where there is no place for a copy: never, at its limit, or only a full disk. */
  readonly ends: 'never' | 'limit' | 'full';
  /** With the boot it ends. */
  readonly transient: boolean;
  /** It may be marked as not to be trusted any more; if it is trusted, it is right. */
  mayEnd: boolean;
  /** It was acknowledged that it is marked: it stays so. */
  ended: boolean;
}

/** A snapshot whose creation has begun. */
export function newSnapshot(
  bytes: Buffer,
  ends: ExpectedSnapshot['ends'] = 'full',
  transient = false,
): ExpectedSnapshot {
  return { bytes: Buffer.from(bytes), certain: false, ends, transient, mayEnd: false, ended: false };
}

/** The snapshots that are listed, and those of them that are not to be trusted. */
export interface Found {
  readonly names: ReadonlySet<string>;
  readonly ended: ReadonlySet<string>;
}

export class Expectation {
  /** What the origin holds now, as every process sees it. */
  image: Buffer;
  /** What was flushed: bytes outside `dirty` are these after any crash. */
  #flushed: Buffer;
  readonly #dirty: Range[] = [];
  #sizes: number[];
  /** A flush of the origin failed: what was not flushed before may read as anything until it is written again. */
  #isLost = false;
  readonly snapshots = new Map<string, ExpectedSnapshot>();

  constructor(image: Buffer) {
    this.image = Buffer.from(image);
    this.#flushed = Buffer.from(image);
    this.#sizes = [image.length];
  }

  /** A write has begun: until it is flushed, its bytes may be anything after a power loss. */
  touch(range: Range): void {
    this.#dirty.push(range);
    this.#sizes.push(Math.max(this.image.length, range.endBytes));
  }

  /** A write through copy-on-write has begun, on a disk that is full or not. */
  mayEndByWrite(isFull: boolean): void {
    for (const snapshot of this.snapshots.values()) {
      if (snapshot.ends === 'limit' || (snapshot.ends === 'full' && isFull)) snapshot.mayEnd = true;
    }
  }

  /** Every process sees that from now on. */
  write(offsetBytes: number, data: Buffer): void {
    if (data.length === 0) return;
    const image = Buffer.alloc(Math.max(this.image.length, offsetBytes + data.length));
    this.image.copy(image);
    data.copy(image, offsetBytes);
    this.image = image;
  }

  /** The origin was flushed as it is. */
  flush(): void {
    this.#flushed = Buffer.from(this.image);
    this.#dirty.length = 0;
    this.#sizes = [this.image.length];
    this.#isLost = false;
  }

  /** A flush of the origin failed. */
  lose(): void {
    this.#isLost = this.#dirty.length > 0;
  }

  /** What must be written again before anything else can be relied on. */
  get lost(): Range | undefined {
    if (!this.#isLost) return undefined;
    const startBytes = Math.min(...this.#dirty.map((range) => range.startBytes));
    return { startBytes, endBytes: Math.max(...this.#dirty.map((range) => range.endBytes)) };
  }

  /** Those snapshots are there, and no others: who changed something has made durable what it found. */
  settle({ names, ended }: Found): void {
    for (const [name, snapshot] of this.snapshots) {
      if (!names.has(name)) this.snapshots.delete(name);
      snapshot.certain = true;
      snapshot.ended = ended.has(name);
      snapshot.mayEnd = snapshot.ended;
    }
  }

  #isDirty(offsetBytes: number): boolean {
    return this.#dirty.some(
      ({ startBytes, endBytes }) => offsetBytes >= startBytes && offsetBytes < endBytes,
    );
  }

  /** Undefined, or what of the origin cannot be so after a power loss. */
  wrongAfterCrash(found: Buffer): string | undefined {
    const least = Math.min(...this.#sizes);
    const most = Math.max(...this.#sizes);
    if (found.length < least || found.length > most)
      return `the origin has ${found.length} bytes, not ${least} to ${most}`;
    for (let at = 0; at < found.length; at += 1) {
      if (found[at] === (this.#flushed[at] ?? 0)) continue;
      if (this.#isDirty(at)) continue;
      return `byte ${at} of the origin changed, and no unacknowledged write covers it`;
    }
    return undefined;
  }

  /** After a write that did not end: each byte is the old or the new one. Learns what it is. */
  learnAfterKill(
    found: Buffer,
    written: { readonly offsetBytes: number; readonly data: Buffer } | undefined,
  ): string | undefined {
    for (let at = 0; at < found.length; at += 1) {
      const fresh = written?.data[at - written.offsetBytes];
      const inside = written !== undefined && at >= written.offsetBytes && fresh !== undefined;
      if (found[at] === (this.image[at] ?? 0) || (inside && found[at] === fresh)) continue;
      if (this.#isLost && this.#isDirty(at)) continue;
      return `byte ${at} of the origin is neither old nor new`;
    }
    if (found.length < this.image.length) return 'the origin became shorter';
    this.image = Buffer.from(found);
    return undefined;
  }

  /** After a power loss, what is there is flushed. */
  learnAfterCrash(found: Buffer): Expectation {
    const next = new Expectation(found);
    for (const [name, snapshot] of this.snapshots) {
      const ends = snapshot.transient && { mayEnd: true, ended: true };
      next.snapshots.set(name, { ...snapshot, ...ends });
    }
    return next;
  }
}
