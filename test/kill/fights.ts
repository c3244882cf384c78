/**
 * Two commands that fight for one image: the first stands still at a lock, holding it or about to, while the second
 * runs; then it goes on. Both must come to their end: whoever waits for ever ends as busy, and that is no success.
 */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Workplace } from '../support/commands.ts';
import { type Probe, startProbed, untilStopped } from '../support/probe.ts';
import type { RunningProcess } from '../support/process.ts';
import type { Below, Job } from './jobs.ts';
import { type Attempt, judge, type Killer, optionsOf, textOf } from './killers.ts';
import { NamedPoints } from './points.ts';

const LOCK_VERBS = new Set(['lock', 'unlock']);
/** More tries at a lock, one after the other, than a command makes that gets each at once. */
const WAITING_TRIES = 6;

export class LockStopper implements Killer {
  readonly leavesAllTidy = true;
  readonly #points: NamedPoints;

  constructor(below: Below) {
    this.#points = new NamedPoints(below);
  }

  atOnce(): 2 {
    return 2;
  }

  async attempt(work: Workplace, jobs: readonly Job[], kind: string): Promise<Attempt> {
    const log = work.path('calls.log');
    const place = this.#points.choose(kind, LOCK_VERBS);
    const otherLog = work.path('other.log');
    rmSync(otherLog, { force: true });
    const [first, second] = jobs;
    if (first === undefined) throw new Error('nothing to stop');
    const start = (job: Job, probe: Probe) => startProbed(work, job.command, job.args, probe, optionsOf(job));
    const stopped = start(first, { ...place, log, action: 'stop' });
    const hasStopped = await untilStopped(stopped).then(
      () => true,
      () => false,
    );
    const beside = second && start(second, { log: otherLog });
    if (hasStopped) this.#points.count(readFileSync(log, 'utf8').trimEnd().split('\n').at(-1) ?? '');
    if (hasStopped && beside !== undefined) await untilWaiting(beside, otherLog);
    stopped.child.kill('SIGCONT');
    const result = await stopped.result;
    this.#points.learn(kind, log);
    const ended = [judge(first, result, 0, hasStopped)];
    if (second !== undefined && beside !== undefined)
      ended.push(judge(second, await beside.result, 0, false));
    return { ended, where: textOf(place) };
  }

  remarks(): string {
    return this.#points.remarks();
  }
}

/** Until it has ended or waits for a lock. */
export async function untilWaiting({ child }: RunningProcess, logPath: string): Promise<void> {
  while (child.exitCode === null && child.signalCode === null) {
    const calls = existsSync(logPath) ? readFileSync(logPath, 'utf8').trimEnd().split('\n') : [];
    const latest = calls.slice(-WAITING_TRIES);
    if (latest.length === WAITING_TRIES && latest.every((point) => point.startsWith('lock '))) return;
    await delay(2);
  }
}
