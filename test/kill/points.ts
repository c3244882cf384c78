/**
 * The named points that a command passes, as they become known from logs of runs, and which were tried how often: the
 * least tried one comes next, and those that change something before those that only look.
 */
import type { Below } from './jobs.ts';

export interface Target {
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

export class Points {
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

  /** Where to kill the next one; undefined while nothing is known of this kind. */
  next(kind: string, below: Below): Target | undefined {
    const known = [...(this.#known.get(kind)?.values() ?? [])];
    const isLook = ({ point }: Target) => LOOKS.has(point.split(' ')[0] ?? '');
    const rank = (each: Tried) => 2 * each.tries + (isLook(each) ? 1 : 0);
    const least = Math.min(...known.map(rank));
    const best = known.filter((each) => rank(each) === least);
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
