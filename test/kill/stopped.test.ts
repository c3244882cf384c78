/**
 * A command that holds a lock and stands still (SIGSTOP): the others end as busy after `--wait` and change nothing, or
 * go on where the lock lets them; and when it goes on itself, all is as if it had never stopped.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import {
  type CommandName,
  eachOf,
  errorOf,
  KIB,
  noise,
  type Workplace,
  workplace,
} from '../support/commands.ts';
import { somePoints } from '../support/points.ts';
import { type Probe, startProbed, untilStopped } from '../support/probe.ts';
import type { Effect } from './model.ts';
import { Scene } from './scene.ts';

const CLUSTER = 4 * KIB;
const WAIT = ['--json', '--wait', '0.2'];

type Words = readonly [CommandName, ...string[]];

/** Need the lock for themselves. */
const CHANGING: readonly Words[] = [
  ['snap-create', 'disk.img@other'],
  ['snap-write', 'disk.img', '--offset', '100'],
  ['snap-write', 'disk.img', '--zero', '5000', '--no-sync'],
  ['snap-gc', 'disk.img', '--accept-origin'],
];
const REMOVING: readonly Words[] = [
  ['snap-gc', 'disk.img@two'],
  ['snap-gc', 'disk.img', '--keep-last', '1'],
  ['snap-gc', 'disk.img'],
];
/** Share the lock with each other. */
const LOOKING: readonly Words[] = [
  ['snap-read', 'disk.img'],
  ['snap-verify', 'disk.img'],
  ['snap-list', 'disk.img'],
  ['snap-gc', 'disk.img', '--dry-run'],
];
const LOOKING_AT_ONE: readonly Words[] = [
  ['snap-read', 'disk.img@one'],
  ['snap-read', 'disk.img@one', '-o', 'out/copy'],
  ['snap-verify', 'disk.img@one', '--digest'],
];

interface Holder {
  readonly what: string;
  readonly words: Words;
  readonly stdin?: Buffer;
  readonly stop: Probe;
  readonly effect?: Effect;
  readonly busy: readonly Words[];
  readonly passing: readonly Words[];
  /** What is there before; three snapshots unless given. */
  readonly before?: 'nothing' | 'a killed batch';
}

const EXCLUDED = [...CHANGING, ...REMOVING, ...LOOKING, ...LOOKING_AT_ONE];
/** One of each command. */
const EXCLUDED_FEW: readonly Words[] = [
  ['snap-create', 'disk.img@other'],
  ['snap-write', 'disk.img', '--offset', '100'],
  ['snap-gc', 'disk.img@two'],
  ['snap-read', 'disk.img@one'],
  ['snap-verify', 'disk.img'],
  ['snap-list', 'disk.img'],
];
const written = { offsetBytes: 5000, data: noise('written', 3 * CLUSTER) };

const HOLDERS: readonly Holder[] = [
  {
    what: 'a writer in its batch',
    words: ['snap-write', 'disk.img', '--offset', '5000'],
    stdin: written.data,
    stop: { point: 'datasync *.cow' },
    effect: { write: written },
    busy: EXCLUDED,
    passing: [],
  },
  {
    what: 'a writer that closes',
    words: ['snap-write', 'disk.img', '--offset', '5000'],
    stdin: written.data,
    stop: { point: 'sync disk.img', nth: 2 },
    effect: { write: written },
    busy: EXCLUDED_FEW,
    passing: [],
  },
  {
    what: 'a creator',
    words: ['snap-create', 'disk.img@new'],
    stop: { point: 'rename catalog.json.tmp' },
    effect: { creates: 'new' },
    busy: EXCLUDED_FEW,
    passing: [],
  },
  {
    what: 'the creator of the first snapshot',
    before: 'nothing',
    words: ['snap-create', 'disk.img@new'],
    stop: { point: 'rename disk.img.snap.H.tmp' },
    effect: { creates: 'new' },
    // Nothing there can be removed.
    busy: [...CHANGING, ['snap-gc', 'disk.img'], ...LOOKING],
    passing: [],
  },
  {
    what: 'a remover that hands over',
    words: ['snap-gc', 'disk.img@one'],
    stop: { point: 'unlink *.cow' },
    effect: { removes: ['one'] },
    busy: [...CHANGING, ...REMOVING, ...LOOKING],
    passing: [],
  },
  {
    what: 'a remover between two holds',
    words: ['snap-gc', 'disk.img@one'],
    stop: { point: 'unlock state', nth: 4, when: 'after' },
    effect: { removes: ['one'] },
    busy: REMOVING,
    passing: [...LOOKING, ...LOOKING_AT_ONE],
  },
  {
    what: 'somebody who repairs',
    before: 'a killed batch',
    words: ['snap-gc', 'disk.img'],
    stop: { point: 'datasync *.cow' },
    busy: EXCLUDED_FEW,
    passing: [],
  },
  {
    what: 'a reader in a run',
    words: ['snap-read', 'disk.img@zero'],
    stop: { point: 'read disk.img' },
    busy: [...CHANGING, ...REMOVING],
    passing: [...LOOKING, ...LOOKING_AT_ONE],
  },
  {
    what: 'a verification',
    words: ['snap-verify', 'disk.img'],
    stop: { point: 'read *.cow' },
    busy: [...CHANGING, ...REMOVING],
    passing: [...LOOKING, ...LOOKING_AT_ONE],
  },
];

/** An image with the snapshots zero, one and two, each with clusters of its own; some come from the image alone. */
async function makeScene(t: TestContext, before: Holder['before']): Promise<Scene> {
  const work = await workplace(t);
  const scene = new Scene(work, 'disk.img', noise('image', 20 * CLUSTER + 100), CLUSTER);
  if (before === 'nothing') return scene;
  for (const [index, name] of ['zero', 'one', 'two'].entries()) {
    await work.ok('snap-create', ['-q', `disk.img@${name}`, '--cluster-size', '4K']);
    await scene.check([{ effect: { creates: name }, outcome: 'finished' }]);
    const write = { offsetBytes: index * 2 * CLUSTER, data: noise(name, 3 * CLUSTER) };
    await work.write('disk.img', write.offsetBytes, write.data);
    await scene.check([{ effect: { write }, outcome: 'finished' }]);
  }
  if (before === undefined) return scene;
  const probe: Probe = { point: 'write disk.img', action: 'kill', anyStore: true };
  const args = ['disk.img', '--offset', '5000'];
  const { status } = await startProbed(work, 'snap-write', args, probe, { stdin: written.data }).result;
  assert.equal(status, 137);
  await scene.check([{ effect: { write: written }, outcome: 'killed' }]);
  return scene;
}

/** All but `out`, in which a reader that comes to nothing has made a file and removed it. */
function content(work: Workplace): Map<string, string> {
  const found = work.fingerprint();
  found.delete('out');
  return found;
}

async function assertBusy(work: Workplace, [name, ...args]: Words): Promise<void> {
  const { status, stderr, stdout } = await work.run(name, [...WAIT, ...args], {
    stdin: noise('other', 2 * CLUSTER),
  });
  const what = `${name} ${args.join(' ')}: ${stderr}`;
  assert.equal(status, 4, what);
  assert.equal(errorOf(stderr).code, 'busy', what);
  if (name !== 'snap-write') assert.equal(stdout, '', what);
}

for (const { what, words, stdin, stop, effect = {}, busy, passing, before } of somePoints(HOLDERS)) {
  test(`${what} stands still: others are busy and change nothing, and later all is right`, async (t) => {
    const scene = await makeScene(t, before);
    const { work } = scene;
    const [name, ...args] = words;
    const probe: Probe = { ...stop, action: 'stop', anyStore: true };
    const holder = startProbed(work, name, args, probe, stdin && { stdin });
    t.after(() => holder.child.kill('SIGKILL'));
    await untilStopped(holder);
    const found = content(work);
    await eachOf(busy, (each) => assertBusy(work, each));
    assert.deepEqual(content(work), found, 'who was busy changed something');
    assert.deepEqual(scene.unfinishedOutputs(), []);
    // One at a time: who waits to change something keeps later ones out.
    for (const [other, ...rest] of passing) await work.ok(other, rest);
    holder.child.kill('SIGCONT');
    const { status, stderr } = await holder.result;
    assert.equal(status, 0, stderr);
    await scene.check([{ effect, outcome: 'finished' }]);
    await scene.checkTidy();
    const write = { offsetBytes: 100, data: noise('last', 2 * CLUSTER) };
    await work.write('disk.img', write.offsetBytes, write.data);
    await scene.check([{ effect: { write }, outcome: 'finished' }]);
  });
}
