/**
 * Two commands, exhaustively: one is stopped before each call that it makes, one after the other; others then run to
 * their end, or give up because the first holds the lock; then the first goes on, or is killed. What all of them
 * answered, and what is there afterwards, must be what some order of them one after the other gives.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { type CommandName, KIB, noise, Workplace } from '../support/commands.ts';
import { callsOf, startProbed, untilStopped } from '../support/probe.ts';
import type { ProcessResult } from '../support/process.ts';
import { type Content, checkRest, contentOf, IMAGE, sameContent } from './rest.ts';

/** Reads take three runs; clusters are many enough that bitmaps have several bytes. */
const IMAGE_BYTES = 2200 * KIB + 100;
const CLUSTER_KIB = 16;
const BUSY = 4;

interface Model {
  image: Buffer;
  snapshots: Map<string, Buffer>;
}

interface Expected {
  readonly status: number;
  readonly data?: Buffer;
}

interface Step {
  readonly name: CommandName;
  readonly args: readonly string[];
  readonly stdin?: Buffer;
  readonly apply: (model: Model) => Expected;
}

export interface Pair {
  /** What the first finds: some snapshots, or an image without any. */
  readonly scene: 'three' | 'none';
  readonly first: Step;
  readonly others: readonly Step[];
  /** The first is killed where it was stopped, and does not go on. */
  readonly kill?: boolean;
}

const DONE: Expected = { status: 0 };
const REFUSED: Expected = { status: 1 };

function writes(offsetBytes: number, data: Buffer): Step {
  const apply = (model: Model) => {
    model.image = Buffer.from(model.image);
    data.copy(model.image, offsetBytes);
    return DONE;
  };
  return { name: 'snap-write', args: ['-q', IMAGE, '--offset', String(offsetBytes)], stdin: data, apply };
}

function creates(name: string): Step {
  const apply = ({ image, snapshots }: Model) => {
    if (snapshots.has(name)) return REFUSED;
    snapshots.set(name, image);
    return DONE;
  };
  return { name: 'snap-create', args: ['-q', `${IMAGE}@${name}`], apply };
}

function reads(name: string): Step {
  const apply = ({ snapshots }: Model) => {
    const data = snapshots.get(name);
    // One that was told so late that it had given something away is no read of nothing.
    return data === undefined ? { ...REFUSED, data: Buffer.alloc(0) } : { status: 0, data };
  };
  return { name: 'snap-read', args: [`${IMAGE}@${name}`], apply };
}

function removes(name: string): Step {
  const apply = ({ snapshots }: Model) => (snapshots.delete(name) ? DONE : REFUSED);
  return { name: 'snap-gc', args: ['-q', `${IMAGE}@${name}`], apply };
}

function collects(): Step {
  return { name: 'snap-gc', args: ['-q', IMAGE], apply: () => DONE };
}

const newer = (seed: string) => writes(200 * KIB + 7, noise(seed, 900 * KIB));

/** By what holds of them. */
export const PAIRS: Readonly<Record<string, Pair>> = {
  'a snapshot is read while it is removed and its name taken again': {
    scene: 'three',
    first: reads('b'),
    others: [removes('b'), creates('b'), newer('other')],
  },
  'the newest snapshot is read while it is removed and the image written': {
    scene: 'three',
    first: reads('c'),
    others: [removes('c'), newer('other')],
  },
  'the newest snapshot is removed under a writer': {
    scene: 'three',
    first: newer('first'),
    others: [removes('c'), reads('b')],
  },
  'the image is written and read while the newest snapshot is removed': {
    scene: 'three',
    first: removes('c'),
    others: [newer('other'), reads('b')],
  },
  'a middle snapshot becomes, and others are taken, while one is removed': {
    scene: 'three',
    first: removes('b'),
    others: [creates('d'), newer('other'), reads('a')],
  },
  'all snapshots are removed and one is taken under a writer': {
    scene: 'three',
    first: newer('first'),
    others: [removes('a'), removes('b'), removes('c'), creates('a')],
  },
  'two creators': { scene: 'three', first: creates('d'), others: [creates('d'), creates('e')] },
  'two first creators': { scene: 'none', first: creates('d'), others: [creates('d'), creates('e')] },
  'a collector beside a creator': { scene: 'three', first: creates('d'), others: [collects(), reads('c')] },
  'a collector beside a first creator': {
    scene: 'none',
    first: creates('d'),
    others: [collects(), newer('other')],
  },
  'a creator beside a collector': {
    scene: 'three',
    first: collects(),
    others: [creates('d'), newer('other')],
  },
  'a first creator beside a collector': {
    scene: 'none',
    first: collects(),
    others: [creates('d'), newer('other')],
  },
  'a first creator under a writer': {
    scene: 'none',
    first: newer('first'),
    others: [creates('d'), newer('other')],
  },
  'a creator is killed': {
    scene: 'three',
    first: creates('d'),
    others: [reads('c'), creates('e')],
    kill: true,
  },
  'a first creator is killed': {
    scene: 'none',
    first: creates('d'),
    others: [newer('other'), creates('e')],
    kill: true,
  },
  'a remover of the newest is killed': {
    scene: 'three',
    first: removes('c'),
    others: [reads('b'), newer('other')],
    kill: true,
  },
  'a remover of a middle one is killed': {
    scene: 'three',
    first: removes('b'),
    others: [reads('a'), removes('a')],
    kill: true,
  },
};

/** What a pair of commands begins with, made once and copied for each point. */
async function prepare(work: Workplace, scene: Pair['scene']): Promise<Content> {
  const model: Model = { image: work.image(IMAGE, noise('first', IMAGE_BYTES)), snapshots: new Map() };
  if (scene === 'none') return model;
  const steps: Step[] = [];
  for (const [at, name] of ['a', 'b', 'c'].entries()) {
    const size = name === 'a' ? ['--cluster-size', `${CLUSTER_KIB}K`] : [];
    const create = creates(name);
    steps.push({ ...create, args: [...create.args, ...size] });
    steps.push(writes(at * 300 * KIB + 100, noise(name, 500 * KIB)));
  }
  for (const { name, args, stdin, apply } of steps) {
    await work.ok(name, args, stdin === undefined ? {} : { stdin });
    apply(model);
  }
  return model;
}

interface Answered {
  readonly step: Step;
  readonly result: ProcessResult;
}

function agrees(expected: Expected, { status, stdout }: ProcessResult): boolean {
  return expected.status === status && (expected.data === undefined || expected.data.equals(stdout));
}

/** Whether these commands, in this order, answer and leave what was found. */
function explains(before: Content, order: readonly Answered[], found: Content, unheard?: Answered): boolean {
  const model: Model = { image: before.image, snapshots: new Map(before.snapshots) };
  const agreed = order.every((it) => {
    const expected = it.step.apply(model);
    return it === unheard || agrees(expected, it.result);
  });
  return agreed && sameContent(model, found);
}

/** Every place for the first among the others, and for a killed one also none. */
function ordersOf(first: Answered, others: readonly Answered[], killed: boolean): Answered[][] {
  const done = others.filter(({ result }) => result.status !== BUSY);
  const orders = Array.from({ length: done.length + 1 }, (_, at) => [
    ...done.slice(0, at),
    first,
    ...done.slice(at),
  ]);
  return killed ? [...orders, done] : orders;
}

/** Runs a pair with the first stopped before its call of this number; tells whether anybody had to give up. */
async function tryAt(work: Workplace, before: Content, pair: Pair, call: number): Promise<boolean> {
  const { first, others, kill = false } = pair;
  const input = ({ stdin }: Step) => (stdin === undefined ? {} : { stdin });
  const running = startProbed(work, first.name, first.args, { call, action: 'stop' }, input(first));
  const answers: Answered[] = [];
  try {
    // A call more or less, as threads come and go: then it has ended.
    await untilStopped(running).catch(() => running.result);
    if (kill) {
      running.child.kill('SIGKILL');
      await running.result;
    }
    for (const step of others) {
      const result = await work.start(step.name, [...step.args, '--wait', '0.1'], input(step)).result;
      answers.push({ step, result });
    }
  } finally {
    running.child.kill('SIGCONT');
  }
  const answered = { step: first, result: await running.result };
  const found = await contentOf(work);
  const orders = ordersOf(answered, answers, kill);
  if (!orders.some((order) => explains(before, order, found, kill ? answered : undefined))) {
    const tell = ({ step, result }: Answered) =>
      `${step.name} ${step.args.join(' ')}: ${result.status} ${result.stderr.trim()}`;
    assert.fail(
      `no order explains:\n${[answered, ...answers].map(tell).join('\n')}\nand ${[...found.snapshots.keys()]}`,
    );
  }
  await checkRest(work, [...found.snapshots.keys()]);
  return answers.some(({ result }) => result.status === BUSY);
}

export interface PairResult {
  readonly points: number;
  /** At how many of them somebody gave up. */
  readonly busy: number;
}

/** Calls that change nothing: who is killed before one might as well be killed before the next. */
const LOOKS = /^(?:stat|lstat|realpath|readdir|statfs|readFile|read) /;

/** What pairs begin with, made once in a directory and copied for each point. */
export class PairPlace {
  readonly #directory: string;
  readonly #scenes = new Map<Pair['scene'], Content>();

  constructor(directory: string) {
    this.#directory = directory;
  }

  async #scene(scene: Pair['scene']): Promise<Content> {
    const template = `${this.#directory}/${scene}`;
    let content = this.#scenes.get(scene);
    if (content === undefined) {
      mkdirSync(template);
      content = await prepare(new Workplace(template), scene);
      this.#scenes.set(scene, content);
    }
    return content;
  }

  #copy(scene: Pair['scene']): Workplace {
    const place = `${this.#directory}/work`;
    rmSync(place, { recursive: true, force: true });
    // With times to the nanosecond, which no copy by Node keeps.
    assert.equal(spawnSync('cp', ['-a', `${this.#directory}/${scene}`, place]).status, 0);
    return new Workplace(place);
  }

  async #tryAt(pair: Pair, calls: readonly string[], call: number): Promise<boolean> {
    try {
      return await tryAt(this.#copy(pair.scene), await this.#scene(pair.scene), pair, call);
    } catch (error) {
      throw new Error(`stopped before call ${call} (${calls[call - 1]}): ${String(error)}`, { cause: error });
    }
  }

  async #callsOf({ scene, first }: Pair): Promise<string[]> {
    await this.#scene(scene);
    const { name, args, stdin } = first;
    return callsOf(this.#copy(scene), name, args, stdin === undefined ? {} : { stdin });
  }

  /** One point, by a number that chooses it. @throws naming the point */
  async tryOne(pair: Pair, choice: number): Promise<void> {
    const calls = await this.#callsOf(pair);
    await this.#tryAt(pair, calls, (choice % calls.length) + 1);
  }

  /**
   * All points. Where somebody had to give up, the first holds the lock, and nothing differs until it lets go of one.
   * @throws naming the point
   */
  async tryAll(pair: Pair): Promise<PairResult> {
    const calls = await this.#callsOf(pair);
    let [points, busy] = [0, 0];
    for (let call = 1; call <= calls.length; call += 1) {
      if (pair.kill && LOOKS.test(calls[call - 1] ?? '')) continue;
      points += 1;
      if (!(await this.#tryAt(pair, calls, call))) continue;
      busy += 1;
      while (call < calls.length && calls[call - 1]?.startsWith('unlock') !== true) call += 1;
    }
    return { points, busy };
  }
}
