/**
 * Parts: a snapshot whose store spilled has several files, each a whole store with tables of its own, one after the
 * other in the chain. No cluster is in two of them, so each answers for what it has whichever others are missing.
 * snap.c filled up to 512 log devices in order, fssnap several backing files; here each file names all the others: the
 * UUID of every part follows from the snapshot's and from its place in the list.
 */
import { uuidBytes, uuidFromRandom } from '../base/uuid.ts';
import { xxh64 } from '../base/xxh64.ts';

/** As many as snap.c had log devices. */
export const MAX_PART_INDEX = 512;

export interface Part {
  /** The snapshot's UUID, which is that of its first file. */
  readonly ofUuid: string;
  /** From 1, in the order in which the places were given. */
  readonly index: number;
}

/** The UUID of one part, which everyone can tell who knows the snapshot's. */
export function partUuid({ ofUuid, index }: Part): string {
  const seed = Buffer.alloc(24);
  uuidBytes(ofUuid).copy(seed);
  seed.writeUInt32LE(index, 16);
  const uuid = Buffer.alloc(16);
  for (const half of [0, 1]) {
    seed.writeUInt32LE(half, 20);
    uuid.writeBigUInt64LE(xxh64(seed), half * 8);
  }
  return uuidFromRandom(uuid);
}
