/** Kills at any moment, which do not come again from the seed; and some with another command at work. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Workplace } from '../support/commands.ts';
import type { Below, Job } from './jobs.ts';
import { type Attempt, judge, KILLED, type Killer, optionsOf } from './killers.ts';

const FIRST_GUESS_MS = 120;

/** Kills after a time by chance, between nothing and what such a command usually takes; sometimes with another beside it. */
export class MomentKiller implements Killer {
  readonly leavesAllTidy = false;
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
    const ended = ends.map(({ job, answer }) => judge(job, answer, KILLED));
    // One that was killed would have taken longer; how much nobody knows.
    const tookMs = ended[0]?.outcome === 'finished' ? (ends[0]?.tookMs ?? 0) : 1.2 * usualMs;
    this.#usualMs.set(victim?.recipe ?? '', usualMs + (tookMs - usualMs) / 4);
    return { ended, where: `after ${afterMs.toFixed(1)} ms${both ? ', both' : ''}` };
  }

  remarks(): string {
    const times = [...this.#usualMs].map(([recipe, ms]) => `${recipe} ${ms.toFixed(0)}`);
    return `usual durations in ms: ${times.join(', ')}`;
  }
}
