/**
 * Runs the crash simulator for as long as one likes: `npm run test:crash -- [CRASHES] [SEED]`. Prints the seed it began
 * with; a failure prints its own seed and steps, and comes again from `npm run test:crash -- 1 SEED`.
 */
import { optionsFor } from './crash-options.ts';
import { crashRun } from './crash-run.ts';

const DEFAULT_CRASHES = 20_000;

/** Runs seeds from `firstSeed` on until there were so many crashes; returns how many. @throws with seed and steps */
export async function runCrashes(crashCount: number, firstSeed: number): Promise<number> {
  let crashes = 0;
  for (let seed = firstSeed; crashes < crashCount; seed += 1) {
    const lines: string[] = [];
    try {
      crashes += (await crashRun(optionsFor(seed, (line) => lines.push(line)))).crashes;
    } catch (error) {
      throw new Error(`seed ${seed}:\n  ${lines.join('\n  ')}\n${String(error)}`, { cause: error });
    }
  }
  return crashes;
}

if (process.argv[1] === import.meta.filename) {
  const crashCount = Number(process.argv[2] ?? DEFAULT_CRASHES);
  const seed = Number(process.argv[3] ?? Date.now() % 2 ** 31);
  console.log(`crash simulator: seed ${seed}`);
  console.log(`${await runCrashes(crashCount, seed)} crashes survived`);
}
