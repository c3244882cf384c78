/** Pieces of a batch of writes: ascending, none over another. */

/** Bytes to be written at a place of the origin. */
export interface Extent {
  readonly offsetBytes: number;
  readonly data: Buffer;
}

export function endOf({ offsetBytes, data }: Extent): number {
  return offsetBytes + data.length;
}

/** The index of the first extent that ends after `offsetBytes`. */
function firstAfter(extents: readonly Extent[], offsetBytes: number): number {
  let [low, high] = [0, extents.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    const extent = extents[middle];
    if (extent !== undefined && endOf(extent) <= offsetBytes) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Puts `added` in its place in an ascending list; what it covers of others is cut away, since it comes later. */
export function addExtent(extents: Extent[], added: Extent): void {
  if (added.data.length === 0) return;
  const from = firstAfter(extents, added.offsetBytes);
  let to = from;
  for (; to < extents.length; to += 1) {
    const extent = extents[to];
    if (extent === undefined || extent.offsetBytes >= endOf(added)) break;
  }
  const [first, last] = [extents[from], extents[to - 1]];
  const pieces: Extent[] = [added];
  if (to > from && first !== undefined && first.offsetBytes < added.offsetBytes) {
    const data = first.data.subarray(0, added.offsetBytes - first.offsetBytes);
    pieces.unshift({ offsetBytes: first.offsetBytes, data });
  }
  if (to > from && last !== undefined && endOf(last) > endOf(added)) {
    pieces.push({ offsetBytes: endOf(added), data: last.data.subarray(endOf(added) - last.offsetBytes) });
  }
  extents.splice(from, to - from, ...pieces);
}

/**
 * The first of `extents` whose clusters take at most `mostBytes`, at least one: a batch that copies little is short,
 * however far its pieces are apart. An extent is not split.
 */
export function leadingExtents(
  extents: readonly Extent[],
  clusterSizeBytes: number,
  mostBytes: number,
): Extent[] {
  let clusters = 0;
  let lastCluster = -1;
  const taken = extents.findIndex((extent) => {
    const first = Math.max(lastCluster + 1, Math.floor(extent.offsetBytes / clusterSizeBytes));
    lastCluster = Math.max(lastCluster, Math.floor((endOf(extent) - 1) / clusterSizeBytes));
    clusters += lastCluster - first + 1;
    return clusters * clusterSizeBytes > mostBytes;
  });
  return extents.slice(0, taken === -1 ? extents.length : Math.max(1, taken));
}
