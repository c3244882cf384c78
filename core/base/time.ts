/**
 * Recorded times and durations. A snapshot's time is kept as text, in UTC, with every digit that was given:
 * a number of milliseconds would lose fractions that order snapshots. Nothing here depends on the time zone.
 */
import { SnapError } from './errors.ts';

/**
 * A time as `parseTime` and `formatTime` return it: `2026-11-20T07:17:31Z` or `2026-11-20T07:17:31.25Z`,
 * always UTC, years 0001 to 9999. Every function here that takes one expects it in this form.
 */
export type RecordedTime = string;

/** Calendar parts in UTC; `month` 1 to 12; weeks are those of ISO 8601, which start on Monday. */
export interface TimeParts {
  readonly year: number;
  readonly month: number;
  readonly day: number;
  readonly hour: number;
  readonly minute: number;
  readonly second: number;
  /** The year that the week belongs to: 2026 for 2027-01-01. */
  readonly weekYear: number;
  readonly week: number;
}

/** Calendar lengths, not a number of seconds: what a month is depends on where it is subtracted. */
export interface Duration {
  readonly years: number;
  readonly months: number;
  readonly days: number;
  readonly hours: number;
}

const TIME_PATTERN =
  /^\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(\.\d+)?(?:Z|([+-])([01]\d|2[0-3]):([0-5]\d))$/i;
const DURATION_PATTERN = /^(?:(\d+)y)?(?:(\d+)m)?(?:(\d+)d)?(?:(\d+)h)?$/;
const SECONDS_LENGTH = '2026-11-20T07:17:31'.length;
const FIRST_MS = Date.parse('0001-01-01T00:00:00Z');
const LAST_MS = Date.parse('9999-12-31T23:59:59Z');
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/**
 * A time by RFC 3339 (lower-case `t` and `z` too), moved to UTC, its fraction as given. A leap second is
 * refused: system clocks have none, and a neighbouring second would be a time that nobody gave. Throws `usage`.
 */
export function parseTime(text: string): RecordedTime {
  const match = TIME_PATTERN.exec(text);
  if (match === null) throw notATime(text);
  const [, fraction = '', sign, hours = '0', minutes = '0'] = match;
  const local = text.slice(0, SECONDS_LENGTH).toUpperCase();
  if (local.endsWith('60')) {
    const message = `${JSON.stringify(text)} is a leap second, which cannot be recorded`;
    throw new SnapError('usage', message, { hint: 'give the second before or after it' });
  }
  const localMs = Date.parse(`${local}Z`);
  // Date takes days that the month does not have, such as 2026-02-30; they come back as others.
  if (!isRecordable(localMs) || secondsText(localMs) !== local) throw notATime(text);
  const offsetMs = (Number(hours) * 60 + Number(minutes)) * 60_000 * (sign === '-' ? -1 : 1);
  if (!isRecordable(localMs - offsetMs)) throw notATime(text);
  return `${secondsText(localMs - offsetMs)}${fraction}Z`;
}

/** Whether a text is one that `parseTime` returns. */
export function isRecordedTime(text: string): text is RecordedTime {
  if (!TIME_PATTERN.test(text) || !text.endsWith('Z')) return false;
  const timeMs = wholeMs(text);
  return isRecordable(timeMs) && secondsText(timeMs) === text.slice(0, SECONDS_LENGTH);
}

/** The whole second that `date` is in. Throws `usage` where a clock is outside the years 0001 to 9999. */
export function formatTime(date: Date): RecordedTime {
  return parseTime(`${secondsText(date.getTime())}Z`);
}

/** For names: `20261120T071731Z`, without the fraction. */
export function compactTime(time: RecordedTime): string {
  return `${time.slice(0, SECONDS_LENGTH).replace(/[-:]/g, '')}Z`;
}

/** Negative, zero or positive as `a` is before, at or after `b`; exact for fractions of any length. */
export function compareTimes(a: RecordedTime, b: RecordedTime): number {
  const [left, right] = [sortableText(a), sortableText(b)];
  return left < right ? -1 : left > right ? 1 : 0;
}

/** The calendar parts of a time, in UTC. */
export function timeToParts(time: RecordedTime): TimeParts {
  const date = new Date(wholeMs(time));
  // A week belongs to the year that its Thursday is in.
  const thursday = new Date(date.getTime() + (3 - ((date.getUTCDay() + 6) % 7)) * DAY_MS);
  const newYear = new Date(thursday);
  newYear.setUTCMonth(0, 1);
  return {
    year: date.getUTCFullYear(),
    month: date.getUTCMonth() + 1,
    day: date.getUTCDate(),
    hour: date.getUTCHours(),
    minute: date.getUTCMinutes(),
    second: date.getUTCSeconds(),
    weekYear: thursday.getUTCFullYear(),
    week: 1 + Math.floor((thursday.getTime() - newYear.getTime()) / (7 * DAY_MS)),
  };
}

/** A duration such as `2y5m7d3h` (m: months): each part optional, in this order, at least one. Throws `usage`. */
export function parseDuration(text: string): Duration {
  const match = DURATION_PATTERN.exec(text);
  if (match === null || text === '') {
    const hint = 'years, months, days and hours in this order, each optional, as in 2y5m7d3h or 14d';
    throw new SnapError('usage', `${JSON.stringify(text)} is not a duration`, { hint });
  }
  const [, years = 0, months = 0, days = 0, hours = 0] = match;
  return { years: Number(years), months: Number(months), days: Number(days), hours: Number(hours) };
}

/**
 * `time` less `duration`, in UTC: years, months and days first, as a calendar date that overflows into the
 * following month where there is no such day (31 March less a month is 3 March, or 2 March in a leap year), then
 * hours. Undefined where that is before the year 0001: every recorded time is later.
 */
export function subtractDuration(time: RecordedTime, duration: Duration): RecordedTime | undefined {
  const date = new Date(wholeMs(time));
  date.setUTCFullYear(
    date.getUTCFullYear() - duration.years,
    date.getUTCMonth() - duration.months,
    date.getUTCDate() - duration.days,
  );
  const resultMs = date.getTime() - duration.hours * HOUR_MS;
  return isRecordable(resultMs) ? secondsText(resultMs) + time.slice(SECONDS_LENGTH) : undefined;
}

function notATime(text: string): SnapError {
  const hint =
    'RFC 3339, as in 2026-11-20T07:17:31Z or 2026-11-20T08:17:31.25+01:00, years 0001 to 9999 in UTC';
  return new SnapError('usage', `${JSON.stringify(text)} is not a time`, { hint });
}

/** False for NaN too, which Date gives for what it cannot hold. */
function isRecordable(timeMs: number): boolean {
  return timeMs >= FIRST_MS && timeMs <= LAST_MS;
}

function wholeMs(time: RecordedTime): number {
  return Date.parse(`${time.slice(0, SECONDS_LENGTH)}Z`);
}

/** Not by `toISOString`, which first looks up the time zone: 1.3 ms in a command of 20. */
function secondsText(timeMs: number): string {
  const date = new Date(timeMs);
  const two = (value: number) => String(value).padStart(2, '0');
  const day = `${String(date.getUTCFullYear()).padStart(4, '0')}-${two(date.getUTCMonth() + 1)}-${two(date.getUTCDate())}`;
  return `${day}T${two(date.getUTCHours())}:${two(date.getUTCMinutes())}:${two(date.getUTCSeconds())}`;
}

/** Sorts as text in the order of time: the digits line up, and zeros at a fraction's end mean nothing. */
function sortableText(time: RecordedTime): string {
  const fraction = time.slice(SECONDS_LENGTH + 1, -1).replace(/0+$/, '');
  return `${time.slice(0, SECONDS_LENGTH)}.${fraction}`;
}
