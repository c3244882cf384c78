/**
 * Runs the race for as long as one likes: `npm run test:race -- [SECONDS] [SEED] [WAIT]`. Prints what was done and how
 * long the lock was waited for. Who comes first is the machine's business, so a seed repeats the choices and not the
 * race.
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
}

if (process.argv[1] === import.meta.filename) {
  const seconds = Number(process.argv[2] ?? DEFAULT_SECONDS);
  const seed = Number(process.argv[3] ?? Date.now() % 2 ** 31);
  console.log(`race: seed ${seed}, ${seconds} s`);
  const directory = mkdtempSync(join(tmpdir(), 'imgsnap-race-'));
  try {
    tell(await new Race(new Workplace(directory), { seed, milliseconds: seconds * 1000 }).run());
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
