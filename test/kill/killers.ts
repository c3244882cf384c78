/** Ways to end a command at a named point, which come again from the seed: a kill, and a signal that it can answer. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import type { Workplace } from '../support/commands.ts';
import { type Probe, startProbed, untilStopped } from '../support/probe.ts';
import type { ProcessResult } from '../support/process.ts';
import type { Below, Job } from './jobs.ts';
import type { Outcome } from './model.ts';
import { NamedPoints } from './points.ts';

export interface Ended {
  readonly job: Job;
  readonly outcome: Outcome;
  /** Whether it was killed, stopped or told to end, as was meant. */
  readonly met: boolean;
}

export interface Attempt {
  readonly ended: readonly Ended[];
  /** Where it was met, for whoever reads of it. */
  readonly where: string;
}

export interface Killer {
  /** Whether a command that it met leaves nothing to be repaired or removed. */
  readonly leavesAllTidy: boolean;
  /** How many commands the next round runs at the same time. */
  atOnce(): 1 | 2;
  /** `kind` has the same points each time. */
  attempt(work: Workplace, jobs: readonly Job[], kind: string): Promise<Attempt>;
  remarks(): string;
}

export const KILLED = 137;

/** `early`: the status, beside 0, that it may have. */
export function judge(job: Job, result: ProcessResult, early: number, met = result.status === early): Ended {
  const isFinished = result.status === 0;
  if (!isFinished && result.status !== early) {
    throw new Error(`${job.command} ended with ${result.status}: ${result.stderr}`);
  }
  job.judge?.(result, isFinished);
  return { job, met, outcome: isFinished ? 'finished' : early === KILLED ? 'killed' : 'interrupted' };
}

export const optionsOf = ({ stdin }: Job) => (stdin === undefined ? {} : { stdin });

export function textOf({ call, point, nth, when }: Probe): string {
  return point === undefined ? `call ${call}` : `${when} ${point} (${nth})`;
}

/** The one that there is. */
function only(jobs: readonly Job[]): Job {
  const [job] = jobs;
  if (job === undefined || jobs.length > 1) throw new Error('one at a time');
  return job;
}

/** Tries each named point of each kind of run in turn. */
export class PointKiller implements Killer {
  readonly leavesAllTidy = false;
  readonly #points: NamedPoints;

  constructor(below: Below) {
    this.#points = new NamedPoints(below);
  }

  atOnce(): 1 {
    return 1;
  }

  async attempt(work: Workplace, jobs: readonly Job[], kind: string): Promise<Attempt> {
    const job = only(jobs);
    const log = work.path('calls.log');
    const place = this.#points.choose(kind);
    const probe = { ...place, log, action: 'kill' as const };
    const result = await startProbed(work, job.command, job.args, probe, optionsOf(job)).result;
    const last = this.#points.learn(kind, log).at(-1) ?? 'start';
    if (result.status === KILLED) this.#points.count(last);
    return { ended: [judge(job, result, KILLED)], where: `${textOf(place)}, last ${last}` };
  }

  remarks(): string {
    return this.#points.remarks();
  }
}

const SIGNALS = [
  ['SIGTERM', 143],
  ['SIGINT', 130],
] as const;

/** Sends a signal that can be answered, while the command stands still at a named point. */
export class SignalSender implements Killer {
  readonly leavesAllTidy = true;
  readonly #points: NamedPoints;

  constructor(below: Below) {
    this.#points = new NamedPoints(below);
  }

  atOnce(): 1 {
    return 1;
  }

  async attempt(work: Workplace, jobs: readonly Job[], kind: string): Promise<Attempt> {
    const job = only(jobs);
    const log = work.path('calls.log');
    const [signal, status] = SIGNALS[this.#points.below(2)] ?? SIGNALS[0];
    const place = this.#points.choose(kind);
    const probe = { ...place, log, action: 'stop' as const };
    const running = startProbed(work, job.command, job.args, probe, optionsOf(job));
    const hasStopped = await untilStopped(running).then(
      () => true,
      () => false,
    );
    const before = hasStopped ? readFileSync(log, 'utf8').trimEnd().split('\n') : [];
    running.child.kill(signal);
    running.child.kill('SIGCONT');
    const result = await running.result;
    const calls = this.#points.learn(kind, log);
    if (hasStopped) {
      this.#points.count(before.at(-1) ?? '');
      assertGivenUp(before.length, calls);
    }
    return { ended: [judge(job, result, status, hasStopped)], where: `${signal} ${textOf(place)}` };
  }

  remarks(): string {
    return this.#points.remarks();
  }
}

/** Node sees a signal at the latest when the first call after it has come back. */
const CALLS_UNTIL_SEEN = 2;

/** Who is told to end before it has the lock does not take it any more. */
function assertGivenUp(callsBefore: number, calls: readonly string[]): void {
  const firstLock = calls.findIndex((point) => point.startsWith('lock '));
  if (firstLock < 0) return;
  assert.ok(
    firstLock < callsBefore + CALLS_UNTIL_SEEN,
    `took the lock ${firstLock - callsBefore} calls after the signal`,
  );
}
