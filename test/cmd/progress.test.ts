/** The progress bar, on a clock of its own. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createProgressBar, renderProgress } from '../../cmd/shared/progress.ts';

const GIB = 2 ** 30;

const RENDERED: [Parameters<typeof renderProgress>[0], string][] = [
  [
    { doneBytes: GIB, totalBytes: 4 * GIB, recentBytes: GIB, elapsedMs: 2000 },
    '[======>                 ]  25%  1.0G of 4.0G  512M/s  0:06 left',
  ],
  [
    { doneBytes: 0, totalBytes: 4 * GIB, recentBytes: 0, elapsedMs: 0 },
    '[>                       ]   0%  0 of 4.0G',
  ],
  [
    { doneBytes: 4 * GIB - 1, totalBytes: 4 * GIB, recentBytes: 4 * GIB, elapsedMs: 4000 },
    '[=======================>]  99%  4.0G of 4.0G  1.0G/s  0:01 left',
  ],
  [
    { doneBytes: 100, totalBytes: 100, recentBytes: 100, elapsedMs: 1000 },
    '[========================] 100%  100 of 100  100/s  0:00 left',
  ],
  [
    { doneBytes: 200, totalBytes: 100, recentBytes: 200, elapsedMs: 1000 },
    '[========================] 100%  200 of 100  200/s  0:00 left',
  ],
  [{ doneBytes: 0, totalBytes: 0, recentBytes: 0, elapsedMs: 5 }, '[========================] 100%  0 of 0'],
  [
    { doneBytes: 1, totalBytes: 36_001, recentBytes: 1, elapsedMs: 1000 },
    '[>                       ]   0%  1 of 36K  1/s  10:00:00 left',
  ],
  [{ doneBytes: 4096, totalBytes: undefined, recentBytes: 2048, elapsedMs: 61_000 }, '4.0K  34/s  1:01'],
  [{ doneBytes: 0, totalBytes: undefined, recentBytes: 0, elapsedMs: 0 }, '0  0:00'],
];

for (const [state, line] of RENDERED) {
  test(`renders ${line}`, () => assert.equal(renderProgress(state), line));
}

test('no line is wider than 79 columns', () => {
  const huge = 2 ** 53 - 1;
  const line = renderProgress({ doneBytes: huge - 1, totalBytes: huge, recentBytes: 1, elapsedMs: 1e9 });
  assert.ok(line.length < 80, line);
});

function barOnClock(shown: 'no' | 'late' | 'forced') {
  const clock = { timeMs: 1000 };
  const written: string[] = [];
  const bar = createProgressBar({
    shown,
    monotonicMs: () => clock.timeMs,
    write: (text) => written.push(text),
  });
  const at = (timeMs: number, doneBytes: number) => {
    clock.timeMs = timeMs;
    bar.update(doneBytes, 1000);
    return written.splice(0).length;
  };
  return { bar, at, written };
}

test('comes after half a second of work, and five times a second', () => {
  const { bar, at, written } = barOnClock('late');
  assert.deepEqual(
    [at(1000, 0), at(1499, 1), at(1500, 2), at(1600, 3), at(1699, 4), at(1700, 5)],
    [0, 0, 1, 0, 0, 1],
  );
  bar.clear();
  assert.deepEqual(written.splice(0), ['\r\x1b[K']);
  bar.clear();
  assert.deepEqual(written, []);
  assert.equal(at(1900, 6), 1);
});

test('never comes where the work is short', () => {
  const { bar, at, written } = barOnClock('late');
  assert.deepEqual([at(1000, 0), at(1400, 1000)], [0, 0]);
  bar.clear();
  assert.deepEqual(written, []);
});

test('is there at once when forced, and not at all when off', () => {
  assert.equal(barOnClock('forced').at(1000, 0), 1);
  const off = barOnClock('no');
  assert.deepEqual([off.at(1000, 0), off.at(9000, 1)], [0, 0]);
});

test('counts the rate anew where another part of the work begins', () => {
  const clock = { timeMs: 0 };
  const written: string[] = [];
  const bar = createProgressBar({
    shown: 'forced',
    monotonicMs: () => clock.timeMs,
    write: (text) => written.push(text),
  });
  const parts: [number, number][] = [
    [0, 0],
    [1000, 900],
    [2000, 0],
    [3000, 100],
  ];
  for (const [timeMs, doneBytes] of parts) {
    clock.timeMs = timeMs;
    bar.update(doneBytes, 1000);
  }
  assert.match(written.at(1) ?? '', / 900\/s {2}0:01 left$/);
  assert.match(written.at(-1) ?? '', / 100\/s {2}0:09 left$/);
});
