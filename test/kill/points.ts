/**
 * The named points that a command passes, as they become known from logs of runs, and which were tried how often: the
 * least tried one comes next, and those that change something before those that only look.
 */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import type { Probe } from '../support/probe.ts';
import type { Below } from './jobs.ts';

interface Target {
  readonly point: string;
  readonly nth: number;
  readonly when: 'before' | 'after' | 'half';
}

interface Tried extends Target {
  tries: number;
}

const LOOKS = new Set(['stat', 'lstat', 'realpath', 'readdir', 'statfs', 'readFile', 'read', 'close']);

function timesFor(point: string): readonly Target['when'][] {
  const [verb = ''] = point.split(' ');
  // After a look is before the next call.
  if (LOOKS.has(verb)) return ['before'];
  const mayBeTorn = verb === 'write' && point !== 'write state' && point !== 'write <stdout>';
  return mayBeTorn ? ['before', 'half', 'after'] : ['before', 'after'];
}

const sum = (numbers: readonly number[]) => numbers.reduce((total, each) => total + each, 0);

/** Those with the lowest rank. */
function lowest(all: readonly Tried[], rank: (each: Tried) => number): Tried[] {
  const ranked = all.map((each) => ({ each, rank: rank(each) }));
  const least = Math.min(...ranked.map((it) => it.rank));
  return ranked.filter((it) => it.rank === least).map(({ each }) => each);
}

class Points {
  /** By a kind of run: a command passes other points where it has something to repair. */
  readonly #known = new Map<string, Map<string, Tried>>();

  /** Learns from the log of a run, as far as it came. */
  note(kind: string, log: readonly string[]): void {
    const known = this.#known.get(kind) ?? new Map<string, Tried>();
    this.#known.set(kind, known);
    const times = new Map<string, number>();
    for (const point of log) {
      const nth = (times.get(point) ?? 0) + 1;
      times.set(point, nth);
      for (const when of timesFor(point)) {
        const key = `${when} ${nth} ${point}`;
        if (!known.has(key)) known.set(key, { point, nth, when, tries: 0 });
      }
    }
  }

  /** Where to act the next time, perhaps only at some verbs; undefined while nothing is known of this kind. */
  next(kind: string, below: Below, verbs?: ReadonlySet<string>): Target | undefined {
    const verbOf = ({ point }: Target) => point.split(' ')[0] ?? '';
    const every = [...(this.#known.get(kind)?.values() ?? [])];
    const known = every.filter((each) => verbs?.has(verbOf(each)) ?? true);
    // By turns the least tried time of all, and of the least tried name: what is passed once is not to wait long.
    const tries = (each: Tried) => 2 * each.tries + (LOOKS.has(verbOf(each)) ? 1 : 0);
    const triesOfName = (each: Tried) =>
      sum(known.filter(({ point }) => point === each.point).map(tries)) + tries(each) / 1000;
    const best = lowest(known, below(2) === 0 ? tries : triesOfName);
    const chosen = best.length === 0 ? undefined : best[below(best.length)];
    if (chosen !== undefined) chosen.tries += 1;
    return chosen;
  }

  /** How many points are known, and how many of them were tried. */
  coverage(): { known: number; tried: number } {
    const all = [...this.#known.values()].flatMap((known) => [...known.values()]);
    return { known: all.length, tried: all.filter(({ tries }) => tries > 0).length };
  }
}

const GUESS_ONE_IN = 6;
/** About as many as the longest command makes. */
const MOST_CALLS = 150;

/** Chooses points, and learns and counts them. */
export class NamedPoints {
  readonly below: Below;
  readonly #points = new Points();
  /** How many were met, by verb and name. */
  readonly #counts = new Map<string, number>();

  constructor(below: Below) {
    this.below = below;
  }

  /** The least tried one; now and then a guess, which finds points that no run has come to yet. */
  choose(kind: string, verbs?: ReadonlySet<string>): Probe {
    const target = this.below(GUESS_ONE_IN) === 0 ? undefined : this.#points.next(kind, this.below, verbs);
    return { anyStore: true, ...(target ?? { call: 1 + this.below(MOST_CALLS) }) };
  }

  /** Learns from the log of a run that has ended. */
  learn(kind: string, logPath: string): string[] {
    const calls = existsSync(logPath) ? readFileSync(logPath, 'utf8').trimEnd().split('\n') : [];
    rmSync(logPath, { force: true });
    this.#points.note(kind, calls);
    return calls;
  }

  count(point: string): void {
    this.#counts.set(point, (this.#counts.get(point) ?? 0) + 1);
  }

  remarks(): string {
    const { known, tried } = this.#points.coverage();
    const counts = [...this.#counts].sort(([a], [b]) => (a < b ? -1 : 1));
    const lines = counts.map(([point, count]) => `  ${String(count).padStart(5)}  ${point}`);
    return [`${tried} of ${known} known points tried; how often at which:`, ...lines].join('\n');
  }
}
