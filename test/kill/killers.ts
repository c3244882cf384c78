/** Two ways to kill a command: at a named point, which comes again from the seed, and at any moment, which does not. */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Workplace } from '../support/commands.ts';
import { startProbed } from '../support/probe.ts';
import type { ProcessResult } from '../support/process.ts';
import type { Below, Job } from './jobs.ts';
import { Points } from './points.ts';

export interface Ended {
  readonly job: Job;
  readonly result: ProcessResult;
  readonly finished: boolean;
}

export interface Attempt {
  readonly ended: readonly Ended[];
  /** Where it was to be killed, for whoever reads of it. */
  readonly where: string;
}

export interface Killer {
  /** How many commands run at the same time. */
  atOnce(): 1 | 2;
  /** `kind` has the same points each time. */
  attempt(work: Workplace, jobs: readonly Job[], kind: string): Promise<Attempt>;
  remarks(): string;
}

function judge(job: Job, result: ProcessResult): Ended {
  const finished = result.status === 0;
  if (!finished && result.signal !== 'SIGKILL') {
    throw new Error(`${job.command} ended with ${result.status}: ${result.stderr}`);
  }
  job.judge?.(result, finished);
  return { job, result, finished };
}

const optionsOf = ({ stdin }: Job) => (stdin === undefined ? {} : { stdin });

const GUESS_ONE_IN = 6;
/** About as many as the longest command makes. */
const MOST_CALLS = 150;

/** Tries each named point of each kind of run in turn. */
export class PointKiller implements Killer {
  readonly #points = new Points();
  readonly #below: Below;
  /** Kills by verb and name. */
  readonly #kills = new Map<string, number>();

  constructor(below: Below) {
    this.#below = below;
  }

  atOnce(): 1 {
    return 1;
  }

  async attempt(work: Workplace, jobs: readonly Job[], kind: string): Promise<Attempt> {
    const [job] = jobs;
    if (job === undefined) throw new Error('nothing to kill');
    const log = work.path('calls.log');
    // A guess, now and then, finds points that no run has come to yet.
    const target = this.#below(GUESS_ONE_IN) === 0 ? undefined : this.#points.next(kind, this.#below);
    const call = 1 + this.#below(MOST_CALLS);
    const probe = { log, anyStore: true, action: 'kill' as const, ...(target ?? { call }) };
    const result = await startProbed(work, job.command, job.args, probe, optionsOf(job)).result;
    const calls = existsSync(log) ? readFileSync(log, 'utf8').trimEnd().split('\n') : [];
    rmSync(log, { force: true });
    this.#points.note(kind, calls);
    const last = calls.at(-1) ?? 'start';
    if (result.signal === 'SIGKILL') this.#kills.set(last, (this.#kills.get(last) ?? 0) + 1);
    const text = target === undefined ? `call ${call}` : `${target.when} ${target.point} (${target.nth})`;
    return { ended: [judge(job, result)], where: `${text}, last ${last}` };
  }

  remarks(): string {
    const { known, tried } = this.#points.coverage();
    const counts = [...this.#kills].sort(([a], [b]) => (a < b ? -1 : 1));
    const lines = counts.map(([point, count]) => `  ${String(count).padStart(5)}  ${point}`);
    return [`${tried} of ${known} known points tried; kills by point:`, ...lines].join('\n');
  }
}

const FIRST_GUESS_MS = 120;

/** Kills after a time by chance, between nothing and what such a command usually takes; sometimes with another beside it. */
export class MomentKiller implements Killer {
  readonly #below: Below;
  readonly #usualMs = new Map<string, number>();

  constructor(below: Below) {
    this.#below = below;
  }

  atOnce(): 1 | 2 {
    return this.#below(3) === 0 ? 2 : 1;
  }

  async attempt(work: Workplace, jobs: readonly Job[]): Promise<Attempt> {
    const [victim] = jobs;
    const usualMs = this.#usualMs.get(victim?.recipe ?? '') ?? FIRST_GUESS_MS;
    // Before Node has loaded the command there is nothing to disturb: seldom there.
    const leastPart = this.#below(4) === 0 ? 0 : 0.4;
    const afterMs = usualMs * (leastPart + (1.1 - leastPart) * (this.#below(1000) / 1000));
    const both = jobs.length > 1 && this.#below(3) === 0;
    const startMs = performance.now();
    const running = jobs.map((job) => {
      const { child, result } = work.start(job.command, job.args, optionsOf(job));
      return { job, child, end: result.then((answer) => ({ answer, tookMs: performance.now() - startMs })) };
    });
    await delay(afterMs);
    for (const { child } of both ? running : running.slice(0, 1)) child.kill('SIGKILL');
    const ends = await Promise.all(running.map(async ({ job, end }) => ({ job, ...(await end) })));
    const ended = ends.map(({ job, answer }) => judge(job, answer));
    // One that was killed would have taken longer; how much nobody knows.
    const tookMs = ended[0]?.finished ? (ends[0]?.tookMs ?? 0) : 1.2 * usualMs;
    this.#usualMs.set(victim?.recipe ?? '', usualMs + (tookMs - usualMs) / 4);
    return { ended, where: `after ${afterMs.toFixed(1)} ms${both ? ', both' : ''}` };
  }

  remarks(): string {
    const times = [...this.#usualMs].map(([recipe, ms]) => `${recipe} ${ms.toFixed(0)}`);
    return `usual durations in ms: ${times.join(', ')}`;
  }
}
