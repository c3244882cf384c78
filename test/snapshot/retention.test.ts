/** Retention against plans worked out by hand with a calendar, and against what must hold for every plan. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Duration, formatTime, parseDuration } from '../../core/base/time.ts';
import {
  hasAnyRule,
  planRetention,
  type RetentionCandidate,
  type RetentionRules,
} from '../../core/snapshot/retention.ts';

const UNLIMITED = Number.POSITIVE_INFINITY;

/** A name is its snapshot's time, noon where it has none; what follows `#` tells equal ones apart. */
function snapshots(...names: string[]): RetentionCandidate[] {
  return names.map((name) => {
    const [date = '', clock = '12:00:00'] = name.replace(/#.*/, '').split(' ');
    return { name, created: `${date}T${clock}Z` };
  });
}

/** Every snapshot in a line: `name: reasons`, kept ones with their rules less the `keep-`, removed ones with a `-`. */
function planText(list: readonly RetentionCandidate[], rules: RetentionRules): string[] {
  const { kept, removed } = planRetention(list, rules);
  const lines = new Map(
    removed.map(({ name, reasons }) => [name, reasons.join() === 'no-rule' ? '-' : reasons.join()]),
  );
  for (const { name, reasons } of kept)
    lines.set(name, reasons.map((it) => it.replace('keep-', '')).join(' '));
  return list.map(({ name }) => `${name}: ${lines.get(name)}`);
}

const within = parseDuration;

interface Golden {
  readonly why: string;
  readonly rules: RetentionRules;
  /** In the order of creation, as `planText` writes them. */
  readonly plan: readonly string[];
}

const GOLDEN: readonly Golden[] = [
  {
    why: 'no rule keeps everything, for no reason',
    rules: {},
    plan: ['2026-11-19: ', '2026-11-20: '],
  },
  {
    why: 'a count of 0 and a duration of nothing are no rule',
    rules: { keepLast: 0, keepWithin: within('0d'), keepWithinDaily: within('0y0h') },
    plan: ['2026-11-19: ', '2026-11-20: '],
  },
  {
    why: 'last: the newest N',
    rules: { keepLast: 2 },
    plan: ['2026-11-18: -', '2026-11-19: last', '2026-11-20: last'],
  },
  {
    why: 'last: more than there are',
    rules: { keepLast: 9 },
    plan: ['2026-11-19: last', '2026-11-20: last'],
  },
  {
    why: 'rules go by recorded time, not by the order of creation',
    rules: { keepLast: 1 },
    plan: ['2026-11-18: -', '2026-11-20: last', '2026-11-19: -'],
  },
  {
    why: 'of equal times the later created is the newer',
    rules: { keepLast: 1, keepDaily: 1 },
    plan: ['2026-11-20#a: -', '2026-11-20#b: -', '2026-11-20#c: last daily'],
  },
  {
    why: 'equal times written with different digits are equal, a longer fraction is later',
    rules: { keepLast: 2 },
    plan: ['2026-11-20 12:00:00.50: -', '2026-11-20 12:00:00.501: last', '2026-11-20 12:00:00.5: last'],
  },
  {
    why: 'the newest of each hour; the oldest is not kept once the count is used up',
    rules: { keepHourly: 2 },
    plan: [
      ...['2026-11-20 09:30:00: -', '2026-11-20 10:00:00: -', '2026-11-20 10:59:59: hourly'],
      ...['2026-11-20 11:00:00: -', '2026-11-20 11:00:01: hourly'],
    ],
  },
  {
    why: 'the same hour of another day is another hour',
    rules: { keepHourly: 2 },
    plan: ['2026-11-18 10:00:00: -', '2026-11-19 10:00:00: hourly', '2026-11-20 10:00:00: hourly'],
  },
  {
    why: 'the same hour and day of another month or year are others',
    rules: { keepHourly: 2, keepDaily: 3 },
    plan: ['2024-11-20: -', '2025-11-20: daily', '2026-10-20: hourly daily', '2026-11-20: hourly daily'],
  },
  {
    why: 'days without snapshots do not count; midnight belongs to the day that begins',
    rules: { keepDaily: 3 },
    plan: [
      ...['2026-08-01: -', '2026-09-01: daily', '2026-11-19 23:59:59.999: daily'],
      ...['2026-11-20 00:00:00: -', '2026-11-20 23:59:59: daily'],
    ],
  },
  {
    why: 'the oldest is kept beside the newest of its day while the count is not used up',
    rules: { keepDaily: 3 },
    plan: [
      ...['2026-11-19 01:00:00: daily', '2026-11-19 02:00:00: -', '2026-11-19 03:00:00: daily'],
      ...['2026-11-20 01:00:00: -', '2026-11-20 02:00:00: daily'],
    ],
  },
  {
    why: 'the same with the count used up by the newest of its day',
    rules: { keepDaily: 2 },
    plan: [
      ...['2026-11-19 01:00:00: -', '2026-11-19 02:00:00: -', '2026-11-19 03:00:00: daily'],
      ...['2026-11-20 01:00:00: -', '2026-11-20 02:00:00: daily'],
    ],
  },
  {
    why: 'the oldest goes by recorded time; of equal ones it is the first created',
    rules: { keepYearly: 2 },
    plan: ['2026-11-20: yearly', '2026-11-18#a: yearly', '2026-11-18#b: -', '2026-11-19: -'],
  },
  {
    why: 'unlimited: each newest, and always the oldest',
    rules: { keepMonthly: UNLIMITED },
    plan: [
      '2026-09-01: monthly',
      '2026-09-02: -',
      '2026-09-03: monthly',
      '2026-10-01: -',
      '2026-10-31: monthly',
    ],
  },
  {
    why: 'unlimited last keeps everything',
    rules: { keepLast: UNLIMITED },
    plan: ['2026-11-19: last', '2026-11-20#a: last', '2026-11-20#b: last'],
  },
  {
    why: 'weeks start on Monday: 2026-11-15 is a Sunday',
    rules: { keepWeekly: 2 },
    plan: ['2026-11-08: -', '2026-11-09: -', '2026-11-15: weekly', '2026-11-16: -', '2026-11-20: weekly'],
  },
  {
    why: 'week 53 of 2026 reaches to Sunday 2027-01-03; days, months and years end with December',
    rules: { keepDaily: 2, keepWeekly: 2, keepMonthly: 2, keepYearly: 2 },
    plan: [
      ...['2026-12-27: -', '2026-12-28: -', '2026-12-31: monthly yearly', '2027-01-01: -'],
      ...['2027-01-03: daily weekly', '2027-01-04: daily weekly monthly yearly'],
    ],
  },
  {
    why: 'a week in two years is one week',
    rules: { keepWeekly: 1 },
    plan: ['2026-12-31: -', '2027-01-01: weekly'],
  },
  {
    why: 'week 1 of 2025 begins in 2024, and is not week 1 of 2024',
    rules: { keepWeekly: 2 },
    plan: ['2024-01-03: weekly', '2024-12-30: -', '2025-01-02: weekly'],
  },
  {
    why: 'the same month of another year is another month',
    rules: { keepMonthly: 2 },
    plan: ['2024-11-20: -', '2025-11-20: monthly', '2026-11-20: monthly'],
  },
  {
    why: 'an hour that summer time repeats in some zones is one hour in UTC, and the next is another',
    rules: { keepHourly: 2 },
    plan: ['2026-11-01 05:30:00: -', '2026-11-01 05:45:00: hourly', '2026-11-01 06:30:00: hourly'],
  },
  {
    why: 'rules are ORed, and a snapshot lists all that keep it',
    rules: { keepLast: 1, keepDaily: 2, keepYearly: 2, keepWithin: within('1d') },
    plan: [
      ...['2025-01-01: -', '2025-06-01: yearly', '2026-11-18: -', '2026-11-19 12:00:00: daily'],
      ...['2026-11-20 11:00:00: within', '2026-11-20 12:00:00: last daily yearly within'],
    ],
  },
  {
    why: 'within: strictly newer than the newest less the duration, to the last digit',
    rules: { keepWithin: within('1d') },
    plan: [
      ...['2026-11-19 11:59:59: -', '2026-11-19 12:00:00.5: -', '2026-11-19 12:00:00.50000000001: within'],
      ...['2026-11-20 12:00:00.5: within'],
    ],
  },
  {
    why: 'within counts from the newest recorded time, not from the last created',
    rules: { keepWithin: within('1d') },
    plan: ['2026-11-20: within', '2026-11-18: -', '2026-11-19 13:00:00: within'],
  },
  {
    why: 'within a month of 31 March begins after 3 March',
    rules: { keepWithin: within('1m') },
    plan: ['2026-02-28: -', '2026-03-03: -', '2026-03-03 12:00:01: within', '2026-03-31: within'],
  },
  {
    why: 'within more than all of time keeps everything',
    rules: { keepWithin: within('9999y') },
    plan: ['0001-01-01 00:00:00: within', '2026-11-20: within'],
  },
  {
    why: 'within-daily: the newest of each day in reach; the day that the reach begins in is cut',
    rules: { keepWithinDaily: within('2d') },
    plan: [
      ...[
        '2026-11-17: -',
        '2026-11-18 11:00:00: -',
        '2026-11-18 13:00:00: -',
        '2026-11-18 14:00:00: within-daily',
      ],
      ...['2026-11-19 01:00:00: -', '2026-11-19 02:00:00: within-daily', '2026-11-20: within-daily'],
    ],
  },
  {
    why: 'within-daily keeps the oldest of all where it is in reach',
    rules: { keepWithinDaily: within('2d') },
    plan: [
      ...['2026-11-19 01:00:00: within-daily', '2026-11-19 02:00:00: -', '2026-11-19 03:00:00: within-daily'],
      ...['2026-11-20: within-daily'],
    ],
  },
  {
    why: 'each within rule has its own period',
    rules: {
      ...{ keepWithinHourly: within('2h'), keepWithinWeekly: within('1m'), keepWithinMonthly: within('1y') },
      ...{ keepWithinYearly: within('10y') },
    },
    plan: [
      ...[
        '2016-11-20 11:00:00: -',
        '2020-05-01: within-yearly',
        '2025-12-24: within-monthly within-yearly',
        '2026-01-10: -',
      ],
      ...[
        '2026-01-20: within-monthly',
        '2026-11-08: within-weekly',
        '2026-11-19: -',
        '2026-11-20 09:10:00: -',
      ],
      ...['2026-11-20 10:10:00: -', '2026-11-20 10:20:00: within-hourly'],
      ...['2026-11-20 12:00:00: within-hourly within-weekly within-monthly within-yearly'],
    ],
  },
];

for (const { why, rules, plan } of GOLDEN) {
  test(why, () => {
    const list = snapshots(...plan.map((line) => line.slice(0, line.lastIndexOf(': '))));
    assert.deepEqual(planText(list, rules), plan);
  });
}

test('one snapshot is kept by every rule, none needs none', () => {
  assert.deepEqual(planRetention([], { keepLast: 1 }), { kept: [], removed: [] });
  const rules = { keepLast: 1, keepWeekly: 1, keepWithin: within('1h'), keepWithinYearly: within('1h') };
  assert.deepEqual(planText(snapshots('2026-11-20'), rules), [
    '2026-11-20: last weekly within within-yearly',
  ]);
});

test('hasAnyRule', () => {
  assert.equal(hasAnyRule({}), false);
  assert.equal(hasAnyRule({ keepLast: undefined, keepDaily: 0, keepWithin: within('0h') }), false);
  assert.equal(hasAnyRule({ keepYearly: 1 }), true);
  assert.equal(hasAnyRule({ keepWithinHourly: within('1h') }), true);
});

/** Hours around a turn of the year, so that buckets are shared, broken and equal often. */
const arbitraryList = fc.array(fc.nat({ max: 24 * 40 }), { maxLength: 40 }).map((hours) =>
  hours.map((it, index) => ({
    name: `s${index}`,
    created: formatTime(new Date(Date.UTC(2026, 11, 10, it))),
  })),
);
const arbitraryCount = fc.oneof(fc.integer({ min: 1, max: 12 }), fc.constant(UNLIMITED));
const arbitraryDuration: fc.Arbitrary<Duration> = fc.record({
  years: fc.nat({ max: 1 }),
  months: fc.nat({ max: 1 }),
  days: fc.nat({ max: 20 }),
  hours: fc.nat({ max: 30 }),
});
const countRules = {
  ...{ keepLast: arbitraryCount, keepHourly: arbitraryCount, keepDaily: arbitraryCount },
  ...{ keepWeekly: arbitraryCount, keepMonthly: arbitraryCount, keepYearly: arbitraryCount },
};
const withinRules = {
  ...{
    keepWithin: arbitraryDuration,
    keepWithinHourly: arbitraryDuration,
    keepWithinDaily: arbitraryDuration,
  },
  ...{ keepWithinWeekly: arbitraryDuration, keepWithinMonthly: arbitraryDuration },
  ...{ keepWithinYearly: arbitraryDuration },
};
const arbitraryRules = fc.record({ ...countRules, ...withinRules }, { requiredKeys: [] });

function keptNames(list: readonly RetentionCandidate[], rules: RetentionRules): string[] {
  return planRetention(list, rules).kept.map(({ name }) => name);
}

/** The newest by recorded time, found without sorting. */
function newestOf(list: readonly RetentionCandidate[]): RetentionCandidate | undefined {
  return list.reduce<RetentionCandidate | undefined>(
    (best, it) => (best === undefined || it.created >= best.created ? it : best),
    undefined,
  );
}

test('kept and removed divide the input, each in its order', () => {
  fc.assert(
    fc.property(arbitraryList, arbitraryRules, (list, rules) => {
      const { kept, removed } = planRetention(list, rules);
      const keptSet = new Set(kept.map(({ name }) => name));
      const names = list.map(({ name }) => name);
      assert.deepEqual(
        [...keptSet],
        names.filter((name) => keptSet.has(name)),
      );
      assert.deepEqual(
        removed.map(({ name }) => name),
        names.filter((name) => !keptSet.has(name)),
      );
      assert.ok(kept.every(({ reasons }) => reasons.length > 0 === hasAnyRule(rules)));
      assert.ok(removed.every(({ reasons }) => reasons.join() === 'no-rule'));
    }),
  );
});

test('any rule keeps the newest', () => {
  fc.assert(
    fc.property(arbitraryList, arbitraryRules, (list, rules) => {
      const newest = newestOf(list);
      if (newest !== undefined) assert.ok(keptNames(list, rules).includes(newest.name));
    }),
  );
});

test('another rule removes nothing more', () => {
  fc.assert(
    fc.property(arbitraryList, arbitraryRules, arbitraryRules, (list, rules, more) => {
      fc.pre(hasAnyRule(rules));
      const keptWithMore = new Set(keptNames(list, { ...more, ...rules }));
      assert.ok(keptNames(list, rules).every((name) => keptWithMore.has(name)));
    }),
  );
});

test('the same rules over what they kept remove nothing', () => {
  fc.assert(
    fc.property(arbitraryList, arbitraryRules, (list, rules) => {
      const kept = new Set(keptNames(list, rules));
      const again = planRetention(
        list.filter(({ name }) => kept.has(name)),
        rules,
      );
      assert.deepEqual(again.removed, []);
    }),
  );
});

test('no count rule keeps more than its count, nor less while there are snapshots for it', () => {
  fc.assert(
    fc.property(arbitraryList, fc.record(countRules, { requiredKeys: [] }), (list, rules) => {
      const { kept } = planRetention(list, rules);
      for (const [key, count] of Object.entries(rules)) {
        const reason = `keep-${key.slice('keep'.length).toLowerCase()}`;
        const times = kept.filter(({ reasons }) => reasons.includes(reason)).length;
        assert.ok(times <= count && times >= Math.min(list.length, 1), `${reason} ${count}: ${times}`);
        if (key === 'keepLast') assert.equal(times, Math.min(count, list.length));
      }
    }),
  );
});
