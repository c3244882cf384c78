/** The hash is XXH64 of exactly the bytes that are given, whole or in pieces. Against `xxhsum` see `test/cmd/peers.test.ts`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hex64, Xxh64Digest, xxh64 } from '../../core/base/xxh64.ts';
import { noise } from '../support/commands.ts';

test('published values', () => {
  const values: readonly (readonly [string, string])[] = [
    ['', 'ef46db3751d8e999'],
    ['a', 'd24ec4f1a98c6e5b'],
    ['abc', '44bc2cf5ad770999'],
  ];
  for (const [text, expected] of values) assert.equal(hex64(xxh64(Buffer.from(text))), expected);
});

test('a part of a buffer is hashed as far as it goes, and pieces as what they make', () => {
  const bytes = noise('xxh64', 300_001);
  for (const [start, end] of [
    [0, 0],
    [5, 5],
    [1, 32],
    [3, 100_003],
    [0, 300_001],
  ] as const) {
    const part = bytes.subarray(start, end);
    const expected = xxh64(Buffer.from(part));
    assert.equal(xxh64(part), expected);
    for (const pieceBytes of [1, 31, 32, 33, 4096, 65_537]) {
      if (part.length / pieceBytes > 10_000) continue;
      const digest = new Xxh64Digest();
      for (let at = 0; at < part.length; at += pieceBytes) digest.update(part.subarray(at, at + pieceBytes));
      assert.equal(digest.value(), expected, `${start} to ${end} by ${pieceBytes}`);
    }
  }
});
