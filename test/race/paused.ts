/** Commands that stand still where a test wants them to, and what a test does to an image meanwhile. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { PassThrough } from 'node:stream';
import type { TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { PACE } from '../../core/store/append.ts';
import { type CommandName, KIB, MIB, noise, type Workplace } from '../support/commands.ts';
import { type Probe, startProbed, untilStopped } from '../support/probe.ts';
import type { ProcessOptions, ProcessResult, RunningProcess } from '../support/process.ts';
import { IMAGE } from './rest.ts';

export const CLUSTER_BYTES = 16 * KIB;
/** Reads take three runs. */
export const SIZE_BYTES = 2 * MIB + 300 * KIB + 100;
export const BATCH_BYTES = PACE.batchBytes;

export interface Paused {
  /** Lets it go on, and gives its answer. */
  goOn(): Promise<ProcessResult>;
}

/** Starts a command that stops at a point. It is gone when the test is over, whatever happens. */
export async function pausedAt(
  t: TestContext,
  work: Workplace,
  [name, ...args]: readonly [CommandName, ...string[]],
  at: Pick<Probe, 'point' | 'nth' | 'when'>,
  options: ProcessOptions = {},
): Promise<Paused> {
  const running = startProbed(work, name, args, { ...at, action: 'stop' }, options);
  t.after(() => running.child.kill('SIGKILL'));
  await untilStopped(running);
  const goOn = () => {
    running.child.kill('SIGCONT');
    return running.result;
  };
  return { goOn };
}

/** An image with a snapshot for each name, and between them a write that copies some of it. */
export async function makeSnapshots(work: Workplace, names: readonly string[]): Promise<Map<string, Buffer>> {
  let present = work.image(IMAGE, noise('first', SIZE_BYTES));
  const frozen = new Map<string, Buffer>();
  for (const [at, name] of names.entries()) {
    const size = at === 0 ? ['--cluster-size', String(CLUSTER_BYTES)] : [];
    await work.ok('snap-create', ['-q', `${IMAGE}@${name}`, ...size]);
    frozen.set(name, present);
    present = await overwrite(work, present, at * 300 * KIB + 77, noise(`${name} changed`, 500 * KIB));
  }
  return frozen;
}

/** Writes, and gives what the image holds then. */
export async function overwrite(
  work: Workplace,
  present: Buffer,
  offsetBytes: number,
  data: Buffer,
): Promise<Buffer> {
  await work.write(IMAGE, offsetBytes, data);
  const next = Buffer.from(present);
  data.copy(next, offsetBytes);
  return next;
}

/** A writer whose source has given one batch, and stands still until the test gives the rest. */
export interface LongWriter {
  readonly running: RunningProcess;
  /** Resolves when the batch is in the image. */
  written(): Promise<void>;
  /** Gives the rest, and tells how it ended. */
  finish(rest: Buffer): Promise<ProcessResult>;
}

export function startLongWriter(t: TestContext, work: Workplace, first: Buffer): LongWriter {
  assert.equal(first.length, BATCH_BYTES);
  const source = new PassThrough();
  const running = work.start('snap-write', ['-q', IMAGE], { stdin: source });
  t.after(() => running.child.kill('SIGKILL'));
  source.write(first);
  return {
    running,
    async written() {
      while (!readFileSync(work.path(IMAGE)).subarray(0, BATCH_BYTES).equals(first)) await delay(10);
      // It takes the lock, and so comes after the batch.
      await work.ok('snap-list', [IMAGE]);
    },
    finish(rest) {
      source.end(rest);
      return running.result;
    },
  };
}
