/**
 * Bits of the copied bitmap, one a cluster, least significant first in each byte; and the sum by which a bitmap
 * proves itself.
 *
 * Idea of the bitmap as the fast test on every write: NetBSD's fss. The sum is ours: a count alone does not
 * show one bit lost and another gained, so it carries the XOR of a hash of each cluster's index as well.
 */
import { isZero } from './bytes.ts';

/** Looked at as a whole, since comparing with zeros is far faster than going through them. */
const PIECE_BYTES = 4096;
const PIECE_BITS = 8 * PIECE_BYTES;

export function getBit(bits: Buffer, index: number): boolean {
  return (((bits[index >>> 3] ?? 0) >>> (index & 7)) & 1) === 1;
}

export function setBit(bits: Buffer, index: number): void {
  const byteIndex = index >>> 3;
  bits[byteIndex] = (bits[byteIndex] ?? 0) | (1 << (index & 7));
}

export function countBits(bits: Buffer): number {
  let count = 0;
  let at = 0;
  for (; at + 4 <= bits.length; at += 4) {
    const word = bits.readUInt32LE(at);
    const pairs = word - ((word >>> 1) & 0x55555555);
    const fours = (pairs & 0x33333333) + ((pairs >>> 2) & 0x33333333);
    count += Math.imul((fours + (fours >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
  }
  for (; at < bits.length; at += 1) for (let byte = bits[at] ?? 0; byte !== 0; byte &= byte - 1) count += 1;
  return count;
}

/** Sets or clears the bits in [from, to). */
export function fillBits(bits: Buffer, from: number, to: number, value: boolean): void {
  let index = from;
  while (index < to) {
    const bytes = (index & 7) === 0 ? (to - index) >>> 3 : 0;
    if (bytes > 0) {
      bits.fill(value ? 0xff : 0, index >>> 3, (index >>> 3) + bytes);
      index += bytes * 8;
      continue;
    }
    const byteIndex = index >>> 3;
    const bit = 1 << (index & 7);
    bits[byteIndex] = value ? (bits[byteIndex] ?? 0) | bit : (bits[byteIndex] ?? 0) & ~bit;
    index += 1;
  }
}

/** Bytes that hold one bit for each of `bitCount` things. */
export function bitmapBytes(bitCount: number): number {
  return Math.ceil(bitCount / 8);
}

/** Murmur3's finalizer: every input bit reaches every output bit. */
function mix32(value: number): number {
  let x = value;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}

/** How many clusters are in a set, and the XOR of a 64-bit hash of each of their indexes, as two halves. */
export class SetSum {
  count = 0;
  xorLow = 0;
  xorHigh = 0;

  static of(parts: { count: number; xorLow: number; xorHigh: number }): SetSum {
    const sum = new SetSum();
    sum.count = parts.count;
    sum.xorLow = parts.xorLow;
    sum.xorHigh = parts.xorHigh;
    return sum;
  }

  copy(): SetSum {
    return SetSum.of(this);
  }

  add(clusterIndex: number): void {
    this.count += 1;
    this.xorLow = (this.xorLow ^ mix32(clusterIndex ^ 0x9e3779b9)) >>> 0;
    this.xorHigh = (this.xorHigh ^ mix32((clusterIndex + 0x7f4a7c15) | 0)) >>> 0;
  }

  /** Adds every set bit of `bits`, whose first bit stands for `firstIndex`. Most pieces of most bitmaps have none. */
  addBits(bits: Buffer, firstIndex: number): void {
    for (let start = 0; start < bits.length; start += PIECE_BYTES) {
      const end = Math.min(start + PIECE_BYTES, bits.length);
      if (!isZero(bits, start, end)) this.#addPiece(bits, { start, end }, firstIndex);
    }
  }

  #addPiece(bits: Buffer, piece: { readonly start: number; readonly end: number }, firstIndex: number): void {
    for (let byteIndex = piece.start; byteIndex < piece.end; ) {
      if (byteIndex + 4 <= piece.end && bits.readInt32LE(byteIndex) === 0) {
        byteIndex += 4;
        continue;
      }
      let byte = bits[byteIndex] ?? 0;
      for (let index = firstIndex + byteIndex * 8; byte !== 0; byte >>>= 1, index += 1) {
        if ((byte & 1) === 1) this.add(index);
      }
      byteIndex += 1;
    }
  }

  /** Takes back what `addBits` added: counts subtract, and XOR is its own inverse. */
  removeBits(bits: Buffer, firstIndex: number): void {
    const removed = new SetSum();
    removed.addBits(bits, firstIndex);
    Object.assign(this, this.without(removed));
  }

  /** The sum of what is left when a part of the set goes. */
  without(part: SetSum): SetSum {
    return SetSum.of({
      count: this.count - part.count,
      xorLow: (this.xorLow ^ part.xorLow) >>> 0,
      xorHigh: (this.xorHigh ^ part.xorHigh) >>> 0,
    });
  }

  equals(other: { count: number; xorLow: number; xorHigh: number }): boolean {
    return this.count === other.count && this.xorLow === other.xorLow && this.xorHigh === other.xorHigh;
  }
}

/** The first index in [from, to) whose bit is `value`, or `to`. Skips pieces of zeros, and words that cannot hold it. */
export function findBit(bits: Buffer, value: boolean, from: number, to: number): number {
  const skip = value ? 0 : -1;
  let index = from;
  while (index < to) {
    if (value && index % PIECE_BITS === 0 && index + PIECE_BITS <= to) {
      const start = index >>> 3;
      if (isZero(bits, start, start + PIECE_BYTES)) {
        index += PIECE_BITS;
        continue;
      }
    }
    if ((index & 31) === 0 && index + 32 <= to && bits.readInt32LE(index >>> 3) === skip) {
      index += 32;
      continue;
    }
    if (getBit(bits, index) === value) return index;
    index += 1;
  }
  return to;
}
