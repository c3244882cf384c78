/**
 * Images that need not be stored: every sector says which it is and which writing it is of. So stores of the kernel pack
 * well, and what must be found in them follows from a list of writes.
 */

const SECTOR_BYTES = 512;

export interface SectorWrite {
  /** Of the device; in sectors. */
  readonly at: number;
  readonly count: number;
}

/** Sectors from `at` on, as the writing `version` leaves them. */
export function sectors(version: string, { at, count }: SectorWrite): Buffer {
  const one = (index: number) => Buffer.alloc(SECTOR_BYTES, `${version} sector ${at + index}\n`);
  return Buffer.concat(Array.from({ length: count }, (_, index) => one(index)));
}

/** What a device holds when all of `writes` were done to it, the first of them as `version` and 1. */
export function afterWrites(image: Buffer, version: string, writes: readonly SectorWrite[]): Buffer {
  const after = Buffer.from(image);
  for (const [index, write] of writes.entries()) {
    sectors(`${version}${index + 1}`, write).copy(after, write.at * SECTOR_BYTES);
  }
  return after;
}
