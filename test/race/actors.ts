/** What takes part in a race: each runs real commands in a loop until it is told to stop, and judges what they answer. */

import assert from 'node:assert/strict';
import { readFileSync, rmSync } from 'node:fs';
import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { PACE } from '../../core/store/append.ts';
import type { CommandName } from '../support/commands.ts';
import type { ProcessResult, RunningProcess } from '../support/process.ts';
import type { Batch } from './history.ts';
import type { Known } from './known.ts';
import type { Race } from './race.ts';
import { renderUnits, UNIT_BYTES } from './units.ts';

export const IMAGE = 'disk.img';
/** What one hold of a writer takes, at most, and where it ends. */
export const BATCH_UNITS = PACE.batchBytes / UNIT_BYTES;
const MOST_SHORT_UNITS = 48;
const PIECE_BYTES = 1 << 20;
const MOST_ALIVE = 9;
const LEAST_ALIVE = 4;
const NAMES = 14;
const SIGKILL_STATUS = 137;

/** A choice from 0 to `below` - 1. */
export type Choose = (below: number) => number;

function checkEnd(result: ProcessResult, what: string): void {
  assert.equal(result.status, 0, `${what} ended with ${result.status}: ${result.stderr}`);
}

async function runToEnd(race: Race, name: CommandName, args: readonly string[]): Promise<ProcessResult> {
  const result = await race.end(race.start(name, args), `${name} ${args.join(' ')}`);
  checkEnd(result, `${name} ${args.join(' ')}`);
  return result;
}

/** Begins each batch as it is asked for its first byte, and thinks in between. */
async function* input(
  race: Race,
  work: { writer: number; from: number; to: number; slow: boolean; choose: Choose },
  batches: Batch[],
): AsyncGenerator<Buffer> {
  for (let unit = work.from; unit < work.to; ) {
    const count = Math.min(BATCH_UNITS - (unit % BATCH_UNITS), work.to - unit);
    const stamp = { writer: work.writer, round: race.nextRound() };
    batches.push(race.history.begin(stamp, unit, count));
    const bytes = renderUnits(stamp, unit, count);
    for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
      if (work.slow) await delay(work.choose(20));
      yield bytes.subarray(at, at + PIECE_BYTES);
    }
    unit += count;
  }
}

/** Short writes anywhere, and long ones of several batches from a source that is slow at times; some are killed. */
export async function write(race: Race, writer: number, choose: Choose): Promise<void> {
  const isLong = choose(4) === 0;
  const count = isLong ? choose(race.units) + 1 : choose(MOST_SHORT_UNITS) + 1;
  const from = choose(race.units - count + 1);
  const batches: Batch[] = [];
  const work = { writer, from, to: from + count, slow: isLong && choose(2) === 0, choose };
  const stdin = Readable.from(input(race, work, batches), { highWaterMark: 1 });
  const options = [...(choose(3) === 0 ? ['--no-sync'] : []), ...(choose(4) === 0 ? ['--delta'] : [])];
  const args = ['-q', IMAGE, '--offset', String(from * UNIT_BYTES), ...options];
  const running = race.start('snap-write', args, { stdin });
  const killed = choose(16) === 0;
  if (killed) void delay(choose(400)).then(() => running.child.kill('SIGKILL'));
  const result = await race.end(running, `snap-write ${args.join(' ')}`);
  if (killed && result.status === SIGKILL_STATUS) {
    race.counts.killedWriters += 1;
    return;
  }
  checkEnd(result, `snap-write ${args.join(' ')}`);
  const ended = race.history.now();
  for (const batch of batches) batch.ended = ended;
  race.counts.writes += 1;
  race.counts.batches += batches.length;
}

/** Takes nothing from a reader for a while, again and again. */
async function dawdle({ child, result }: RunningProcess, choose: Choose): Promise<void> {
  let ended = false;
  void result.then(() => {
    ended = true;
  });
  while (!ended) {
    child.stdout?.pause();
    await delay(choose(60));
    child.stdout?.resume();
    await delay(2);
  }
}

/** Reads of snapshots: whole or a range, into a pipe or a file, with a slow consumer at times. */
export async function read(race: Race, reader: number, choose: Choose): Promise<void> {
  const alive = race.alive();
  // Each reader has its own part of the chain, as far as there is enough of it.
  const known = alive[Math.floor((alive.length * (reader + choose(2) / 2)) / race.readers)];
  if (known === undefined) return;
  if (choose(12) === 0) return look(race, choose);
  const range = choose(2) === 0;
  const offsetBytes = range ? choose(known.sizeBytes) : 0;
  const lengthBytes = range ? choose(Math.min(known.sizeBytes - offsetBytes, 3 << 20) + 1) : known.sizeBytes;
  const where = range ? ['--offset', String(offsetBytes), '--length', String(lengthBytes)] : [];
  const file = !range && choose(4) === 0 ? `out${reader}` : undefined;
  const args = [`${IMAGE}@${known.name}`, ...where, ...(file === undefined ? [] : ['-o', file])];
  const what = `snap-read ${args.join(' ')}`;
  const startedAt = race.history.now();
  const running = race.start('snap-read', args);
  if (file === undefined && choose(4) === 0) void dawdle(running, choose);
  const result = await race.end(running, what);
  const endedAt = race.history.now();
  if (result.status === 1 && result.stderr.includes('no such snapshot')) {
    // Only a removal may have taken it; that one may not have ended yet.
    await race.removal;
    assert.ok(known.goneAt < Number.POSITIVE_INFINITY, `${what}: ${result.stderr}, and nobody removed it`);
    race.counts.goneReads += 1;
    return;
  }
  checkEnd(result, what);
  const bytes = file === undefined ? result.stdout : readFileSync(race.work.path(file));
  if (file !== undefined) rmSync(race.work.path(file));
  assert.equal(bytes.length, lengthBytes, `${what}: its length`);
  race.seen(race.candidates(known.name, startedAt, endedAt), {
    offsetBytes,
    bytes,
    what: `${what} [${startedAt}]`,
  });
  race.counts.reads += 1;
}

/** Who only looks finds nothing wrong, whoever is at work. */
async function look(race: Race, choose: Choose): Promise<void> {
  if (choose(2) === 0) await runToEnd(race, 'snap-list', ['--json', IMAGE]);
  else await runToEnd(race, 'snap-verify', [IMAGE]);
  race.counts.looks += 1;
}

/** New snapshots, under names that were used before and are free again. */
export async function create(race: Race, choose: Choose): Promise<void> {
  while (race.alive().length >= MOST_ALIVE && race.removing) await delay(10);
  const taken = new Set(race.alive().map(({ name }) => name));
  const free = Array.from({ length: NAMES }, (_, at) => `s${at}`).filter((name) => !taken.has(name));
  const known = race.announce(free[choose(free.length)] ?? 'more');
  await runToEnd(race, 'snap-create', ['-q', `${IMAGE}@${known.name}`]);
  known.ended = race.history.now();
  race.counts.creations += 1;
}

/** Removals of the oldest, one in the middle, the newest; by name and by a rule. */
export async function remove(race: Race, choose: Choose): Promise<void> {
  while (race.alive().length < LEAST_ALIVE && race.creating) await delay(10);
  const alive = race.alive();
  // Some are to be there at the end.
  if (alive.length < LEAST_ALIVE) return;
  const byRule = choose(4) === 0;
  const at = [0, Math.floor(alive.length / 2), alive.length - 1][choose(3)] ?? 0;
  const name = alive[at]?.name;
  if (name === undefined) return;
  const target = byRule ? [IMAGE, '--keep-last', String(alive.length - 2)] : [`${IMAGE}@${name}`];
  const { stdout } = await runToEnd(race, 'snap-gc', ['--json', ...target]);
  const { removed } = JSON.parse(stdout.toString()) as { removed: { name: string }[] };
  if (!byRule)
    assert.deepEqual(
      removed.map((it) => it.name),
      [name],
    );
  const goneAt = race.history.now();
  for (const { name: gone } of removed) markGone(race.alive(), gone, goneAt);
  race.counts.removals += removed.length;
}

function markGone(alive: readonly Known[], name: string, goneAt: number): void {
  const known = alive.find((it) => it.name === name);
  if (known !== undefined) known.goneAt = goneAt;
}
