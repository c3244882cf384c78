/** Which cluster size an image gets, as a table: the default and its growth, what was asked for, what is there. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SnapError } from '../../core/base/errors.ts';
import { checkClusterSize, chooseClusterSize } from '../../core/snapshot/cluster-size.ts';

const KIB = 1024;
const MIB = KIB * KIB;
const TIB = MIB * MIB;

interface Case {
  readonly why: string;
  readonly sizeBytes: number;
  readonly wantedBytes?: number;
  readonly presentBytes?: number;
  /** A size, or the code of the refusal. */
  readonly expected: number | 'refused' | 'usage';
}

const CASES: readonly Case[] = [
  { why: 'an empty image', sizeBytes: 0, expected: 64 * KIB },
  { why: 'a small one', sizeBytes: 1, expected: 64 * KIB },
  { why: '2^24 default clusters', sizeBytes: TIB, expected: 64 * KIB },
  { why: 'one byte more', sizeBytes: TIB + 1, expected: 128 * KIB },
  { why: '8 TiB', sizeBytes: 8 * TIB, expected: 512 * KIB },
  { why: 'the largest image', sizeBytes: 256 * TIB, expected: 16 * MIB },
  { why: 'larger than that', sizeBytes: 256 * TIB + 1, expected: 'refused' },
  { why: 'smallest clusters', sizeBytes: MIB, wantedBytes: 4 * KIB, expected: 4 * KIB },
  { why: 'largest clusters', sizeBytes: 1, wantedBytes: 16 * MIB, expected: 16 * MIB },
  { why: 'too small', sizeBytes: MIB, wantedBytes: 2 * KIB, expected: 'usage' },
  { why: 'too large', sizeBytes: MIB, wantedBytes: 32 * MIB, expected: 'usage' },
  { why: 'no power of two', sizeBytes: MIB, wantedBytes: 12 * KIB, expected: 'usage' },
  { why: 'nothing', sizeBytes: MIB, wantedBytes: 0, expected: 'usage' },
  { why: 'not a number', sizeBytes: MIB, wantedBytes: Number.NaN, expected: 'usage' },
  { why: '2^24 of 4K', sizeBytes: 64 * 1024 * MIB, wantedBytes: 4 * KIB, expected: 4 * KIB },
  { why: 'more than 2^24', sizeBytes: 64 * 1024 * MIB + 1, wantedBytes: 4 * KIB, expected: 'refused' },
  { why: "the snapshots' own", sizeBytes: MIB, presentBytes: 8 * KIB, expected: 8 * KIB },
  { why: 'the same again', sizeBytes: MIB, presentBytes: 8 * KIB, wantedBytes: 8 * KIB, expected: 8 * KIB },
  { why: 'another', sizeBytes: MIB, presentBytes: 8 * KIB, wantedBytes: 4 * KIB, expected: 'refused' },
  { why: 'grown to 2^26', sizeBytes: 4 * TIB, presentBytes: 64 * KIB, expected: 64 * KIB },
  { why: 'grown past 2^26', sizeBytes: 4 * TIB + 1, presentBytes: 64 * KIB, expected: 'refused' },
];

for (const { why, sizeBytes, wantedBytes, presentBytes, expected } of CASES) {
  test(`cluster size: ${why}`, () => {
    const choose = () => chooseClusterSize('disk.img', { sizeBytes, wantedBytes, presentBytes });
    if (typeof expected === 'number') assert.equal(choose(), expected);
    else assert.throws(choose, { code: expected });
  });
}

test('a refusal names the smallest size that serves', () => {
  const sizes = { sizeBytes: 64 * 1024 * MIB + 1, wantedBytes: 4 * KIB, presentBytes: undefined };
  assert.throws(
    () => chooseClusterSize('disk.img', sizes),
    (error) => error instanceof SnapError && /--cluster-size 8(\.0)?K$/.test(error.hint ?? ''),
  );
});

test('every power of two from 4K to 16M is taken', () => {
  for (let size = 4 * KIB; size <= 16 * MIB; size *= 2) checkClusterSize(size);
});
