/**
 * A figure says which entries a store has: the count of those written up to a batch, and the XOR of a hash of
 * each of their cluster indexes. Flush records, `state` and the catalog carry figures; a bitmap or a table that
 * does not come to the figure it should is not believed (invariant 3).
 */
import { SetSum } from '../base/bitmap.ts';

export interface Figure {
  readonly batch: number;
  readonly count: number;
  readonly xorLow: number;
  readonly xorHigh: number;
}

export const EMPTY_FIGURE: Figure = { batch: 0, count: 0, xorLow: 0, xorHigh: 0 };

export function figureOf(sum: SetSum, batch: number): Figure {
  return { batch, count: sum.count, xorLow: sum.xorLow, xorHigh: sum.xorHigh };
}

export function sameFigure(a: Figure, b: Figure): boolean {
  return a.batch === b.batch && SetSum.of(a).equals(b);
}

/** The figure that reaches further; of two that reach equally far, the first. */
export function laterFigure(a: Figure, b: Figure | undefined): Figure {
  return b !== undefined && b.batch > a.batch ? b : a;
}
