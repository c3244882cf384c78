/**
 * Which cluster size an image's snapshots get. The default and its growth are fss's: 64 KiB, doubled until there are
 * at most 2^24 clusters. One size serves all snapshots of an image, so that a chain's bitmaps line up.
 */
import { SnapError } from '../base/errors.ts';
import { formatSize } from '../base/units.ts';
import {
  DEFAULT_CLUSTER_BYTES,
  DEFAULT_MAX_CLUSTER_COUNT,
  MAX_CLUSTER_BYTES,
  MAX_CLUSTER_COUNT,
  MIN_CLUSTER_BYTES,
} from '../store/layout.ts';

/** @throws `usage` where it is no power of two from 4K to 16M */
export function checkClusterSize(clusterSizeBytes: number): void {
  const inRange = clusterSizeBytes >= MIN_CLUSTER_BYTES && clusterSizeBytes <= MAX_CLUSTER_BYTES;
  if (inRange && (clusterSizeBytes & (clusterSizeBytes - 1)) === 0) return;
  throw new SnapError('usage', `a cluster size is a power of two from 4K to 16M, not ${clusterSizeBytes}`);
}

function smallestFor(sizeBytes: number, mostClusters: number): number {
  let clusterSizeBytes = MIN_CLUSTER_BYTES;
  while (clusterSizeBytes < MAX_CLUSTER_BYTES && sizeBytes > clusterSizeBytes * mostClusters)
    clusterSizeBytes *= 2;
  return clusterSizeBytes;
}

/**
 * @param wantedBytes what the user asked for
 * @param presentBytes what the image's snapshots have, where it has any
 * @param chunkSizeBytes of what is imported: then as large, unless that is too small
 * @throws `usage`, `refused`
 */
export function chooseClusterSize(
  image: string,
  sizes: {
    readonly sizeBytes: number;
    readonly wantedBytes: number | undefined;
    readonly presentBytes: number | undefined;
    readonly chunkSizeBytes?: number | undefined;
  },
): number {
  const { sizeBytes, wantedBytes, presentBytes, chunkSizeBytes = DEFAULT_CLUSTER_BYTES } = sizes;
  if (wantedBytes !== undefined) checkClusterSize(wantedBytes);
  const refuse = (what: string, hint: string) =>
    new SnapError('refused', `${image}: ${what}`, { path: image, hint });
  if (presentBytes !== undefined) {
    if (wantedBytes !== undefined && wantedBytes !== presentBytes) {
      throw refuse(
        `its snapshots have clusters of ${formatSize(presentBytes)}, and all must have the same`,
        'leave --cluster-size out, or remove its snapshots first',
      );
    }
    if (sizeBytes > presentBytes * MAX_CLUSTER_COUNT) {
      throw refuse(
        `has grown past what clusters of ${formatSize(presentBytes)} can cover`,
        'remove its snapshots, then a larger size is chosen',
      );
    }
    return presentBytes;
  }
  if (wantedBytes !== undefined) {
    const smallest = smallestFor(sizeBytes, DEFAULT_MAX_CLUSTER_COUNT);
    if (sizeBytes > wantedBytes * DEFAULT_MAX_CLUSTER_COUNT) {
      throw refuse(
        `clusters of ${formatSize(wantedBytes)} would be more than 2^24`,
        `the smallest for this image is --cluster-size ${formatSize(smallest)}`,
      );
    }
    return wantedBytes;
  }
  const chosen = Math.max(chunkSizeBytes, smallestFor(sizeBytes, DEFAULT_MAX_CLUSTER_COUNT));
  if (sizeBytes > chosen * DEFAULT_MAX_CLUSTER_COUNT) {
    throw refuse('is larger than 2^24 clusters of 16 MiB', 'images up to 256 TiB can have snapshots');
  }
  return chosen;
}
