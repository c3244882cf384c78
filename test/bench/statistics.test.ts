/** The benchmark's arithmetic: a wrong median would make every figure wrong and look right. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { choose } from '../../bench/harness/inputs.ts';
import { median, summarize } from '../../bench/harness/statistics.ts';

test('the median is the middle by size, not by place or by text', () => {
  assert.equal(median([5, 1, 4, 2, 3]), 3);
  assert.equal(median([10, 9, 100]), 10);
  assert.equal(median([7]), 7);
  assert.equal(median([4, 1, 3, 2]), 2.5);
  assert.throws(() => median([]), RangeError);
});

test('a figure has the extremes beside the middle, and leaves its input alone', () => {
  const values = [2, 9, 1];
  assert.deepEqual(summarize(values), { median: 2, lowest: 1, highest: 9, count: 3 });
  assert.deepEqual(values, [2, 9, 1]);
});

test('places are chosen once each, the same in every run, all over the range', () => {
  const places = choose(1000, 4000);
  assert.deepEqual(places, choose(1000, 4000));
  assert.equal(new Set(places).size, 1000);
  assert.ok(places.every((place) => Number.isInteger(place) && place >= 0 && place < 4000));
  for (const quarter of [0, 1, 2, 3]) {
    const count = places.filter((place) => Math.floor(place / 1000) === quarter).length;
    assert.ok(count > 150 && count < 350, `${count} of 1000 in quarter ${quarter}`);
  }
  assert.notDeepEqual(
    places,
    [...places].sort((a, b) => a - b),
  );
  assert.equal(choose(10, 10).length, 10);
});
