/** Which clusters of an image are worth keeping: what a look at its contents comes to. */
import { bitmapBytes, fillBits } from '../base/bitmap.ts';
import { clusterCount, type Geometry } from '../store/layout.ts';

export interface Selection {
  /** A bit a cluster; undefined where all are to be kept. */
  readonly candidates: Buffer | undefined;
  /** Why more is kept than need be, one line each. */
  readonly doubts: readonly string[];
}

/** The clusters of an image, all of them candidates at first. */
export class ClusterSelection {
  readonly bits: Buffer;
  readonly #geometry: Geometry;
  readonly #count: number;
  #startBytes = 0;
  #endBytes = 0;

  constructor(geometry: Geometry) {
    this.#geometry = geometry;
    this.#count = clusterCount(geometry);
    this.bits = Buffer.alloc(bitmapBytes(this.#count));
    fillBits(this.bits, 0, this.#count, true);
  }

  /**
   * Says that [startBytes, endBytes) holds nothing. A cluster of which that is said of every byte is no candidate. Ranges
   * must ascend; those that adjoin are joined. `settle` ends it.
   */
  leaveOut(startBytes: number, endBytes: number): void {
    if (startBytes !== this.#endBytes) {
      this.settle();
      this.#startBytes = startBytes;
    }
    this.#endBytes = endBytes;
  }

  settle(): void {
    const { sizeBytes, clusterSizeBytes } = this.#geometry;
    const first = Math.ceil(this.#startBytes / clusterSizeBytes);
    // The last cluster may be short.
    const end = this.#endBytes >= sizeBytes ? this.#count : Math.floor(this.#endBytes / clusterSizeBytes);
    fillBits(this.bits, first, end, false);
    this.#startBytes = this.#endBytes;
  }

  /** Makes every cluster that has a byte of [startBytes, endBytes) a candidate again. */
  keep(startBytes: number, endBytes: number): void {
    const { clusterSizeBytes } = this.#geometry;
    const first = Math.floor(startBytes / clusterSizeBytes);
    fillBits(this.bits, first, Math.min(this.#count, Math.ceil(endBytes / clusterSizeBytes)), true);
  }
}
