/**
 * Which snapshots the rules of snap-gc keep: restic's meaning, as a pure function, so that a plan can be shown,
 * tested and carried out alike. Rules are ORed; each one walks the snapshots from the newest to the oldest.
 */
import {
  compareTimes,
  type Duration,
  type RecordedTime,
  subtractDuration,
  type TimeParts,
  timeToParts,
} from '../base/time.ts';

/** A rule that is absent, a count of 0 and a duration of nothing are no rule. Counts: 1 to Infinity. */
export interface RetentionRules {
  readonly keepLast?: number | undefined;
  readonly keepHourly?: number | undefined;
  readonly keepDaily?: number | undefined;
  readonly keepWeekly?: number | undefined;
  readonly keepMonthly?: number | undefined;
  readonly keepYearly?: number | undefined;
  readonly keepWithin?: Duration | undefined;
  readonly keepWithinHourly?: Duration | undefined;
  readonly keepWithinDaily?: Duration | undefined;
  readonly keepWithinWeekly?: Duration | undefined;
  readonly keepWithinMonthly?: Duration | undefined;
  readonly keepWithinYearly?: Duration | undefined;
}

export interface RetentionCandidate {
  readonly name: string;
  readonly created: RecordedTime;
}

export interface RetentionVerdict {
  readonly name: string;
  /** Kept: every rule that keeps it, none where there was no rule at all. Removed: `no-rule`. */
  readonly reasons: readonly string[];
}

export interface RetentionPlan {
  readonly kept: readonly RetentionVerdict[];
  readonly removed: readonly RetentionVerdict[];
}

interface Ranked extends RetentionCandidate {
  /** Its place in the order of creation. */
  readonly index: number;
  readonly reasons: string[];
}

/** Snapshots with the same text share a bucket, of which the newest is kept. */
type BucketOf = (snapshot: Ranked) => string;

const each: BucketOf = ({ index }) => String(index);
const hour: BucketOf = ({ created }) => partsText(created, 'year', 'month', 'day', 'hour');
const day: BucketOf = ({ created }) => partsText(created, 'year', 'month', 'day');
const week: BucketOf = ({ created }) => partsText(created, 'weekYear', 'week');
const month: BucketOf = ({ created }) => partsText(created, 'year', 'month');
const year: BucketOf = ({ created }) => partsText(created, 'year');

const COUNT_RULES = [
  { reason: 'keep-last', key: 'keepLast', bucketOf: each },
  { reason: 'keep-hourly', key: 'keepHourly', bucketOf: hour },
  { reason: 'keep-daily', key: 'keepDaily', bucketOf: day },
  { reason: 'keep-weekly', key: 'keepWeekly', bucketOf: week },
  { reason: 'keep-monthly', key: 'keepMonthly', bucketOf: month },
  { reason: 'keep-yearly', key: 'keepYearly', bucketOf: year },
] as const;

const WITHIN_RULES = [
  { reason: 'keep-within', key: 'keepWithin', bucketOf: each },
  { reason: 'keep-within-hourly', key: 'keepWithinHourly', bucketOf: hour },
  { reason: 'keep-within-daily', key: 'keepWithinDaily', bucketOf: day },
  { reason: 'keep-within-weekly', key: 'keepWithinWeekly', bucketOf: week },
  { reason: 'keep-within-monthly', key: 'keepWithinMonthly', bucketOf: month },
  { reason: 'keep-within-yearly', key: 'keepWithinYearly', bucketOf: year },
] as const;

/** Whether `rules` could remove anything; without a rule everything is kept. */
export function hasAnyRule(rules: RetentionRules): boolean {
  return (
    COUNT_RULES.some(({ key }) => isCount(rules[key])) ||
    WITHIN_RULES.some(({ key }) => hasLength(rules[key]))
  );
}

/** Divides `snapshots`, given in the order of creation, by `rules`; both lists of the plan are in that order. */
export function planRetention(
  snapshots: readonly RetentionCandidate[],
  rules: RetentionRules,
): RetentionPlan {
  const ranked = snapshots.map(({ name, created }, index): Ranked => ({ name, created, index, reasons: [] }));
  // Of equal times the later created is the newer.
  const newestFirst = ranked.toSorted((a, b) => compareTimes(b.created, a.created) || b.index - a.index);
  for (const { reason, key, bucketOf } of COUNT_RULES) {
    const count = rules[key];
    if (isCount(count)) applyRule(newestFirst, { reason, bucketOf, count });
  }
  for (const { reason, key, bucketOf } of WITHIN_RULES) {
    const within = rules[key];
    if (hasLength(within)) applyRule(newestFirst, { reason, bucketOf, within });
  }
  const isKept = hasAnyRule(rules) ? ({ reasons }: Ranked) => reasons.length > 0 : () => true;
  return {
    kept: ranked.filter(isKept).map(({ name, reasons }) => ({ name, reasons })),
    removed: ranked.filter((it) => !isKept(it)).map(({ name }) => ({ name, reasons: ['no-rule'] })),
  };
}

/** One rule of either kind: what the other kind limits is not limited. */
interface Rule {
  readonly reason: string;
  readonly bucketOf: BucketOf;
  readonly count?: number;
  readonly within?: Duration;
}

/** Adds the rule's name to the reasons of every snapshot that it keeps. */
function applyRule(newestFirst: readonly Ranked[], rule: Rule): void {
  const newest = newestFirst[0];
  if (newest === undefined) return;
  const start = rule.within === undefined ? undefined : subtractDuration(newest.created, rule.within);
  const oldest = newestFirst.at(-1);
  let left = rule.count ?? Number.POSITIVE_INFINITY;
  let lastBucket: string | undefined;
  for (const snapshot of newestFirst) {
    if (left === 0 || (start !== undefined && compareTimes(snapshot.created, start) <= 0)) return;
    const bucket = rule.bucketOf(snapshot);
    // The oldest is kept beside its bucket's newest, while the rule may still keep one: the history reaches
    // back as far as it can.
    if (bucket === lastBucket && snapshot !== oldest) continue;
    snapshot.reasons.push(rule.reason);
    lastBucket = bucket;
    left -= 1;
  }
}

function isCount(count: number | undefined): count is number {
  return count !== undefined && count > 0;
}

function hasLength(duration: Duration | undefined): duration is Duration {
  return duration !== undefined && Object.values(duration).some((length) => length > 0);
}

function partsText(created: RecordedTime, ...names: (keyof TimeParts)[]): string {
  const parts = timeToParts(created);
  return names.map((name) => parts[name]).join('-');
}
