/**
 * Where in a file the locks lie: far past any end of file, so that they are in nobody's way (qemu locks bytes
 * 100 to 203 of an image), and within 2^53, so that they are exact numbers.
 */

const BASE_OFFSET_BYTES = 2 ** 52;
const IN_USE_OFFSET_BYTES = BASE_OFFSET_BYTES + 4096;
const SNAPSHOT_NUMBER_LIMIT = 2 ** 50;

/** The turnstile's first byte: who holds it is the next to go in. */
export const NEXT_LOCK_OFFSET_BYTES = BASE_OFFSET_BYTES;
/** The turnstile's second byte: who holds it is in. */
export const ACTIVE_LOCK_OFFSET_BYTES = BASE_OFFSET_BYTES + 1;
/** One remover or collector at a time. */
export const REMOVAL_LOCK_OFFSET_BYTES = BASE_OFFSET_BYTES + 2;

/**
 * The byte that a reader of the snapshot with this number holds, shared. Throws a RangeError unless the number
 * is a whole one from 0 to 2^50 - 1: another would be some other lock.
 */
export function inUseOffset(snapshotNumber: number): number {
  if (
    !Number.isSafeInteger(snapshotNumber) ||
    snapshotNumber < 0 ||
    snapshotNumber >= SNAPSHOT_NUMBER_LIMIT
  ) {
    throw new RangeError(`${String(snapshotNumber)} is not the number of a snapshot`);
  }
  return IN_USE_OFFSET_BYTES + snapshotNumber;
}
