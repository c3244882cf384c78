/**
 * A long life of an image: round after round a command is killed, then everything is compared with the model. What is
 * killed follows from the seed; with a killer that knows only named points, all of it does.
 */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { mulberry32 } from '../sim/memory-host.ts';
import { KIB, MIB, type Workplace } from '../support/commands.ts';
import { type Area, anyPlace, type Below, chooseJob, content, type Job, RECIPES } from './jobs.ts';
import type { Ended, Killer } from './killers.ts';
import type { Done, Outcome } from './model.ts';
import { acceptRound, outsideRound } from './outside.ts';
import { Scene } from './scene.ts';

const LIFE_ROUNDS = 150;
const CLEAN_EVERY = 8;
const FILLED_COUNT = 4;

export type Tally = Record<Outcome | 'met', number>;

export class World {
  readonly #work: Workplace;
  readonly #killer: Killer;
  readonly #below: Below;
  #scene: Scene | undefined;
  #age = 0;
  /** Commands that were killed, stopped or told to end. */
  met = 0;
  rounds = 0;
  /** Commands by recipe. */
  readonly tallies = new Map<string, Tally>();
  /** The latest rounds, for whoever reads of a failure. */
  readonly lines: string[] = [];

  constructor(work: Workplace, killer: Killer, seed: number) {
    this.#work = work;
    this.#killer = killer;
    const random = mulberry32(seed);
    this.#below = (limit) => (limit <= 1 ? 0 : random() % Math.floor(limit));
  }

  /** Until so many commands were met. */
  async run(count: number): Promise<void> {
    while (this.met < count) {
      this.rounds += 1;
      await this.#round();
    }
    if (this.#scene !== undefined) await this.#scene.checkClean();
  }

  async #round(): Promise<void> {
    const below = this.#below;
    const scene = this.#scene ?? this.#makeScene();
    this.#scene = scene;
    const roll = below(100);
    if (roll < 8) await this.#firstRound();
    else if (roll < 11 && scene.model.names.length > 0) await acceptRound(scene, this.#kill);
    else if (roll < 14 && scene.model.names.length > 0) await outsideRound(scene, below, this.#kill);
    else await this.#plainRound(scene);
    this.#age += 1;
    if (this.#age % CLEAN_EVERY === 0) await this.#clean(scene);
    if (this.#age % CLEAN_EVERY === 0) await this.#fill(scene);
    if (this.#age >= LIFE_ROUNDS) this.#scene = undefined;
  }

  #makeScene(): Scene {
    const below = this.#below;
    this.#age = 0;
    const [clusterSizeBytes, most] = (
      [
        [4 * KIB, 200 * KIB],
        [4 * KIB, 60 * KIB],
        [64 * KIB, 3 * MIB],
      ] as const
    )[below(3)] ?? [4 * KIB, 60 * KIB];
    const sizeBytes = most / 2 + below(most / 2);
    this.#say(`an image of ${sizeBytes} bytes, clusters of ${clusterSizeBytes}`);
    return new Scene(this.#work, 'disk.img', content(below, sizeBytes), clusterSizeBytes);
  }

  async #plainRound(scene: Scene): Promise<void> {
    const below = this.#below;
    const { names } = scene.model;
    if (this.#killer.atOnce() === 1) {
      await scene.check(await this.#kill(scene, [chooseJob(scene, below, { ...WHOLE, names })]));
      return;
    }
    // Each has half of the image and of the snapshots to itself.
    const share = (rest: number) => names.filter((_, index) => index % 2 === rest);
    const first = chooseJob(scene, below, { from: 0, to: 0.5, names: share(0), shared: true });
    const second = chooseJob(scene, below, { from: 0.5, to: 1, names: share(1), shared: true });
    await scene.check(await this.#kill(scene, [first, second]));
  }

  /** An image's first snapshot, on an image of its own that does not live long. */
  async #firstRound(): Promise<void> {
    const below = this.#below;
    const scene = new Scene(this.#work, 'new.img', content(below, 1 + below(40 * KIB)), 4 * KIB);
    const make = (recipe: string): Job => {
      const made = RECIPES[recipe]?.make(scene, below, { ...WHOLE, names: scene.model.names });
      assert.ok(made);
      return { recipe: `first ${recipe}`, ...made };
    };
    await scene.check(await this.#kill(scene, [make('create')]));
    await scene.check(await this.#kill(scene, [make(below(2) === 0 ? 'write' : 'create')]));
    await scene.checkClean();
    scene.remove();
  }

  readonly #kill = async (scene: Scene, jobs: readonly Job[]): Promise<Done[]> => {
    const due = await scene.repairDue();
    const kind = `${jobs[0]?.recipe}${due ? ', repair due' : ''}`;
    this.#say(jobs.map(({ recipe, args }) => `${recipe}: ${args.join(' ')}`).join(' | '));
    const { ended, where } = await this.#killer.attempt(this.#work, jobs, kind);
    const ends = ended.map(({ outcome }) => outcome).join(', ');
    this.#say(`  ${due ? 'repair due, ' : ''}${where}: ${ends}`);
    for (const each of ended) this.#count(each);
    if (this.#killer.leavesAllTidy) await scene.checkTidy();
    return ended.map(({ job: { effect }, outcome }) => ({ effect, outcome }));
  };

  #count({ job: { recipe }, outcome, met }: Ended): void {
    const tally = this.tallies.get(recipe) ?? { met: 0, killed: 0, interrupted: 0, finished: 0 };
    tally[outcome] += 1;
    if (met) tally.met += 1;
    if (met) this.met += 1;
    this.tallies.set(recipe, tally);
  }

  async #clean(scene: Scene): Promise<void> {
    await scene.checkClean();
    // A killed `snap-read -o` leaves its unfinished file, which no command knows of.
    for (const name of scene.unfinishedOutputs()) rmSync(this.#work.path(`out/${name}`));
  }

  /** Removals need snapshots to remove, and most creations are killed. */
  async #fill(scene: Scene): Promise<void> {
    while (scene.model.names.length < FILLED_COUNT) {
      const write = anyPlace(scene, this.#below, { ...WHOLE, names: [] });
      await scene.addSnapshot({
        offsetBytes: write.offsetBytes,
        data: content(this.#below, write.lengthBytes),
      });
    }
  }

  #say(line: string): void {
    this.lines.push(`${this.rounds}: ${line}`);
    if (this.lines.length > 40) this.lines.shift();
  }
}

const WHOLE: Omit<Area, 'names'> = { from: 0, to: 1, shared: false };
