/** What is left of several measurements: the middle, and how far they lie apart. */

export interface Figure {
  readonly median: number;
  readonly lowest: number;
  readonly highest: number;
  readonly count: number;
}

/** The middle of at least one value; of an even number of values, the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError('nothing was measured');
  const sorted = [...values].sort((a, b) => a - b);
  const upper = Math.floor(sorted.length / 2);
  const high = sorted[upper] ?? Number.NaN;
  return sorted.length % 2 === 1 ? high : ((sorted[upper - 1] ?? Number.NaN) + high) / 2;
}

export function summarize(values: readonly number[]): Figure {
  const middle = median(values);
  return {
    median: middle,
    lowest: Math.min(...values),
    highest: Math.max(...values),
    count: values.length,
  };
}
