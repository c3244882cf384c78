/**
 * A whole copied bitmap in memory (at most 8 MiB: 2^26 clusters), with the sum by which it proves itself kept up to
 * date. Used for the store that receives copies; older stores are read in windows.
 */
import { SetSum, setBit } from '../base/bitmap.ts';
import { Pool } from '../base/buffers.ts';
import { isZero } from '../base/bytes.ts';
import type { StoreFile } from './store-file.ts';

const WINDOW_BYTES = 1 << 18;
const PIECE_BYTES = 1 << 12;
const WINDOWS = new Pool(() => Buffer.allocUnsafeSlow(WINDOW_BYTES));

export class CopiedBitmap {
  readonly bits: Buffer;
  readonly sum = new SetSum();

  constructor(sizeBytes: number) {
    this.bits = Buffer.alloc(sizeBytes);
  }

  /** Adds one cluster, which must not be in it. */
  add(clusterIndex: number): void {
    setBit(this.bits, clusterIndex);
    this.sum.add(clusterIndex);
  }

  /** Reads the bitmap anew. Only pieces that changed are summed again, so that following a busy writer is cheap. */
  refresh(store: StoreFile): Promise<void> {
    return WINDOWS.lend((window) => this.#refreshBy(window, store));
  }

  async #refreshBy(window: Buffer, store: StoreFile): Promise<void> {
    for (let start = 0; start < this.bits.length; start += WINDOW_BYTES) {
      const fresh = window.subarray(0, Math.min(WINDOW_BYTES, this.bits.length - start));
      await store.readBits(fresh, start);
      if (fresh.equals(this.bits.subarray(start, start + fresh.length))) continue;
      for (let at = 0; at < fresh.length; at += PIECE_BYTES) {
        const after = fresh.subarray(at, at + PIECE_BYTES);
        const before = this.bits.subarray(start + at, start + at + after.length);
        if (after.equals(before)) continue;
        this.sum.removeBits(before, (start + at) * 8);
        this.sum.addBits(after, (start + at) * 8);
        after.copy(before);
      }
    }
  }
}

/** The sum of a store's bitmap as it stands on disk, without keeping it. Were a hole none, the sum would be another. */
export function sumBitmap(store: StoreFile): Promise<SetSum> {
  return WINDOWS.lend((window) => sumBitmapBy(window, store));
}

async function sumBitmapBy(window: Buffer, store: StoreFile): Promise<SetSum> {
  const sum = new SetSum();
  const sizeBytes = store.regions.bitmapSizeBytes;
  for (let start = store.bitsFrom(0); start < sizeBytes; start = store.bitsFrom(start + WINDOW_BYTES)) {
    const bits = window.subarray(0, Math.min(WINDOW_BYTES, sizeBytes - start));
    await store.readBits(bits, start);
    if (!isZero(bits)) sum.addBits(bits, start * 8);
  }
  return sum;
}
