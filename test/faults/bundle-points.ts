/** The calls at which an installed command is tried, and which of them may fail without an error. */
import type { Case } from './bundles.ts';

/** A call of a command, by its number from 1 and its name. */
export interface Point {
  readonly call: number;
  readonly point: string;
}

export interface Failure extends Point {
  readonly errno: string;
  /** It may succeed all the same. */
  readonly harmless: boolean;
}

/** Verbs that change something, or may have to; others are never told that the disk is full. */
const TAKES_SPACE = /^(open|write|truncate|mkdir|rename|unlink|chmod|chown|datasync|sync|close) /;

/** Every failure of every call that the system may answer with. */
export function failuresOf(tried: Case, points: readonly Point[]): Failure[] {
  return (['EIO', 'ENOSPC'] as const).flatMap((errno) => {
    const harmless = harmlessPoints(tried, points, errno);
    return points
      .filter(({ point }) => errno === 'EIO' || TAKES_SPACE.test(point))
      .map((point) => ({ ...point, errno, harmless: harmless.has(point.call) }));
  });
}

/** Which points may fail without an error, as in harmless.ts. */
function harmlessPoints(tried: Case, points: readonly Point[], errno: string): ReadonlySet<number> {
  const changes = ['snap-create', 'snap-write', 'snap-gc'].includes(tried.name);
  const recording = tried.name === 'snap-read' ? recordingPoints(points) : [];
  const harmless = new Set(recording);
  for (const { call, point } of points) {
    const ownerOrReserve = /^chown | reserve$/.test(point);
    // Whether it is a terminal; and where standard error cannot be written, nobody is left to tell.
    const standard = /^stat <std(out|err)>$|^write <stderr>$/.test(point);
    const full = changes && errno === 'ENOSPC' && /\.snap|-H\.cow| state$| catalog\.json/.test(point);
    const looksAtStore = changes && /^(l?stat|open|read) .*\.cow$/.test(point);
    const looksForUnfinished = tried.name === 'snap-gc' && point === 'open disk.img';
    if (ownerOrReserve || standard || full || looksAtStore || looksForUnfinished) harmless.add(call);
  }
  for (const call of fillingPoints(points)) harmless.add(call);
  if (changes) for (const call of lookingPoints(points)) harmless.add(call);
  if (tried.name === 'snap-verify') for (const call of unlockedPoints(points)) harmless.add(call);
  return harmless;
}

/** From when the reserve is opened until it is closed: a later commit makes it again. */
function fillingPoints(points: readonly Point[]): number[] {
  const [from, until] = ['open reserve', 'close reserve'].map((name) =>
    points.find(({ point }) => point === name),
  );
  if (from === undefined || until === undefined) return [];
  return points.map(({ call }) => call).filter((call) => call >= from.call && call <= until.call);
}

/** Closing a store of which only the header was read, right after it was opened: whose it is, is known then. */
function lookingPoints(points: readonly Point[]): number[] {
  return points.flatMap(({ call, point }, at) => {
    const [opened, read] = points.slice(Math.max(0, at - 2), at).map((it) => it.point);
    const [verb, file = ''] = point.split(' ');
    const onlyLooked = file.endsWith('.cow') && opened === `open ${file}` && read === `read ${file}`;
    return verb === 'close' && onlyLooked ? [call] : [];
  });
}

/** What verification reads after it has let go of the lock: what it cannot read together it reads again, one by one. */
function unlockedPoints(points: readonly Point[]): number[] {
  const isRead = ({ point }: Point) => /^read .*\.cow$/.test(point);
  return points.flatMap((it, at) => {
    const before = points.slice(0, at).findLastIndex((each) => !isRead(each));
    const isFree = points[before]?.point === 'unlock state' && points[before - 1]?.point !== 'lock state';
    return isRead(it) && isFree ? [it.call] : [];
  });
}

/** From when the image is looked at and opened again to when it is closed again. */
function recordingPoints(points: readonly Point[]): number[] {
  const [, again] = points.filter(({ point }) => point === 'open disk.img');
  if (again === undefined) return [];
  const before = points.filter(({ call, point }) => call < again.call && point === 'stat disk.img').at(-1);
  // What goes into a file is not done yet.
  const until = points.find(({ call, point }) => call > again.call && point === 'close disk.img');
  return points
    .map(({ call }) => call)
    .filter((call) => call >= (before?.call ?? again.call) && call <= (until?.call ?? again.call));
}
