/**
 * Runs the race for as long as one likes: `npm run test:race -- [SECONDS] [SEED] [LIMIT]`. Prints what was done and how
 * long the lock was waited for. Who comes first is the machine's business, so a seed repeats the choices and not the
 * race. A wait past LIMIT seconds is a failure only where a limit is given: on a machine with fewer processors than
 * there are processes, it tells how long they were not run, too.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Workplace } from '../support/commands.ts';
import { type LockTime, Race, type RaceResult } from './race.ts';

const DEFAULT_SECONDS = 60;

function quantile(times: readonly LockTime[], part: number): string {
  const { ms, command } = times[Math.min(times.length - 1, Math.floor(times.length * part))] ?? {};
  return `${ms?.toFixed(1)} ms (${command})`;
}

/** The most that went in before one that had been waiting already: what a wait is, apart from the machine's speed. */
function mostBefore(waits: readonly LockTime[]): number {
  const entries = waits.map(({ atMs }) => atMs).sort((a, b) => a - b);
  return Math.max(
    ...waits.map(({ ms, atMs }) => entries.filter((entry) => entry > atMs - ms && entry < atMs).length),
  );
}

function tell({ counts, waits, holds }: RaceResult): void {
  console.log(
    `${counts.writes} writes in ${counts.batches} batches and ${counts.killedWriters} killed, ${counts.reads} reads ` +
      `and ${counts.goneReads} of what was just removed, ${counts.looks} looks, ${counts.creations} creations, ` +
      `${counts.removals} removals; the lock was taken ${waits.length} times`,
  );
  for (const [word, times] of Object.entries({ 'waited for it': waits, 'held it': holds })) {
    const [half, most, longest] = [0.5, 0.99, 1].map((part) => quantile(times, part));
    console.log(`${word}: half ${half}, 99% ${most}, longest ${longest}`);
  }
  console.log(`before one that waited went in at most ${mostBefore(waits)} others`);
}

if (process.argv[1] === import.meta.filename) {
  const seconds = Number(process.argv[2] ?? DEFAULT_SECONDS);
  const seed = Number(process.argv[3] ?? Date.now() % 2 ** 31);
  const limitMs = Number(process.argv[4] ?? Number.POSITIVE_INFINITY) * 1000;
  console.log(`race: seed ${seed}, ${seconds} s`);
  const directory = mkdtempSync(join(tmpdir(), 'imgsnap-race-'));
  try {
    const result = await new Race(new Workplace(directory), { seed, milliseconds: seconds * 1000 }).run();
    tell(result);
    const tooLong = result.waits.filter(({ ms }) => ms > limitMs).length;
    if (tooLong > 0) throw new Error(`${tooLong} times the lock was waited for longer than ${limitMs} ms`);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
