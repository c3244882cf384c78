/**
 * Kills commands for as long as one likes: `npm run test:kill -- [KILLS] [SEED]`. Half of the kills are at named points,
 * and come again from the seed; half are at any moment. A failure keeps its directory and says where it is.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadXxh64 } from '../../core/base/xxh64.ts';
import { mulberry32 } from '../sim/memory-host.ts';
import { Workplace } from '../support/commands.ts';
import { type Killer, MomentKiller, PointKiller } from './killers.ts';
import { World } from './world.ts';

const DEFAULT_KILLS = 4000;

export interface KillReport {
  readonly kills: number;
  readonly text: string;
}

/** Runs two worlds at once, until there were so many kills. @throws with seed, round and directory */
export async function runKills(kills: number, seed: number): Promise<KillReport> {
  await loadXxh64();
  const directory = mkdtempSync(join(tmpdir(), 'imgsnap-kill-'));
  const below = (salt: number) => {
    const random = mulberry32(seed + salt);
    return (limit: number) => random() % limit;
  };
  const worlds = await Promise.all([
    live('points', new PointKiller(below(1)), Math.ceil(kills / 2)),
    live('moments', new MomentKiller(below(2)), Math.floor(kills / 2)),
  ]);
  const texts = worlds.flatMap(({ name, world, killer }) => [describe(name, world), killer.remarks()]);
  rmSync(directory, { recursive: true });
  return { kills: worlds.reduce((sum, { world }) => sum + world.kills, 0), text: texts.join('\n') };

  async function live(name: string, killer: Killer, share: number) {
    const place = join(directory, name);
    mkdirSync(place);
    const world = new World(new Workplace(place), killer, seed);
    try {
      await world.run(share);
    } catch (error) {
      const where = `seed ${seed}, world of ${name}, round ${world.rounds}; left in ${place}`;
      throw new Error(`${where}\n  ${world.lines.join('\n  ')}\n${String(error)}`, { cause: error });
    }
    return { name, world, killer };
  }
}

function describe(name: string, world: World): string {
  const tallies = [...world.tallies].sort(([a], [b]) => (a < b ? -1 : 1));
  const lines = tallies.map(
    ([recipe, { kills, finished }]) =>
      `  ${String(kills).padStart(5)} killed ${String(finished).padStart(5)} finished  ${recipe}`,
  );
  return [`${name}: ${world.kills} kills in ${world.rounds} rounds`, ...lines].join('\n');
}

if (process.argv[1] === import.meta.filename) {
  const kills = Number(process.argv[2] ?? DEFAULT_KILLS);
  const seed = Number(process.argv[3] ?? Date.now() % 2 ** 31);
  console.log(`kills: seed ${seed}`);
  const startMs = performance.now();
  const report = await runKills(kills, seed);
  console.log(report.text);
  console.log(`${report.kills} kills survived in ${((performance.now() - startMs) / 1000).toFixed(0)} s`);
}
