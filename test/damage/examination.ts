/**
 * What is done to a spoilt sidecar, and what must hold whatever was done to it: no wrong byte, nothing but errors of
 * ours, an end, and no change to what is not ours. A table of mutations is all that a test adds.
 */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { type ErrorCode, SnapError } from '../../core/base/errors.ts';
import { acceptOrigin } from '../../core/snapshot/accept-origin.ts';
import { collectSnapshots } from '../../core/snapshot/collect.ts';
import { compareWithOrigin } from '../../core/snapshot/compare.ts';
import { listImage } from '../../core/snapshot/list.ts';
import { type Verification, verifySnapshots } from '../../core/snapshot/verify.ts';
import type { MemoryHost } from '../sim/memory-host.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { create, IMAGE, noise, rawImage, read, write } from '../support/image.ts';
import { contentOf, copyMachine } from './copy-machine.ts';
import { CLUSTER_BYTES, IMAGE_BYTES, NAMES, type Scene, SIDECAR } from './scene.ts';

export const SEED = 5;
/** Every bit, every field, every file takes many minutes; a part of them, each time another one, takes seconds. */
export const ALL_BITS = process.env.IMGSNAP_ALL_BITS === '1';
/** Says which part of the tables is tried; with it the same part is tried again. */
export const CHOSEN = process.env.IMGSNAP_SEED ?? randomBytes(4).toString('hex');
/** What damage is not. */
const FOREIGN_CODES: readonly ErrorCode[] = [
  'usage',
  'busy',
  'interrupted',
  'pipe-closed',
  'no-space',
  'exists',
];
const MOST_OPERATIONS = 5000;
/** More would be noise. */
const MOST_SHOWN = ALL_BITS ? 1000 : 12;
const WRITE_AT = 5 * CLUSTER_BYTES + 100;
const WRITE_BYTES = 2 * CLUSTER_BYTES;
/** What a value that was never looked at, or an error that nobody meant, reads like. */
const BROKEN_TEXT =
  /undefined|\bNaN\b|\[object|Infinity|(?:Type|Range|Assertion|Syntax)Error|(?<!Snap)Error:/;

export interface Mutation {
  readonly what: string;
  readonly spoil: (host: MemoryHost) => Promise<void>;
  /** A code that is right here though damage has another. */
  readonly mayFailWith?: ErrorCode | undefined;
}

/** `thorough` adds ranges, dry runs and all that changes, each on a machine of its own. */
export type Depth = 'brief' | 'thorough';

type Outcome<T> = { readonly value: T } | { readonly error: SnapError };

export function machineOf(scene: Scene): MemoryHost {
  const host = copyMachine(scene.host, SEED);
  if (scene.kind === 'left open, another boot') host.reboot();
  return host;
}

/** One mutation of one scene, and what was found out about it so far. */
class Examination {
  readonly scene: Scene;
  readonly mutation: Mutation;

  constructor(scene: Scene, mutation: Mutation) {
    this.scene = scene;
    this.mutation = mutation;
  }

  async spoilt(): Promise<MemoryHost> {
    const host = machineOf(this.scene);
    await this.mutation.spoil(host);
    return host;
  }

  /** Runs one command as a process of its own that is stopped if it does not end. */
  async run<T>(host: MemoryHost, work: (context: TestContext) => Promise<T>): Promise<Outcome<T>> {
    let operations = 0;
    const session = host.session(() => {
      operations += 1;
      if (operations > MOST_OPERATIONS) throw new Error('it does not end');
    });
    const context = testContext(session);
    try {
      const value = await work(context);
      assert.equal(session.files.openCount, 0, 'files are left open');
      return { value };
    } catch (error) {
      if (!(error instanceof SnapError)) throw error;
      const isForeign = FOREIGN_CODES.includes(error.code) && error.code !== this.mutation.mayFailWith;
      assert.ok(!isForeign, String(error));
      assert.doesNotMatch(error.message, BROKEN_TEXT);
      assert.equal(session.files.openCount, 0, `files are left open after ${error.message}`);
      return { error };
    } finally {
      for (const { message } of context.warnings) assert.doesNotMatch(message, BROKEN_TEXT);
    }
  }

  /** The names that read right; whoever does not must fail as an error of ours. */
  async readable(host: MemoryHost, when: string): Promise<Map<string, string>> {
    const found = new Map<string, string>();
    for (const name of NAMES) {
      const outcome = await this.run(host, (context) => read(context, name));
      if ('error' in outcome) found.set(name, outcome.error.code);
      else {
        assert.ok(outcome.value.equals(this.#frozen(name)), `${name} reads wrong ${when}`);
        found.set(name, 'right');
      }
    }
    return found;
  }

  #frozen(name: string): Buffer {
    return this.scene.frozen.get(name) ?? assert.fail(name);
  }

  /** A cluster that is named is the first that cannot be read, and what is behind it is right or an error too. */
  async checkRanges(host: MemoryHost): Promise<void> {
    for (const name of NAMES) {
      const whole = await this.run(host, (context) => read(context, name));
      // Where one has ended, the cluster is where that happened, and nothing of it is read.
      const isDamage = 'error' in whole && whole.error.code !== 'invalid';
      const cluster = isDamage ? whole.error.clusterIndex : undefined;
      const ranges = [[3 * CLUSTER_BYTES - 7, 20]];
      if (cluster !== undefined) {
        const behind = Math.min((cluster + 1) * CLUSTER_BYTES, IMAGE_BYTES);
        ranges.push([0, cluster * CLUSTER_BYTES], [behind, IMAGE_BYTES - behind]);
      }
      for (const [index, [offsetBytes = 0, lengthBytes = 0]] of ranges.entries()) {
        const part = await this.run(host, (context) => read(context, name, { offsetBytes, lengthBytes }));
        const mustRead = 'value' in whole || index === 1;
        if ('error' in part) assert.ok(!mustRead, `${name} at ${offsetBytes}: ${part.error.message}`);
        else {
          const expected = this.#frozen(name).subarray(offsetBytes, offsetBytes + lengthBytes);
          assert.ok(part.value.equals(expected), `${name} at ${offsetBytes} reads wrong`);
        }
      }
    }
  }

  /** Nothing that only looks changes a byte. */
  async look(host: MemoryHost, depth: Depth): Promise<Outcome<Verification>> {
    const before = depth === 'thorough' ? await everyByte(host) : undefined;
    await this.run(host, (context) => listImage(context, IMAGE));
    const verified = await this.run(host, (context) => verifySnapshots(context, IMAGE, []));
    if (before === undefined) return verified;
    const rules = { keepLast: 1, keepDaily: 1, keepWithin: { years: 1, months: 0, days: 0, hours: 0 } };
    for (const request of [{ rules }, { names: ['b'] }, { maxTotalBytes: 1 }]) {
      await this.run(host, (context) => collectSnapshots(context, IMAGE, { ...request, dryRun: true }));
    }
    await this.run(host, (context) => acceptOrigin(context, IMAGE, { dryRun: true }));
    await this.run(host, (context) => compareWithOrigin(context, IMAGE, []));
    assert.deepEqual(await everyByte(host), before, 'looking changed something');
    return verified;
  }

  async write(host: MemoryHost, before: ReadonlyMap<string, string>): Promise<void> {
    const image = await rawImage(host);
    let losses = 0;
    const outcome = await this.run(host, async (context) => {
      const { failure, summary } = await write(context, WRITE_AT, noise(99, WRITE_BYTES));
      losses = context.warnings.filter(({ loss }) => loss === true).length;
      if (failure === undefined) return summary;
      assert.equal(summary.bytesWritten, 0, 'it failed and wrote');
      throw failure;
    });
    const expected = Buffer.from(image);
    if ('value' in outcome) noise(99, WRITE_BYTES).copy(expected, WRITE_AT);
    assert.ok((await rawImage(host)).equals(expected), 'the image is not as the write says');
    await this.#stillRight(host, { before, after: 'a write', losses });
  }

  /** Whoever could be read can be read, unless it was removed, or its loss was told. */
  async #stillRight(
    host: MemoryHost,
    what: {
      readonly before: ReadonlyMap<string, string>;
      readonly after: string;
      readonly losses: number;
      readonly removed?: readonly string[];
    },
  ): Promise<void> {
    const after = await this.readable(host, `after ${what.after}`);
    for (const [name, how] of what.before) {
      const lost = how === 'right' && after.get(name) !== 'right' && !what.removed?.includes(name);
      assert.ok(
        !lost || what.losses > 0,
        `${name} could be read; after ${what.after}: ${after.get(name)}, and no warning`,
      );
    }
  }

  /** Every other command that changes something; after each, what could be read can be read. */
  async change(before: ReadonlyMap<string, string>, turn: number): Promise<void> {
    const changes: [string, (context: TestContext) => Promise<unknown>][] = [
      ['creating', (context) => create(context, 'd')],
      ['accepting the origin', (context) => acceptOrigin(context, IMAGE, { dryRun: false })],
      ['collecting', collecting({})],
      ['collecting by rule', collecting({ rules: { keepLast: 1, keepDaily: 1 } })],
      ...NAMES.map((name): (typeof changes)[number] => [`removing ${name}`, collecting({ names: [name] })]),
    ];
    for (const [index, [after, work]] of changes.entries()) {
      // Each day another two of them; all of them take their time.
      if (!ALL_BITS && (index + turn) % 4 !== 0) continue;
      const host = await this.spoilt();
      const others = await everyByte(host, isForeign);
      const image = await rawImage(host);
      let losses = 0;
      const outcome = await this.run(host, (context) =>
        work(context).finally(() => {
          losses = context.warnings.filter(({ loss }) => loss === true).length;
        }),
      );
      assert.deepEqual(await everyByte(host, isForeign), others, `${after} changed what is not ours`);
      assert.ok((await rawImage(host)).equals(image), `${after} changed the image`);
      const removed =
        'error' in outcome ? goneBy(outcome.error) : Array.isArray(outcome.value) ? outcome.value : [];
      await this.#stillRight(host, { before, after, losses, removed });
      if (after !== 'creating' || 'error' in outcome) continue;
      const created = await this.run(host, (context) => read(context, 'd'));
      if ('value' in created) assert.ok(created.value.equals(image), 'what was created reads wrong');
      else assert.fail(`what was created cannot be read: ${created.error.message}`);
    }
  }
}

/** Gives the names that it removed. */
const collecting = (request: object) => async (context: TestContext) =>
  (await collectSnapshots(context, IMAGE, { ...request, dryRun: false })).removed.map(({ name }) => name);

/** The names that a collection which failed had removed by then, as it tells the user. */
const goneBy = ({ message }: Error): string[] =>
  NAMES.filter((name) => message.split('gone by then:')[1]?.includes(`${IMAGE}@${name}`));

/** What imgsnap neither made nor was pointed to. */
const isForeign = (path: string) =>
  path !== IMAGE &&
  !(path.startsWith(`${SIDECAR}/`) && /\/(?:state|reserve|.*\.(?:json|cow|tmp))$/.test(path));

/** Every file's path and content. */
async function everyByte(host: MemoryHost, wanted = (_path: string) => true): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  const visit = async (directory: string) => {
    for (const name of await host.files.list(directory)) {
      const path = directory === '/' ? `/${name}` : `${directory}/${name}`;
      const stat = await host.files.linkStat(path);
      if (stat?.kind === 'directory') await visit(path);
      else if (wanted(path)) {
        const isSmall = stat?.kind === 'file' && stat.sizeBytes < 1 << 25;
        const content = isSmall ? (await contentOf(host, path)).toString('latin1') : `${stat?.sizeBytes}`;
        found.set(path, `${stat?.kind} ${content}`);
      }
    }
  };
  await visit('/');
  return found;
}

/** @throws what the sweep is looking for */
async function examine(scene: Scene, mutation: Mutation, depth: Depth, turn = 0): Promise<void> {
  const examination = new Examination(scene, mutation);
  const host = await examination.spoilt();
  const others = depth === 'thorough' ? await everyByte(host, isForeign) : undefined;
  const verified = await examination.look(host, depth);
  const before = await examination.readable(host, 'at once');
  const complains = 'error' in verified || verified.value.damaged || verified.value.untrusted;
  const failing = [...before].filter(([, how]) => how !== 'right').map((pair) => pair.join(': '));
  // One without a name any more, or that has ended, is no damage: there is nothing that could be read.
  const isTold =
    complains || [...before.values()].every((how) => ['right', 'not-found', 'invalid'].includes(how));
  assert.ok(isTold, `verify is content, and reading is not (${failing.join(', ')})`);
  if ('value' in verified) {
    for (const { name, ok } of verified.value.snapshots) {
      const how = before.get(name) ?? 'right';
      assert.ok(!ok || how === 'right', `verify says ok of ${name}: ${how}`);
    }
  }
  if (depth === 'thorough') await examination.checkRanges(host);
  await examination.write(host, before);
  if (others === undefined) return;
  assert.deepEqual(await everyByte(host, isForeign), others, 'what is not ours was changed');
  await examination.change(before, turn);
}

export async function sweep(
  scene: Scene,
  mutations: readonly Mutation[],
  depth: Depth = 'brief',
): Promise<void> {
  const failures: string[] = [];
  for (const [turn, mutation] of mutations.entries()) {
    try {
      await examine(scene, mutation, depth, turn);
    } catch (error) {
      failures.push(`${mutation.what}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  const shown = failures.slice(0, MOST_SHOWN).join('\n');
  assert.equal(
    failures.length,
    0,
    `IMGSNAP_SEED=${CHOSEN}: ${failures.length} of ${mutations.length}\n${shown}`,
  );
}

/** A machine that nobody spoilt: everything is right, before and after a write. */
export async function checkUnspoilt(scene: Scene): Promise<void> {
  const nothing = { what: 'unspoilt', spoil: async () => undefined };
  const examination = new Examination(scene, nothing);
  const host = await examination.spoilt();
  const verified = await verifySnapshots(testContext(host), IMAGE, []);
  assert.deepEqual(verified.findings, []);
  const before = await examination.readable(host, 'unspoilt');
  assert.deepEqual([...before.values()], ['right', 'right', 'right']);
  await examination.write(host, before);
  assert.deepEqual([...(await examination.readable(host, 'unspoilt')).values()], ['right', 'right', 'right']);
  await examine(scene, nothing, 'thorough');
}

/** A part of a table that is too long for every day: each `stride`th from a place that the seed chooses, or all. */
export function sample<T>(all: readonly T[], stride: number): T[] {
  const from = createHash('sha256').update(CHOSEN).digest().readUInt32LE() % stride;
  return all.filter((_, index) => ALL_BITS || index % stride === from);
}
