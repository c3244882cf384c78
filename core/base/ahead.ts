/** Loading one thing while the one before it is worked on, and the buffers for that. */

import { pageAligned } from './page-aligned.ts';

/** How much is read, hashed or written at a time, unless a cluster is larger. */
export const RUN_BYTES = 1 << 20;

/**
 * What `load` makes of each item, in order; `depth` items are under way while one is worked on, and the next is asked for
 * when one is handed out. When the caller stops, for whatever reason, nothing is under way any more.
 */
export async function* aheadOf<Item, Loaded>(
  items: Iterable<Item> | AsyncIterable<Item>,
  load: (item: Item) => Promise<Loaded>,
  depth = 1,
): AsyncGenerator<Loaded> {
  const iterator = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
  const underWay: Promise<Loaded>[] = [];
  const start = async () => {
    const next = await iterator.next();
    if (next.done !== true) underWay.push(observed(load(next.value)));
  };
  try {
    for (let count = 0; count < depth; count += 1) await start();
    for (let first = underWay.shift(); first !== undefined; first = underWay.shift()) {
      const loaded = await first;
      await start();
      yield loaded;
    }
  } finally {
    await Promise.allSettled([...underWay, iterator.return?.()]);
  }
}

/** A promise whose failure is met later: until then it is not unhandled. */
export function observed<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}

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
 * Buffers for one piece of work after the other. A command that goes through hundreds of stores would otherwise hold those
 * of many, until somebody collects the garbage.
 */
export class BufferPool {
  readonly #idle: RunBuffers[] = [];
  readonly #make: () => RunBuffers;

  constructor(count: number, leastBytes: number) {
    this.#make = () => new RunBuffers(count, leastBytes);
  }

  /** Runs `work`, which must have nothing under way in the buffers any more when it ends, however it ends. */
  async lend<T>(work: (buffers: RunBuffers) => Promise<T>): Promise<T> {
    const buffers = this.#idle.pop() ?? this.#make();
    try {
      return await work(buffers);
    } finally {
      this.#idle.push(buffers);
    }
  }
}
