/** Memory that is used again and again: what is large costs more to get than to fill, and is given back late. */
import { pageAligned } from './page-aligned.ts';

/** Room for a few runs, used again and again: page-aligned, for the reason that `page-aligned.ts` gives. */
export class RunBuffers {
  readonly #buffers: Buffer[] = [];
  readonly #count: number;
  readonly #leastBytes: number;
  #turn = 0;

  /** @param leastBytes how large the buffers are, unless more is asked for */
  constructor(count: number, leastBytes: number) {
    this.#count = count;
    this.#leastBytes = leastBytes;
  }

  /** What was given out `count` calls ago is given out again. */
  take(lengthBytes: number): Buffer {
    this.#turn = (this.#turn + 1) % this.#count;
    let buffer = this.#buffers[this.#turn];
    if (buffer === undefined || buffer.length < lengthBytes) {
      buffer = pageAligned(Math.max(this.#leastBytes, lengthBytes));
      this.#buffers[this.#turn] = buffer;
    }
    return buffer.subarray(0, lengthBytes);
  }
}

/**
 * What one piece of work after the other needs. A command that goes through hundreds of stores would otherwise hold that of
 * many, until somebody collects the garbage.
 */
export class Pool<Lent> {
  readonly #idle: Lent[] = [];
  readonly #make: () => Lent;

  constructor(make: () => Lent) {
    this.#make = make;
  }

  /** Runs `work`, which must have nothing under way in what it is lent any more when it ends, however it ends. */
  async lend<Result>(work: (lent: Lent) => Promise<Result>): Promise<Result> {
    const lent = this.#idle.pop() ?? this.#make();
    try {
      return await work(lent);
    } finally {
      this.#idle.push(lent);
    }
  }
}
