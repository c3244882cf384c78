/**
 * Checks on the numbers that go to the system. Node and the addon turn a wrong one into a harmful one without a
 * word: a write at NaN goes to the current position, a truncation to -1 empties the file, a lock at a bigint
 * takes the whole file.
 */
import { SnapError } from '../base/errors.ts';
import type { Attempt } from './system-error.ts';

/**
 * Throws `io` unless `offsetBytes` and the end of the range after it are whole numbers from 0 to 2^53 - 1.
 */
export function checkRange(verb: string, path: string, offsetBytes: number, lengthBytes: number): void {
  if (Number.isSafeInteger(offsetBytes) && offsetBytes >= 0) {
    if (lengthBytes >= 0 && Number.isSafeInteger(offsetBytes + lengthBytes)) return;
  }
  throw outOfRange({ verb, path }, `at offset ${offsetBytes} for ${lengthBytes} bytes`);
}

/** Throws `io` unless `sizeBytes` is a whole number from 0 to 2^53 - 1. */
export function checkSize(verb: string, path: string, sizeBytes: number): void {
  if (Number.isSafeInteger(sizeBytes) && sizeBytes >= 0) return;
  throw outOfRange({ verb, path }, `for ${sizeBytes} bytes`);
}

function outOfRange(attempt: Attempt, range: string): SnapError {
  return new SnapError('io', `cannot ${attempt.verb} ${attempt.path} ${range}: not within 0 to 2^53 - 1`, {
    path: attempt.path,
  });
}
