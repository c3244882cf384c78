/** All targets together, each with its share of the time; and from a file, its inputs once. */
import './coverage.ts';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { KINDS, makeScene } from '../damage/scene.ts';
import { Chance } from './chance.ts';
import { commandTarget } from './command-target.ts';
import { loadCommands } from './commands.ts';
import { CORPUS_FOLDER, corpusPath, readInputs, targetOf } from './corpus.ts';
import { coverage, type Seen } from './coverage.ts';
import { decoderTarget } from './decoder-target.ts';
import { type Finding, Lane, type LaneTools } from './lane.ts';
import { processTarget } from './process-target.ts';
import { sidecarTarget } from './sidecar-target.ts';
import type { Target } from './target.ts';
import { Watchdog } from './watchdog.ts';

/** The scenes are always the same, so that an input means the same. */
const SCENE_SEED = 5;
/** Parts of the time. */
const SHARES: Readonly<Record<string, number>> = { sidecar: 10, decoder: 3, command: 5, process: 1 };

export interface FuzzOptions {
  readonly seed: number;
  readonly onFinding: (finding: Finding) => void;
  /** Whether a thread watches for inputs that do not end. */
  readonly watched: boolean;
  /** Whether real processes are started as well. */
  readonly processes: boolean;
}

type AnyTarget = Target<unknown>;
type AnyLane = Lane<unknown>;

export class Fuzzer {
  readonly lanes: readonly AnyLane[];
  /** What importing alone executes: nobody's merit, and yet executed. */
  readonly #imported: Seen = new Map();
  readonly #tools: LaneTools;

  private constructor(targets: readonly AnyTarget[], tools: LaneTools) {
    this.#tools = tools;
    coverage.takeNew(this.#imported);
    this.lanes = targets.map((target) => new Lane(target, tools));
  }

  static async create({ seed, onFinding, watched, processes }: FuzzOptions): Promise<Fuzzer> {
    const commands = await loadCommands();
    const scenes = [];
    for (const kind of KINDS) scenes.push(await makeScene(SCENE_SEED, kind));
    const [scene] = scenes;
    if (scene === undefined) throw new Error('no scene');
    const targets = [
      sidecarTarget(scenes, SCENE_SEED),
      decoderTarget(scene),
      commandTarget(commands, scene, SCENE_SEED),
      ...(processes ? [processTarget(commands)] : []),
    ];
    const watchdog = watched ? new Watchdog(CORPUS_FOLDER) : undefined;
    const tools = { chance: new Chance(seed), watchdog, onFinding };
    return new Fuzzer(targets, tools);
  }

  /** Runs every input of the corpus, and of what was found. */
  async loadCorpus(): Promise<void> {
    for (const lane of this.lanes) await lane.load(readInputs(corpusPath(lane.name)));
    for (const name of readdirSync(CORPUS_FOLDER)) {
      if (name.startsWith('found-')) await this.replay(join(CORPUS_FOLDER, name));
    }
  }

  /** Runs the inputs of one file. */
  async replay(path: string): Promise<void> {
    const lane = this.lanes.find(({ name }) => name === targetOf(path));
    await lane?.load(readInputs(path));
  }

  /** The lane that had the least of its share. */
  async round(): Promise<void> {
    const debt = (lane: AnyLane) => lane.spentMs / (SHARES[lane.name] ?? 1);
    const next = this.lanes.reduce((least, lane) => (debt(lane) < debt(least) ? lane : least));
    await next.round();
  }

  /** Characters executed and characters there are, by file, over all lanes. */
  coverage(): Map<string, { readonly executed: number; readonly all: number }> {
    const sizes = coverage.sizes();
    const together: Seen = new Map();
    for (const seen of [this.#imported, ...this.lanes.map((lane) => lane.seen)]) {
      for (const [path, bytes] of seen) {
        const sum = together.get(path) ?? new Uint8Array(sizes.get(path) ?? 0);
        for (let at = 0; at < sum.length; at += 1) sum[at] = (sum[at] ?? 0) | (bytes[at] ?? 0);
        together.set(path, sum);
      }
    }
    const count = (bytes: Uint8Array) => bytes.reduce((total, byte) => total + byte, 0);
    return new Map(
      [...together].map(([path, bytes]) => [path, { executed: count(bytes), all: bytes.length }]),
    );
  }

  async stop(): Promise<void> {
    coverage.stop();
    await this.#tools.watchdog?.stop();
  }
}
