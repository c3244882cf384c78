/** Filling and counting bits, by words where they can, against doing it one by one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { bitmapBytes, countBits, fillBits, findBit, getBit, SetSum, setBit } from '../../core/base/bitmap.ts';

const COUNT = 300;

test('bits that are filled, counted and found are those that one by one would be', () => {
  const range = fc.record({ from: fc.nat(COUNT), to: fc.nat(COUNT), value: fc.boolean() });
  fc.assert(
    fc.property(fc.array(range, { maxLength: 12 }), (ranges) => {
      const bits = Buffer.alloc(bitmapBytes(COUNT));
      const expected = new Array<boolean>(COUNT).fill(false);
      for (const { from, to, value } of ranges) {
        fillBits(bits, from, to, value);
        expected.fill(value, from, Math.max(from, to));
      }
      assert.deepEqual(
        expected.map((_, index) => getBit(bits, index)),
        expected,
      );
      assert.equal(countBits(bits), expected.filter(Boolean).length);
      for (const value of [true, false]) {
        const first = expected.indexOf(value);
        assert.equal(findBit(bits, value, 0, COUNT), first < 0 ? COUNT : first);
      }
    }),
  );
});

test('every word is counted right, the largest too', () => {
  const bits = Buffer.alloc(8, 0xff);
  assert.equal(countBits(bits), 64);
  bits.fill(0);
  setBit(bits, 31);
  setBit(bits, 63);
  assert.equal(countBits(bits), 2);
  assert.equal(countBits(Buffer.from([0xff, 0xff, 0xff])), 24);
});

test('a bit among millions is found, wherever it is and wherever the search begins', () => {
  const count = 200_003;
  for (const place of [0, 31, 32_767, 32_768, 65_535, 98_304, 196_608, 200_002]) {
    for (const value of [true, false]) {
      const bits = Buffer.alloc(bitmapBytes(count), value ? 0 : 0xff);
      fillBits(bits, place, place + 1, value);
      for (const from of [0, 1, 32_768, 65_536, 131_071]) {
        assert.equal(
          findBit(bits, value, from, count),
          from <= place ? place : count,
          `${place} from ${from}`,
        );
      }
      assert.equal(findBit(bits, value, 0, place), place);
    }
  }
});

test('the sum of many bits is that of each by itself, wherever they are, and taken back leaves none', () => {
  // More than two pieces of 4 KiB, and neither whole words nor whole bytes behind them.
  const count = 2 * 32_768 + 77;
  const places = [0, 7, 31, 32, 32_735, 32_736, 32_767, 32_768, 40_000, 65_535, 65_536, 65_599, count - 1];
  for (const chosen of [places, ...places.map((place) => [place]), []]) {
    const bits = Buffer.alloc(bitmapBytes(count));
    const one = new SetSum();
    for (const place of chosen) {
      setBit(bits, place);
      one.add(1000 + place);
    }
    const all = new SetSum();
    all.addBits(bits, 1000);
    assert.ok(all.equals(one), `${chosen}`);
    all.removeBits(bits, 1000);
    assert.ok(all.equals(new SetSum()), `${chosen}`);
  }
});
