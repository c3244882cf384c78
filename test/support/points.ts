/**
 * Of the points at which real commands are stopped, each test run tries some, another choice each time: every one of them
 * takes seconds. `npm run test:points` tries all. A failure's title
 * names its point.
 */
import { mulberry32 } from '../sim/memory-host.ts';

/** About a third of them, at least one, in their order. */
export function somePoints<T>(all: readonly T[]): readonly T[] {
  if (process.env.IMGSNAP_POINTS === 'all') return all;
  const random = mulberry32(Number(process.env.IMGSNAP_SEED ?? Math.floor(Math.random() * 2 ** 31)));
  const left = [...all.keys()];
  while (left.length > Math.ceil(all.length / 3)) left.splice(random() % left.length, 1);
  return all.filter((_, index) => left.includes(index));
}
