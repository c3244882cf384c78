/** Times and durations against hand-checked calendars; nothing here may depend on the time zone it runs in. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import * as time from '../../core/base/time.ts';

const TIMES: readonly (readonly [string, string])[] = [
  ['2026-11-20T07:17:31Z', '2026-11-20T07:17:31Z'],
  ['2026-11-20t07:17:31z', '2026-11-20T07:17:31Z'],
  ['2026-11-20T07:17:31.25Z', '2026-11-20T07:17:31.25Z'],
  ['2026-11-20T07:17:31.000Z', '2026-11-20T07:17:31.000Z'],
  ['2026-11-20T07:17:31.123456789012Z', '2026-11-20T07:17:31.123456789012Z'],
  ['2026-11-20T08:17:31+01:00', '2026-11-20T07:17:31Z'],
  ['2026-11-20T08:17:31.25+01:00', '2026-11-20T07:17:31.25Z'],
  ['2026-11-20T02:17:31-05:00', '2026-11-20T07:17:31Z'],
  ['2026-11-20T07:17:31-00:00', '2026-11-20T07:17:31Z'],
  ['2026-11-20T12:47:31+05:30', '2026-11-20T07:17:31Z'],
  ['2027-01-01T00:30:00+01:00', '2026-12-31T23:30:00Z'],
  ['2024-02-29T23:59:59-23:59', '2024-03-01T23:58:59Z'],
  ['2024-02-29T00:00:00Z', '2024-02-29T00:00:00Z'],
  ['2000-02-29T00:00:00Z', '2000-02-29T00:00:00Z'],
  // The hours that summer time skips or repeats in some zones are like any other in UTC.
  ['2026-03-08T02:30:00Z', '2026-03-08T02:30:00Z'],
  ['2026-11-01T01:30:00Z', '2026-11-01T01:30:00Z'],
  ['0001-01-01T00:00:00Z', '0001-01-01T00:00:00Z'],
  ['0099-12-31T23:59:59Z', '0099-12-31T23:59:59Z'],
  ['9999-12-31T23:59:59.999Z', '9999-12-31T23:59:59.999Z'],
];

const BAD_TIMES = [
  ...['', 'now', '2026-11-20', '2026-11-20T07:17Z', '2026-11-20T07:17:31', '20261120T071731Z'],
  ...['2026-11-20 07:17:31Z', ' 2026-11-20T07:17:31Z', '2026-11-20T07:17:31Z ', '2026-11-20T07:17:31Z\n'],
  ...['2026-02-30T00:00:00Z', '2026-02-29T00:00:00Z', '1900-02-29T00:00:00Z', '2026-04-31T00:00:00Z'],
  ...['2026-00-10T00:00:00Z', '2026-13-10T00:00:00Z', '2026-01-00T00:00:00Z', '2026-01-32T00:00:00Z'],
  ...['2026-11-20T24:00:00Z', '2026-11-20T07:60:00Z', '2026-11-20T07:17:61Z', '2026-11-20T07:17:31.Z'],
  ...[
    '2026-11-20T07:17:31,5Z',
    '2026-11-20T07:17:31+0100',
    '2026-11-20T07:17:31+01',
    '2026-11-20T07:17:31+24:00',
  ],
  ...['2026-11-20T07:17:31+01:60', '2026-11-20T07:17:31Z+01:00', '2026-11-20T07:17:31UTC'],
  ...['0000-01-01T00:00:00Z', '0000-12-31T23:30:00-01:00', '+02026-11-20T07:17:31Z', '12026-11-20T07:17:31Z'],
  ...['0001-01-01T00:30:00+01:00', '9999-12-31T23:30:00-01:00'],
];

test('parseTime takes RFC 3339 and gives UTC with the digits of the fraction', () => {
  for (const [text, recorded] of TIMES) {
    assert.equal(time.parseTime(text), recorded, text);
    assert.equal(time.parseTime(recorded), recorded, recorded);
  }
});

test('parseTime refuses what is not RFC 3339, no day of the calendar or outside the years', () => {
  for (const text of BAD_TIMES) {
    const message = `${JSON.stringify(text)} is not a time`;
    assert.throws(() => time.parseTime(text), { name: 'SnapError', code: 'usage', message }, text);
  }
});

test('parseTime refuses leap seconds and says so', () => {
  for (const text of ['2016-12-31T23:59:60Z', '2017-01-01T00:59:60.5+01:00']) {
    assert.throws(() => time.parseTime(text), { code: 'usage', message: /is a leap second/ }, text);
  }
});

test('formatTime gives the whole second, compactTime a name', () => {
  assert.equal(time.formatTime(new Date(Date.UTC(2026, 10, 20, 7, 17, 31, 999))), '2026-11-20T07:17:31Z');
  assert.equal(time.formatTime(new Date(-1)), '1969-12-31T23:59:59Z');
  assert.throws(() => time.formatTime(new Date(Date.UTC(10000, 0))), { code: 'usage' });
  assert.equal(time.compactTime('2026-11-20T07:17:31Z'), '20261120T071731Z');
  assert.equal(time.compactTime('2026-11-20T07:17:31.25Z'), '20261120T071731Z');
});

test('compareTimes is exact for fractions of any length', () => {
  const ascending = [
    ['0001-01-01T00:00:00Z'],
    ['2026-11-20T07:17:31Z', '2026-11-20T07:17:31.0Z', '2026-11-20T07:17:31.000000Z'],
    ['2026-11-20T07:17:31.00000000000000000000001Z'],
    ['2026-11-20T07:17:31.09Z'],
    ['2026-11-20T07:17:31.25Z', '2026-11-20T07:17:31.250Z'],
    ['2026-11-20T07:17:31.2500000000000000000000001Z'],
    ['2026-11-20T07:17:31.3Z'],
    ['2026-11-20T07:17:40Z'],
    ['2026-12-01T00:00:00Z'],
  ];
  for (const [i, left] of ascending.entries()) {
    for (const [j, right] of ascending.entries()) {
      for (const a of left) {
        for (const b of right) assert.equal(time.compareTimes(a, b), Math.sign(i - j), `${a} ${b}`);
      }
    }
  }
});

test('timeToParts: ISO weeks at the borders of years', () => {
  const cases: readonly (readonly [string, number, number])[] = [
    ['0001-01-01', 1, 1],
    ['2015-12-28', 2015, 53],
    ['2016-01-03', 2015, 53],
    ['2016-01-04', 2016, 1],
    ['2018-12-31', 2019, 1],
    ['2020-12-31', 2020, 53],
    ['2021-01-03', 2020, 53],
    ['2021-01-04', 2021, 1],
    ['2022-01-02', 2021, 52],
    ['2024-12-29', 2024, 52],
    ['2024-12-30', 2025, 1],
    ['2026-11-20', 2026, 47],
    ['2026-12-27', 2026, 52],
    ['2026-12-28', 2026, 53],
    ['2026-12-31', 2026, 53],
    ['2027-01-01', 2026, 53],
    ['2027-01-03', 2026, 53],
    ['2027-01-04', 2027, 1],
    ['9999-12-31', 9999, 52],
  ];
  for (const [day, weekYear, week] of cases) {
    for (const clock of ['00:00:00Z', '23:59:59.9Z']) {
      const parts = time.timeToParts(`${day}T${clock}`);
      assert.deepEqual([parts.weekYear, parts.week], [weekYear, week], `${day}T${clock}`);
    }
  }
  assert.deepEqual(time.timeToParts('2026-11-20T07:17:31.25Z'), {
    ...{ year: 2026, month: 11, day: 20, hour: 7, minute: 17, second: 31, weekYear: 2026, week: 47 },
  });
});

test('parseDuration takes parts in their order and nothing else', () => {
  assert.deepEqual(time.parseDuration('2y5m7d3h'), { years: 2, months: 5, days: 7, hours: 3 });
  assert.deepEqual(time.parseDuration('14d'), { years: 0, months: 0, days: 14, hours: 0 });
  assert.deepEqual(time.parseDuration('1y12h'), { years: 1, months: 0, days: 0, hours: 12 });
  for (const text of ['', 'd', '7', '7d1y', '1d1d', '1w', '1s', '-1d', '1.5d', '1 d', '1D', '1d ', '1d\n']) {
    const message = `${JSON.stringify(text)} is not a duration`;
    assert.throws(() => time.parseDuration(text), { code: 'usage', message }, text);
  }
});

test('subtractDuration is calendar arithmetic that overflows into the next month', () => {
  const cases: readonly (readonly [string, string, string | undefined])[] = [
    ['2026-03-31T12:00:00Z', '1m', '2026-03-03T12:00:00Z'],
    ['2024-03-31T12:00:00Z', '1m', '2024-03-02T12:00:00Z'],
    ['2024-02-29T00:00:00Z', '1y', '2023-03-01T00:00:00Z'],
    ['2026-01-15T00:00:00Z', '1m', '2025-12-15T00:00:00Z'],
    ['2026-01-15T00:00:00Z', '13m', '2024-12-15T00:00:00Z'],
    ['2026-03-31T00:00:00Z', '1m3d', '2026-02-28T00:00:00Z'],
    ['2026-01-01T00:00:00Z', '1d', '2025-12-31T00:00:00Z'],
    ['2026-01-01T01:00:00Z', '2h', '2025-12-31T23:00:00Z'],
    ['2026-11-20T07:17:31.25Z', '2y5m7d3h', '2024-06-13T04:17:31.25Z'],
    ['2026-03-09T00:00:00Z', '24h', '2026-03-08T00:00:00Z'],
    ['0101-05-05T00:00:00Z', '100y', '0001-05-05T00:00:00Z'],
    ['2026-11-20T07:17:31Z', '0h', '2026-11-20T07:17:31Z'],
    ['0001-01-01T00:00:00Z', '1h', undefined],
    ['2026-11-20T07:17:31Z', '2026y', undefined],
    ['2026-11-20T07:17:31Z', `${'9'.repeat(400)}m`, undefined],
  ];
  for (const [from, duration, expected] of cases) {
    assert.equal(
      time.subtractDuration(from, time.parseDuration(duration)),
      expected,
      `${from} - ${duration}`,
    );
  }
});

test('whatever is subtracted, the result is earlier and canonical', () => {
  const nat = fc.nat({ max: 500 });
  const arbitraryTime = fc
    .date({
      min: new Date('0001-01-01T00:00:00Z'),
      max: new Date('9999-12-31T23:59:59Z'),
      noInvalidDate: true,
    })
    .map((date) => time.formatTime(date));
  fc.assert(
    fc.property(arbitraryTime, nat, nat, nat, nat, (from, years, months, days, hours) => {
      const result = time.subtractDuration(from, { years, months, days, hours });
      if (result === undefined) return;
      assert.equal(time.parseTime(result), result);
      const isZero = years + months + days + hours === 0;
      assert.equal(time.compareTimes(result, from), isZero ? 0 : -1);
    }),
  );
});
