/** Loading one thing while the one before it is worked on. */

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
