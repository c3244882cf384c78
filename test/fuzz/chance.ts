/** Choices by chance that come again from their seed, in the few forms that generators and mutators want. */
import { mulberry32 } from '../sim/memory-host.ts';

export class Chance {
  readonly #next: () => number;

  constructor(seed: number) {
    this.#next = mulberry32(seed);
  }

  /** From 0 to below `count`. */
  below(count: number): number {
    return this.#next() % count;
  }

  /** True once in `count`. */
  once(count: number): boolean {
    return this.below(count) === 0;
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new Error('nothing to choose from');
    return item;
  }

  bytes(count: number): Buffer {
    return Buffer.from(Array.from({ length: count }, () => this.below(256)));
  }
}

/** A list with one item left out, put in, doubled, moved or changed: how every input with a list in it is mutated. */
export function mutateList<T>(
  list: readonly T[],
  chance: Chance,
  make: () => T,
  change: (item: T) => T,
): T[] {
  const copy = [...list];
  const at = chance.below(copy.length + 1);
  const item = copy[at];
  const what = chance.below(8);
  if (item === undefined || what < 3) copy.splice(at, 0, make());
  else if (what === 3) copy.splice(at, 1);
  else if (what === 4) copy.splice(chance.below(copy.length), 0, item);
  else copy[at] = change(item);
  return copy;
}

/** Every list that is one item shorter: from the longest inputs to the shortest that still shows something. */
export function* shorter<T>(list: readonly T[]): Generator<T[]> {
  for (let at = 0; at < list.length; at += 1) yield list.filter((_, index) => index !== at);
}
