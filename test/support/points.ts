/**
 * Of the points at which real commands are stopped, each test run tries some, another choice each time: every one of them
 * takes seconds. `npm run test:points` tries all. A failure's title
 * names its point.
 */

/** About a third of them, at least one, in their order. */
export function somePoints<T>(all: readonly T[]): readonly T[] {
  if (process.env.IMGSNAP_POINTS === 'all') return all;
  const left = [...all.keys()];
  while (left.length > Math.ceil(all.length / 3)) left.splice(Math.floor(Math.random() * left.length), 1);
  return all.filter((_, index) => left.includes(index));
}
