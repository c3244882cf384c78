/**
 * From "where is each cluster" to runs: adjacent clusters from the same source are read in one call. Pure, so that
 * its borders are tested by a table.
 */

/** The cluster is nowhere in the chain: the origin has it. */
export const FROM_ORIGIN = -1;
/** Its place in the chain cannot be told, since a store that might have it is missing or damaged. */
export const UNKNOWN_SOURCE = -2;

/** The cluster is no candidate: zeros in this snapshot, whatever the chain and the origin have. */
export const NO_CANDIDATE = -3;

/** From here on a source is a clone: that of the snapshot with this number less. There are at most 10,000. */
export const FROM_CLONE = 16384;

export interface Segment {
  /** Index of the snapshot whose store, or clone, has these clusters, or one of the constants above. */
  readonly source: number;
  readonly firstCluster: number;
  readonly count: number;
}

/** Joins adjacent clusters of one source. `sources[i]` is that of cluster `firstCluster + i`. */
export function* segments(sources: Int16Array, firstCluster: number): Generator<Segment> {
  for (let start = 0; start < sources.length; ) {
    const source = sources[start] ?? FROM_ORIGIN;
    let end = start + 1;
    while (end < sources.length && sources[end] === source) end += 1;
    yield { source, firstCluster: firstCluster + start, count: end - start };
    start = end;
  }
}

/** The parts that the origin has, joined where at most `gapCount` clusters lie between them. */
export function* joinNear(parts: readonly Segment[], gapCount: number): Generator<Segment> {
  let last: Segment | undefined;
  for (const part of parts) {
    if (part.source !== FROM_ORIGIN) continue;
    if (last !== undefined && part.firstCluster - (last.firstCluster + last.count) <= gapCount) {
      last = { ...last, count: part.firstCluster + part.count - last.firstCluster };
    } else {
      if (last !== undefined) yield last;
      last = part;
    }
  }
  if (last !== undefined) yield last;
}
