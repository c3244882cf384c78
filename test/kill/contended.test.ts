/**
 * Two commands that want the same snapshot, one of which stands still at a lock until the other has ended or waits for
 * it: one of them gets it, the other is told, and neither waits for ever. Which locks are tried follows from a seed.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { type CommandName, chooseSeed, KIB, noise, workplace } from '../support/commands.ts';
import { callsOf, startProbed, untilStopped } from '../support/probe.ts';
import type { ProcessResult } from '../support/process.ts';
import { untilWaiting } from './fights.ts';
import type { Done, Effect } from './model.ts';
import { Scene } from './scene.ts';

const CLUSTER = 4 * KIB;
/** Of each command that stands still. */
const LOCKS_TRIED = 4;

type Words = readonly [CommandName, ...string[]];

interface Fight {
  readonly words: Words;
  readonly against: Words;
  /** The name that both want. */
  readonly target: (scene: Scene) => string;
  /** What the first changes where nobody is in its way. */
  readonly alone: (name: string) => Effect;
  /** What there must be, by how the two ended. */
  readonly judge: (first: ProcessResult, second: ProcessResult, name: string) => Done[];
}

const isNotFound = ({ status, stderr }: ProcessResult) => status === 1 && /no such snapshot/.test(stderr);
const isThere = ({ status, stderr }: ProcessResult) => status === 1 && /exists already/.test(stderr);

const remove: Words = ['snap-gc', 'disk.img@NAME'];
const create: Words = ['snap-create', 'disk.img@NAME'];
const read: Words = ['snap-read', 'disk.img@NAME'];

function judgeRemovals(first: ProcessResult, second: ProcessResult, name: string): Done[] {
  for (const each of [first, second]) assert.ok(each.status === 0 || isNotFound(each), each.stderr);
  assert.ok(first.status === 0 || second.status === 0);
  return [{ effect: { removes: [name] }, outcome: 'finished' }];
}

function judgeCreations(first: ProcessResult, second: ProcessResult, name: string): Done[] {
  for (const each of [first, second]) assert.ok(each.status === 0 || isThere(each), each.stderr);
  assert.equal(first.status + second.status, 1, 'one creates it, the other is told that it exists');
  return [{ effect: { creates: name }, outcome: 'finished' }];
}

function judgeRead(expected: () => Buffer) {
  return (reading: ProcessResult, removal: ProcessResult, name: string): Done[] => {
    assert.equal(removal.status, 0, removal.stderr);
    if (reading.status === 0) assert.ok(reading.stdout.equals(expected()), 'the reader got other bytes');
    else assert.ok(isNotFound(reading) || reading.status === 4, reading.stderr);
    return [{ effect: { removes: [name] }, outcome: 'finished' }];
  };
}

async function makeScene(t: TestContext, seed: string): Promise<Scene> {
  const scene = new Scene(await workplace(t), 'disk.img', noise(seed, 20 * CLUSTER), CLUSTER);
  for (const count of [1, 2, 3]) await addSnapshot(scene, `${seed} ${count}`);
  return scene;
}

function addSnapshot(scene: Scene, seed: string): Promise<void> {
  return scene.addSnapshot({ offsetBytes: CLUSTER, data: noise(seed, 4 * CLUSTER) });
}

/** The second of the snapshots: older ones need what it has. */
const wanted = (scene: Scene) => scene.model.names[1] ?? '';
const named = ([command, ...args]: Words, name: string): Words => [
  command,
  ...args.map((arg) => arg.replace('NAME', name)),
];

/** The points at locks that the first passes when nobody is in its way. */
async function lockPoints(scene: Scene, { words, target, alone }: Fight): Promise<string[]> {
  const name = target(scene);
  const [command, ...args] = named(words, name);
  const calls = await callsOf(scene.work, command, args);
  await scene.check([{ effect: alone(name), outcome: 'finished' }]);
  const times = new Map<string, number>();
  return calls.flatMap((point) => {
    const nth = (times.get(point) ?? 0) + 1;
    times.set(point, nth);
    return /^(?:un)?lock /.test(point) ? [`${nth} ${point}`] : [];
  });
}

async function fight(scene: Scene, { words, against, target, judge }: Fight, lock: string): Promise<void> {
  const { work } = scene;
  const name = target(scene);
  const [, nth, point = ''] = /^(\d+) (.*)$/.exec(lock) ?? [];
  const [first, ...firstArgs] = named(words, name);
  const [second, ...secondArgs] = named(against, name);
  const standing = startProbed(work, first, firstArgs, { point, nth: Number(nth), action: 'stop' });
  // A reader whose digest is recorded already ends before its last locks.
  await untilStopped(standing).catch(() => undefined);
  const log = work.path('other.log');
  const other = startProbed(work, second, secondArgs, { log });
  await untilWaiting(other, log);
  standing.child.kill('SIGCONT');
  const [firstResult, secondResult] = await Promise.all([standing.result, other.result]);
  await scene.check(judge(firstResult, secondResult, name));
  await scene.checkClean();
}

function testFight(title: string, make: (scene: Scene) => Fight): void {
  test(title, async (t) => {
    const seed = chooseSeed(t);
    const scene = await makeScene(t, seed);
    const each = make(scene);
    const points = await lockPoints(scene, each);
    const order = noise(`order ${seed}`, points.length);
    const tried = points
      .map((point, at) => ({ point, rank: order[at] ?? 0 }))
      .sort((a, b) => a.rank - b.rank);
    for (const { point } of tried.slice(0, LOCKS_TRIED)) {
      while (scene.model.names.length < 3) await addSnapshot(scene, `${seed} ${point}`);
      t.diagnostic(`standing at lock ${point}`);
      await fight(scene, each, point);
    }
  });
}

testFight('two removals of one snapshot', () => ({
  words: remove,
  against: remove,
  target: wanted,
  alone: (name) => ({ removes: [name] }),
  judge: judgeRemovals,
}));
testFight('two creations of one name', () => ({
  words: create,
  against: create,
  target: (scene) => scene.newName(),
  alone: (name) => ({ creates: name }),
  judge: judgeCreations,
}));
testFight('a reader that stands still, and the removal of what it reads', (scene) => ({
  words: read,
  against: remove,
  target: wanted,
  alone: () => ({}),
  judge: judgeRead(() => scene.model.snapshots.get(wanted(scene)) ?? Buffer.alloc(0)),
}));
