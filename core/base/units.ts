/**
 * The numbers people type and read: sizes, counts and seconds. They decide how much is copied, kept or
 * removed, so nothing is guessed: what is not exactly one of the forms is refused.
 */
import { SnapError } from './errors.ts';

/** The largest size anything may have; every offset within it is an exact number. */
const MAX_SIZE_BYTES = 2n ** 53n;
const SIZE_PATTERN = /^(\d+)(?:\.(\d+))?(?:([KMGTP])(B|iB)?)?$/i;
const UNIT_LETTERS = 'KMGTP';
const SIZE_HINT =
  'bytes, or a number with K, M, G, T, P or KiB, MiB … (1024), or KB, MB … (1000), at most 8P';

/**
 * The bytes that a SIZE such as `4096`, `64K`, `1.5GiB` or `2MB` means. Computed in whole numbers, because
 * floating point would accept, or shift, sizes that are no whole bytes. Throws `usage`.
 */
export function parseSize(text: string): number {
  const match = SIZE_PATTERN.exec(text);
  if (match === null) throw refusal(text, 'is not a size', SIZE_HINT);
  const [, whole = '', fraction = '', letter, suffix] = match;
  const base = suffix?.toUpperCase() === 'B' ? 1000n : 1024n;
  const power = letter === undefined ? 0 : UNIT_LETTERS.indexOf(letter.toUpperCase()) + 1;
  const scaled = BigInt(whole + fraction) * base ** BigInt(power);
  const divisor = 10n ** BigInt(fraction.length);
  if (scaled % divisor !== 0n) throw refusal(text, 'is not a whole number of bytes', SIZE_HINT);
  const sizeBytes = scaled / divisor;
  if (sizeBytes > MAX_SIZE_BYTES) throw refusal(text, 'is too large for a size', SIZE_HINT);
  return Number(sizeBytes);
}

/** `bytes` for people, as `du -h` shows it: `512`, `4.0K`, `64K`, `1.5G`; rounded up, so never less than it is. */
export function formatSize(bytes: number): string {
  let value = bytes;
  let power = 0;
  // Rounded before it is compared: a byte short of 1M reads 1.0M and not 1024K.
  while (Math.ceil(value) >= 1024 && power < UNIT_LETTERS.length) {
    value /= 1024;
    power += 1;
  }
  if (power === 0) return String(bytes);
  const rounded = value > 9.9 ? String(Math.ceil(value)) : (Math.ceil(value * 10) / 10).toFixed(1);
  return rounded + UNIT_LETTERS.charAt(power - 1);
}

/** How many snapshots a rule keeps: an integer from 1, or Infinity for `unlimited`. Throws `usage`. */
export function parseCount(text: string): number {
  if (text === 'unlimited') return Number.POSITIVE_INFINITY;
  const count = /^\d+$/.test(text) ? Number(text) : 0;
  if (count < 1) throw refusal(text, 'is not a count', 'a whole number from 1, or unlimited');
  return count;
}

/** Milliseconds of a number of seconds such as `60` or `0.25`; 0 is allowed. Throws `usage`. */
export function parseSeconds(text: string): number {
  if (!/^\d+(\.\d+)?$/.test(text)) {
    throw refusal(text, 'is not a number of seconds', 'a number from 0, fractions allowed, as in 0.5');
  }
  // The shift is made in the text: 0.07 * 1000 would be 70.00000000000001.
  return Number(`${text}e3`);
}

/** `what` follows the argument, quoted so that line breaks in it cannot forge another message. */
function refusal(text: string, what: string, hint: string): SnapError {
  return new SnapError('usage', `${JSON.stringify(text)} ${what}`, { hint });
}
