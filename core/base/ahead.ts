/** Loading one thing while the one before it is worked on. */

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
