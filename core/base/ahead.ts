/** Loading one thing while the one before it is worked on, and the buffers for that. */

/** How much is read, hashed or written at a time, unless a cluster is larger. */
export const RUN_BYTES = 1 << 20;

/**
 * What `load` makes of each item, in order; each is begun when the one before it is handed out. When the caller stops,
 * for whatever reason, nothing is under way any more.
 */
export async function* aheadOf<Item, Loaded>(
  items: Iterable<Item>,
  load: (item: Item) => Promise<Loaded>,
): AsyncGenerator<Loaded> {
  const iterator = items[Symbol.iterator]();
  const start = () => {
    const next = iterator.next();
    return next.done === true ? undefined : { loaded: observed(load(next.value)) };
  };
  let current = start();
  try {
    while (current !== undefined) {
      const loaded = await current.loaded;
      current = start();
      yield loaded;
    }
  } finally {
    await Promise.allSettled([current?.loaded]);
  }
}

/** A promise whose failure is met later: until then it is not unhandled. */
export function observed<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}

/** Room for three runs, used again and again: one is being read, one hashed, one written. */
export class RunBuffers {
  readonly #buffers: Buffer[] = [];
  #turn = 0;

  /** What was given out three calls ago is given out again. */
  take(lengthBytes: number): Buffer {
    this.#turn = (this.#turn + 1) % 3;
    let buffer = this.#buffers[this.#turn];
    if (buffer === undefined || buffer.length < lengthBytes) {
      buffer = Buffer.allocUnsafeSlow(Math.max(RUN_BYTES, lengthBytes));
      this.#buffers[this.#turn] = buffer;
    }
    return buffer.subarray(0, lengthBytes);
  }
}
