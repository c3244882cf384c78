/**
 * Kills commands for as long as one likes: `npm run test:kill -- [KILLS] [SEED] [WORLD]`. Half of the kills are at named points,
 * and come again from the seed; half are at any moment. Beside them commands are ended by signals, and stopped at a lock
 * while others want it. A failure keeps its directory and says where it is.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mulberry32 } from '../sim/memory-host.ts';
import { Workplace } from '../support/commands.ts';
import { LockStopper } from './fights.ts';
import type { Below } from './jobs.ts';
import { type Killer, PointKiller, SignalSender } from './killers.ts';
import { MomentKiller } from './moments.ts';
import { World } from './world.ts';

const DEFAULT_KILLS = 4000;

/** The kinds of worlds, and how many commands each meets for every kill that was asked for. */
const WORLDS = {
  points: { killer: PointKiller, share: 1 / 2 },
  moments: { killer: MomentKiller, share: 1 / 2 },
  signals: { killer: SignalSender, share: 1 / 4 },
  fights: { killer: LockStopper, share: 1 / 4 },
};

/** Runs the worlds, or one of them, two at a time, and says what was done. @throws with seed, round and directory */
export async function runKills(
  kills: number,
  seed: number,
  say: (text: string) => void,
  only?: string,
): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'imgsnap-kill-'));
  const rest = Object.entries(WORLDS).filter(([name]) => only === undefined || name === only);
  const runner = async () => {
    for (let next = rest.shift(); next !== undefined; next = rest.shift()) {
      const [name, { killer, share }] = next;
      // Not the numbers that the world chooses by.
      say(await live(name, new killer(chance(seed + 1)), Math.ceil(kills * share)));
    }
  };
  await Promise.all([runner(), runner()]);
  rmSync(directory, { recursive: true });

  async function live(name: string, killer: Killer, share: number) {
    const place = join(directory, name);
    mkdirSync(place);
    const world = new World(new Workplace(place), killer, seed);
    try {
      await world.run(share);
    } catch (error) {
      const where = `${kills} ${seed} ${name}: round ${world.rounds}, left in ${place}`;
      throw new Error(`${where}\n  ${world.lines.join('\n  ')}\n${String(error)}`, { cause: error });
    }
    return `${describe(name, world)}\n${killer.remarks()}`;
  }
}

function chance(seed: number): Below {
  const random = mulberry32(seed);
  return (limit) => random() % limit;
}

function describe(name: string, world: World): string {
  const tallies = [...world.tallies].sort(([a], [b]) => (a < b ? -1 : 1));
  const lines = tallies.map(
    ([recipe, { met, killed, interrupted, finished }]) =>
      `  ${row(met, killed + interrupted, finished)}  ${recipe}`,
  );
  const head = `  ${'met'.padStart(10)}${'unfinished'.padStart(12)}${'finished'.padStart(12)}`;
  return [`${name}: ${world.met} met in ${world.rounds} rounds`, head, ...lines].join('\n');
}

function row(...counts: number[]): string {
  return counts.map((count) => String(count).padStart(10)).join('  ');
}

if (process.argv[1] === import.meta.filename) {
  const kills = Number(process.argv[2] ?? DEFAULT_KILLS);
  const seed = Number(process.argv[3] ?? Date.now() % 2 ** 31);
  console.log(`kills: seed ${seed}`);
  const startMs = performance.now();
  await runKills(kills, seed, console.log, process.argv[4]);
  console.log(`survived, in ${((performance.now() - startMs) / 1000).toFixed(0)} s`);
}
