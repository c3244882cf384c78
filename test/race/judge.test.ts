/** The judges of a race see what they are there for: nobody could tell from a race in which nothing is wrong. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { History } from './history.ts';
import { Known } from './known.ts';
import {
  FIRST,
  imageBytes,
  parseUnit,
  renderImage,
  renderUnit,
  renderUnits,
  type Stamp,
  UNIT_BYTES,
} from './units.ts';

const UNITS = 6;
const ONE: Stamp = { writer: 1, round: 1 };
const TWO: Stamp = { writer: 2, round: 2 };

/** Units 1 to 3 written by one, and acknowledged; then 3 to 4 by two, which has not ended. */
function makeHistory(): History {
  const history = new History(UNITS);
  history.begin(ONE, 1, 3).ended = history.now();
  history.begin(TWO, 3, 2);
  return history;
}

function judge(history: History, stamps: readonly Stamp[]): void {
  history.judge(stamps, { what: 'it', begun: history.now(), ended: history.now() });
}

test('what may be frozen is let pass: the write that has not ended is there, or not', () => {
  judge(makeHistory(), [FIRST, ONE, ONE, ONE, FIRST, FIRST]);
  judge(makeHistory(), [FIRST, ONE, ONE, TWO, TWO, FIRST]);
});

test('an acknowledged write that is missing, in part or as a whole, is seen', () => {
  assert.throws(() => judge(makeHistory(), [FIRST, FIRST, FIRST, FIRST, FIRST, FIRST]), /lacks 1\/1/);
  assert.throws(() => judge(makeHistory(), [FIRST, ONE, FIRST, ONE, FIRST, FIRST]), /lacks 1\/1/);
});

test('a batch that is there in part is seen, though it was not acknowledged', () => {
  assert.throws(() => judge(makeHistory(), [FIRST, ONE, ONE, TWO, FIRST, FIRST]), /unit 4 is still of 0\/0/);
});

test('a write begun after the creation ended, one of nobody, and one in another place are seen', () => {
  const history = makeHistory();
  const frozen = { what: 'it', begun: history.now(), ended: history.now() };
  history.begin({ writer: 3, round: 3 }, 0, 1);
  const held = [ONE, ONE, ONE, FIRST, FIRST];
  assert.throws(() => history.judge([{ writer: 3, round: 3 }, ...held], frozen), /begun after/);
  assert.throws(() => judge(makeHistory(), [{ writer: 3, round: 9 }, ...held]), /nobody wrote 3\/9/);
  assert.throws(() => judge(makeHistory(), [ONE, ...held]), /does not cover it/);
});

test('a unit that goes back from one snapshot to the next is seen', () => {
  const history = makeHistory();
  const earlier = [FIRST, ONE, ONE, TWO, TWO, FIRST];
  history.judgeOrder(earlier, earlier, 'it');
  assert.throws(
    () => history.judgeOrder(earlier, [FIRST, ONE, ONE, ONE, TWO, FIRST], 'it'),
    /unit 3 went back/,
  );
});

test('a torn unit, one of another place, and zeros where none were are seen', () => {
  const torn = Buffer.concat([renderUnit(ONE, 1).subarray(0, 8192), renderUnit(TWO, 1).subarray(8192)]);
  assert.throws(() => parseUnit(torn, 1, 'it'), /unit 1 is torn/);
  assert.throws(() => parseUnit(renderUnit(ONE, 2), 1, 'it'), /unit 1 is torn/);
  assert.throws(() => parseUnit(Buffer.alloc(UNIT_BYTES), 1, 'it'), /unit 1 is torn/);
});

test('a later read that differs is seen, whole or by a range that lies across units', () => {
  const history = makeHistory();
  const known = new Known('a', history, UNITS);
  known.ended = history.now();
  const image = renderImage(UNITS);
  renderUnits(ONE, 1, 3).copy(image, UNIT_BYTES);
  known.compare(0, image, 'first')();
  known.compare(5000, image.subarray(5000, 70_000), 'a range');
  const other = Buffer.from(image);
  renderUnit(TWO, 3).copy(other, 3 * UNIT_BYTES);
  assert.throws(() => known.compare(0, other, 'it'), /unit 3 was of 1\/1, and is of 2\/2/);
  const from = 3 * UNIT_BYTES + 100;
  assert.throws(() => known.compare(from, other.subarray(from, from + 50), 'it'), /unit 3 was of 1\/1/);
  other.set(image);
  other[imageBytes(UNITS) - 1] = 0;
  assert.throws(() => known.compare(0, other, 'it'), /behind the last unit/);
});
