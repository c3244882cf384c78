/** Named interleavings of reading and removing: real processes, one of which stands still at a named point. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { KIB, noise, workplace } from '../support/commands.ts';
import { somePoints } from '../support/points.ts';
import { CLUSTER_BYTES, makeSnapshots, overwrite, pausedAt, SIZE_BYTES } from './paused.ts';
import { checkContent, checkRest, IMAGE } from './rest.ts';

/** Where a reader of three runs stands: it takes the lock for opening (and a byte for "in use"), then for each run. */
const READER_POINTS = [
  { where: 'before its first run', point: 'lock state', nth: 4 },
  { where: 'in its first run', point: 'read state', nth: 2, holdsLock: true },
  { where: 'in the middle', point: 'lock state', nth: 6 },
  { where: 'before its last run', point: 'lock state', nth: 8 },
  { where: 'before it records the digest', point: 'open state', nth: 2 },
] as const;

for (const { where, ...at } of somePoints(READER_POINTS)) {
  if ('holdsLock' in at) continue;
  test(`removed, and its name taken again, while it is read: the reader has the old one; ${where}`, async (t) => {
    const work = await workplace(t);
    const frozen = await makeSnapshots(work, ['a', 'b', 'c']);
    const reader = await pausedAt(t, work, ['snap-read', `${IMAGE}@b`], at);
    const removal = await work.ok('snap-gc', [`${IMAGE}@b`]);
    assert.match(removal.stderr, /@b: its name is free, its space is not yet: it is being read/);
    const present = readFileSync(work.path(IMAGE));
    await work.ok('snap-create', ['-q', `${IMAGE}@b`]);
    const image = await overwrite(work, present, 100 * KIB, noise('later', 900 * KIB));
    const { status, stdout, stderr } = await reader.goOn();
    assert.equal(status, 0, stderr);
    assert.ok(frozen.get('b')?.equals(stdout), 'the old one reads wrong');
    // Had the old one's digest become the new one's, this would differ from it.
    assert.ok((await work.read(`${IMAGE}@b`)).equals(present), 'the new one reads wrong');
    const content = new Map([...frozen].filter(([name]) => name !== 'b'));
    await checkContent(work, { image, snapshots: content.set('b', present) });
  });
}

test('a reader that holds the lock is not overtaken: the remover gives up, or waits', async (t) => {
  const work = await workplace(t);
  const frozen = await makeSnapshots(work, ['a', 'b', 'c']);
  const reader = await pausedAt(t, work, ['snap-read', `${IMAGE}@c`], { point: 'read state', nth: 2 });
  const { status, code } = await work.fails('snap-gc', [`${IMAGE}@c`, '--wait', '0.1']);
  assert.deepEqual([status, code], [4, 'busy']);
  const waiting = work.start('snap-gc', ['-q', `${IMAGE}@c`]);
  const answer = await reader.goOn();
  assert.equal(answer.status, 0, answer.stderr);
  assert.ok(frozen.get('c')?.equals(answer.stdout));
  assert.equal((await waiting.result).status, 0);
  frozen.delete('c');
  await checkContent(work, { image: readFileSync(work.path(IMAGE)), snapshots: frozen });
});

for (const nth of somePoints([4, 6, 8])) {
  test(`the newest is removed while it is read and written: all are right; before lock ${nth}`, async (t) => {
    const work = await workplace(t);
    const frozen = await makeSnapshots(work, ['a', 'b', 'c']);
    let image: Buffer = readFileSync(work.path(IMAGE));
    const reader = await pausedAt(t, work, ['snap-read', `${IMAGE}@c`], { point: 'lock state', nth });
    const writer = await pausedAt(
      t,
      work,
      ['snap-write', '-q', IMAGE, '--offset', '5000'],
      { point: 'lock state', nth: 1 },
      { stdin: noise('stopped writer', 700 * KIB) },
    );
    await work.ok('snap-gc', ['-q', `${IMAGE}@c`]);
    image = await overwrite(work, image, 600 * KIB, noise('between', 900 * KIB));
    assert.equal((await writer.goOn()).status, 0);
    noise('stopped writer', 700 * KIB).copy(image, 5000);
    const { status, stdout, stderr } = await reader.goOn();
    assert.equal(status, 0, stderr);
    assert.ok(frozen.get('c')?.equals(stdout), 'what was removed while it was read reads wrong');
    frozen.delete('c');
    // The hidden store is reclaimed only now: what it got meanwhile goes to the older one.
    await checkContent(work, { image, snapshots: frozen });
  });
}

const REMOVER_POINTS = [
  { where: 'before the first change', point: 'write state', nth: 1 },
  { where: 'before the commit', point: 'rename catalog.json.tmp' },
  { where: 'after the commit, before the store is gone', point: 'unlink c-H.cow' },
] as const;

for (const { where, ...at } of somePoints(REMOVER_POINTS)) {
  test(`a remover of the newest stands still under the lock: others wait for it; ${where}`, async (t) => {
    const work = await workplace(t);
    const frozen = await makeSnapshots(work, ['a', 'b', 'c']);
    const image = Buffer.from(readFileSync(work.path(IMAGE)));
    const data = noise('waiting writer', 900 * KIB);
    const remover = await pausedAt(t, work, ['snap-gc', '-q', `${IMAGE}@c`], at);
    for (const name of ['snap-write', 'snap-read'] as const) {
      const reference = name === 'snap-read' ? `${IMAGE}@b` : IMAGE;
      const { status } = await work.fails(name, [reference, '--wait', '0.1'], { stdin: data });
      assert.equal(status, 4);
    }
    const writer = work.start('snap-write', ['-q', IMAGE], { stdin: data });
    const reader = work.start('snap-read', [`${IMAGE}@b`]);
    assert.equal((await remover.goOn()).status, 0);
    assert.equal((await writer.result).status, 0);
    data.copy(image);
    assert.ok(frozen.get('b')?.equals((await reader.result).stdout));
    frozen.delete('c');
    await checkContent(work, { image, snapshots: frozen });
  });
}

/** What ends a snapshot for good, or its trust, while it is read. */
const ENDINGS = [
  { how: 'past its limit', code: 'invalid' },
  { how: 'the image becomes shorter', code: 'invalid' },
  { how: 'the image is written to from outside', code: 'modified' },
] as const;

for (const { how, code } of ENDINGS) {
  for (const { where, ...at } of somePoints(READER_POINTS)) {
    if ('holdsLock' in at) continue;
    test(`no longer to be trusted while it is read (${how}): nothing wrong is passed on; ${where}`, async (t) => {
      const work = await workplace(t);
      const frozen = work.image(IMAGE, noise('frozen', SIZE_BYTES));
      const limit = ['--cluster-size', String(CLUSTER_BYTES), '--max-size', String(4 * CLUSTER_BYTES)];
      await work.ok('snap-create', ['-q', `${IMAGE}@one`, ...limit]);
      writeFileSync(work.path('out'), 'before');
      const reader = await pausedAt(t, work, ['snap-read', '--json', `${IMAGE}@one`], at);
      const records = at.point === 'open state';
      // A file is only told at the end, and so has a reader of its own.
      const filer = await pausedAt(t, work, ['snap-read', '--json', `${IMAGE}@one`, '-o', 'out'], at);
      if (how === 'past its limit') {
        const { stderr } = await work.ok('snap-write', ['-q', IMAGE], { stdin: noise('much', SIZE_BYTES) });
        assert.match(stderr, /warning: .*@one/);
      } else if (how === 'the image becomes shorter') truncateSync(work.path(IMAGE), SIZE_BYTES - 1);
      else writeFileSync(work.path(IMAGE), noise('outside', SIZE_BYTES));
      for (const it of [reader, filer]) {
        const { status, stdout, stderr } = await it.goOn();
        // What was read before it ended is right, and whole where it was all read.
        if (records) {
          assert.equal(status, 0, stderr);
          if (it === reader) assert.ok(stdout.equals(frozen));
          continue;
        }
        assert.equal(status, 5, stderr);
        assert.equal(JSON.parse(stderr).error.code, code);
        assert.ok(stdout.length < SIZE_BYTES && stdout.equals(frozen.subarray(0, stdout.length)));
      }
      assert.equal(
        readFileSync(work.path('out')).toString('latin1'),
        records ? frozen.toString('latin1') : 'before',
      );
      const { status } = await work.fails('snap-read', [`${IMAGE}@one`]);
      assert.equal(status, 5);
      const [listed] = JSON.parse((await work.ok('snap-list', ['--json', IMAGE])).stdout);
      assert.equal(
        listed.snapshots[0].digest,
        undefined,
        'a digest was recorded of what is not to be trusted',
      );
      await work.ok('snap-gc', ['-q', `${IMAGE}@one`]);
      await checkRest(work, []);
      const begun = readdirSync(work.directory).filter((name) => name.startsWith('.out'));
      assert.deepEqual(begun, [], 'what was begun of the file is left');
    });
  }
}
