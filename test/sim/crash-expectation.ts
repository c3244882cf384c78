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
}

export class Expectation {
  /** What the origin holds now, as every process sees it. */
  image: Buffer;
  /** What was flushed: bytes outside `dirty` are these after any crash. */
  #flushed: Buffer;
  readonly #dirty: Range[] = [];
  #sizes: number[];
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

  /** The origin was flushed as it is. */
  flush(): void {
    this.#flushed = Buffer.from(this.image);
    this.#dirty.length = 0;
    this.#sizes = [this.image.length];
  }

  /** Those snapshots are there, and no others: who changed something has made durable what it found. */
  settle(found: ReadonlySet<string>): void {
    for (const [name, snapshot] of this.snapshots) {
      if (found.has(name)) snapshot.certain = true;
      else this.snapshots.delete(name);
    }
  }

  /** Undefined, or what of the origin cannot be so after a power loss. */
  wrongAfterCrash(found: Buffer): string | undefined {
    const least = Math.min(...this.#sizes);
    const most = Math.max(...this.#sizes);
    if (found.length < least || found.length > most)
      return `the origin has ${found.length} bytes, not ${least} to ${most}`;
    for (let at = 0; at < found.length; at += 1) {
      if (found[at] === (this.#flushed[at] ?? 0)) continue;
      if (this.#dirty.some(({ startBytes, endBytes }) => at >= startBytes && at < endBytes)) continue;
      return `byte ${at} of the origin changed, and no unacknowledged write covers it`;
    }
    return undefined;
  }

  /** After a killed write: each byte is the old or the new one. Learns what it is. */
  learnAfterKill(
    found: Buffer,
    written: { readonly offsetBytes: number; readonly data: Buffer } | undefined,
  ): string | undefined {
    for (let at = 0; at < found.length; at += 1) {
      const fresh = written?.data[at - written.offsetBytes];
      const inside = written !== undefined && at >= written.offsetBytes && fresh !== undefined;
      if (found[at] === (this.image[at] ?? 0) || (inside && found[at] === fresh)) continue;
      return `byte ${at} of the origin is neither old nor new`;
    }
    if (found.length < this.image.length) return 'the origin became shorter';
    this.image = Buffer.from(found);
    return undefined;
  }

  /** After a power loss, what is there is flushed. */
  learnAfterCrash(found: Buffer): Expectation {
    const next = new Expectation(found);
    for (const [name, snapshot] of this.snapshots) next.snapshots.set(name, { ...snapshot });
    return next;
  }
}
