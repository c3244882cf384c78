/** What bypassed the commands is noticed and stays noticed; a command that was killed is no such thing. */
import assert from 'node:assert/strict';
import { appendFileSync, readFileSync, statSync, truncateSync, utimesSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { PACE } from '../../core/store/append.ts';
import { chooseSeed, KIB, noise, type Workplace, workplace } from '../support/commands.ts';
import type { RunningProcess } from '../support/process.ts';

const CLUSTER = 64 * KIB;

async function states(work: Workplace): Promise<Record<string, string>> {
  const [{ snapshots }] = JSON.parse((await work.ok('snap-list', ['--json', 'disk.img'])).stdout);
  return Object.fromEntries(
    snapshots.map(({ name, state }: { name: string; state: string }) => [name, state]),
  );
}

async function withSnapshot(work: Workplace): Promise<Buffer> {
  const content = work.image('disk.img', noise('outside', 4 * CLUSTER));
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  await work.write('disk.img', 0, noise('inside', 100));
  return content;
}

const CHANGES: [string, (path: string) => void, string][] = [
  ['touch', (path) => utimesSync(path, 1, 1), 'modified'],
  ['echo >>', (path) => appendFileSync(path, 'more'), 'modified'],
  ['truncate', (path) => truncateSync(path, 3 * CLUSTER), 'invalid'],
];

for (const [name, change, code] of CHANGES) {
  test(`${name}: 5, for good, and what comes afterwards is trusted`, async (t) => {
    const work = await workplace(t);
    await withSnapshot(work);
    change(work.path('disk.img'));
    const before = work.fingerprint();
    const failure = await work.fails('snap-read', ['disk.img@one']);
    assert.deepEqual([failure.status, failure.code, failure.stdout], [5, code, '']);
    assert.equal((await work.run('snap-verify', ['disk.img@one'])).status, 5);
    assert.deepEqual(await states(work), { one: code });
    assert.deepEqual(work.fingerprint(), before);
    // A write through us goes on, with a warning, and does not launder it.
    const written = await work.ok('snap-write', ['-q', 'disk.img', '--offset', '70000'], { stdin: 'data' });
    assert.match(
      written.stderr,
      /^snap-write: warning: disk\.img: was changed outside imgsnap; no longer trusted: one\n/,
    );
    const again = await work.ok('snap-write', ['-q', 'disk.img', '--offset', '70000'], { stdin: 'data' });
    assert.equal(again.stderr, '');
    assert.deepEqual(await states(work), { one: code });
    assert.equal((await work.fails('snap-read', ['disk.img@one'])).code, code);
    const content = readFileSync(work.path('disk.img'));
    await work.ok('snap-create', ['-q', 'disk.img@two']);
    await work.write('disk.img', 0, noise('later', 2 * CLUSTER));
    assert.deepEqual(await states(work), { one: code, two: 'active' });
    assert.ok((await work.read('disk.img@two')).equals(content));
    await work.ok('snap-verify', ['disk.img@two']);
  });
}

test('a first snapshot of an image that was changed by anybody before is trusted', async (t) => {
  const work = await workplace(t);
  work.image('disk.img', 1000);
  appendFileSync(work.path('disk.img'), 'more');
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  assert.deepEqual(await states(work), { one: 'active' });
});

/** Until a writer has changed anything, or is gone. */
async function untilAtWork(work: Workplace, { child }: RunningProcess): Promise<void> {
  const times = () =>
    ['disk.img', 'disk.img.snap/state'].map((name) => statSync(work.path(name), { bigint: true }).mtimeNs);
  const before = String(times());
  while (String(times()) === before && child.exitCode === null) await delay(1);
}

test('a writer killed at any moment is no change from outside, and every snapshot stays right', async (t) => {
  const work = await workplace(t);
  const seed = chooseSeed(t);
  // A batch and a half.
  const sizeBytes = 1.5 * PACE.batchBytes;
  work.image('disk.img', noise(seed, sizeBytes));
  const contents = new Map<string, Buffer>();
  for (let round = 0; round < 20; round += 1) {
    const random = noise(`${seed}/${round}`, 8);
    if (round % 5 === 0) {
      contents.set(`s${round}`, readFileSync(work.path('disk.img')));
      await work.ok('snap-create', ['-q', `disk.img@s${round}`]);
    }
    const offset = random.readUInt16LE(0) * 64;
    const data = noise(`${seed}/data/${round}`, sizeBytes - offset);
    const writer = work.start('snap-write', ['-q', 'disk.img', '--offset', String(offset)], { stdin: data });
    // From before it has begun to after it is done; every other time only once it is at work.
    if (round % 2 === 0) await delay(random.readUInt16LE(2) % 100);
    else await untilAtWork(work, writer);
    await delay((random[4] ?? 0) % 32);
    writer.child.kill('SIGKILL');
    await writer.result;
  }
  for (const [name, state] of Object.entries(await states(work))) {
    assert.ok(state === 'active' || state === 'idle', `${name} ${state} ${seed}`);
  }
  // Whoever only looks works with what was left; then a writer repairs it.
  for (const repaired of [false, true]) {
    if (repaired) await work.ok('snap-write', ['disk.img'], { stdin: 'x' });
    for (const [name, content] of contents) {
      assert.ok((await work.read(`disk.img@${name}`)).equals(content), `${name} ${seed}`);
    }
  }
  const verified = await work.ok('snap-verify', ['disk.img']);
  assert.match(verified.stdout, /: 0 findings; 4 of 4 snapshots whole/);
});
