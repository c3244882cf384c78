/** Named interleavings of writing and creating: real processes, one of which stands still, or is killed, at a named point. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { KIB, noise, workplace } from '../support/commands.ts';
import { somePoints } from '../support/points.ts';
import { startProbed } from '../support/probe.ts';
import { BATCH_BYTES, makeSnapshots, overwrite, pausedAt, SIZE_BYTES, startLongWriter } from './paused.ts';
import { checkContent, checkRest, contentOf, IMAGE } from './rest.ts';

const LONG_BYTES = 2 * BATCH_BYTES + 100;

test('the last snapshot is removed and a first one created under a long-lived writer, again and again', async (t) => {
  const work = await workplace(t);
  const first = work.image(IMAGE, noise('first', LONG_BYTES));
  await work.ok('snap-create', ['-q', `${IMAGE}@a`, '--cluster-size', '64K']);
  const data = noise('long', LONG_BYTES);
  const writer = startLongWriter(t, work, data.subarray(0, BATCH_BYTES));
  await writer.written();
  assert.ok((await work.read(`${IMAGE}@a`)).equals(first));
  await work.ok('snap-gc', ['-q', `${IMAGE}@a`]);
  // Of another cluster size, which is free again; and of the same name.
  await work.ok('snap-create', ['-q', `${IMAGE}@a`, '--cluster-size', '4K']);
  const between = readFileSync(work.path(IMAGE));
  const { status, stderr } = await writer.finish(data.subarray(BATCH_BYTES));
  assert.equal(status, 0, stderr);
  await checkContent(work, { image: data, snapshots: new Map([['a', between]]) });
});

test('all snapshots are removed between two batches: the rest is written without a copy', async (t) => {
  const work = await workplace(t);
  work.image(IMAGE, noise('first', LONG_BYTES));
  for (const name of ['a', 'b']) await work.ok('snap-create', ['-q', `${IMAGE}@${name}`]);
  const data = noise('long', LONG_BYTES);
  const writer = startLongWriter(t, work, data.subarray(0, BATCH_BYTES));
  await writer.written();
  await work.ok('snap-gc', ['-q', `${IMAGE}@b`, `${IMAGE}@a`]);
  assert.equal((await writer.finish(data.subarray(BATCH_BYTES))).status, 0);
  await checkContent(work, { image: data, snapshots: new Map() });
});

test('a first sidecar appears between two batches: from then on the writer copies', async (t) => {
  const work = await workplace(t);
  work.image(IMAGE, noise('first', LONG_BYTES));
  const data = noise('long', LONG_BYTES);
  const writer = startLongWriter(t, work, data.subarray(0, BATCH_BYTES));
  await writer.written();
  await work.ok('snap-create', ['-q', `${IMAGE}@a`]);
  const between = readFileSync(work.path(IMAGE));
  assert.equal((await writer.finish(data.subarray(BATCH_BYTES))).status, 0);
  await checkContent(work, { image: data, snapshots: new Map([['a', between]]) });
});

for (const withSnapshot of [true, false]) {
  const which = withSnapshot ? 'with a snapshot' : 'without any';
  test(`the image is replaced between two batches, ${which}: the writer ends, and neither has a wrong byte`, async (t) => {
    const work = await workplace(t);
    const first = work.image(IMAGE, noise('first', LONG_BYTES));
    if (withSnapshot) await work.ok('snap-create', ['-q', `${IMAGE}@a`]);
    const data = noise('long', LONG_BYTES);
    const writer = startLongWriter(t, work, data.subarray(0, BATCH_BYTES));
    await writer.written();
    renameSync(work.path(IMAGE), work.path('old.img'));
    const other = noise('other', LONG_BYTES);
    writeFileSync(work.path('new.img'), other);
    renameSync(work.path('new.img'), work.path(IMAGE));
    const { status, stderr } = await writer.finish(data.subarray(BATCH_BYTES));
    assert.equal(status, 1);
    assert.match(stderr, /snap-write: error: disk\.img: the image was replaced meanwhile\n/);
    assert.ok(readFileSync(work.path(IMAGE)).equals(other), 'the new image was written to');
    const old = Buffer.concat([data.subarray(0, BATCH_BYTES), first.subarray(BATCH_BYTES)]);
    assert.ok(readFileSync(work.path('old.img')).equals(old), 'the old image lacks the batch, or has more');
    if (!withSnapshot) return;
    // The new image is not what the snapshot was taken of.
    assert.equal((await work.fails('snap-read', [`${IMAGE}@a`])).status, 5);
    renameSync(work.path('old.img'), work.path(IMAGE));
    await checkContent(work, { image: old, snapshots: new Map([['a', first]]) });
  });
}

/** Where a writer of one batch stands, and whether the batch is written then, or will be. */
const WRITER_POINTS = [
  { where: 'before it opens the image', point: 'open disk.img', intoNew: true },
  { where: 'before it takes the lock', point: 'lock state', nth: 1, written: false },
  { where: 'in its batch, before the copies', point: 'write one-H.cow', nth: 1, written: true },
  { where: 'in its batch, before the image', point: 'write disk.img', nth: 1, written: true },
  { where: 'before the last flush', point: 'sync disk.img', nth: 1, written: true },
] as const;

for (const { where, ...at } of somePoints(WRITER_POINTS)) {
  test(`the image is replaced under a writer, ${where}: no byte of either is wrong`, async (t) => {
    const work = await workplace(t);
    const first = work.image(IMAGE, noise('first', SIZE_BYTES));
    await work.ok('snap-create', ['-q', `${IMAGE}@one`]);
    const data = noise('data', 500 * KIB);
    const { point } = at;
    const nth = 'nth' in at ? at.nth : 1;
    const args = ['snap-write', '-q', IMAGE, '--offset', '4097'] as const;
    const writer = await pausedAt(t, work, [...args], { point, nth }, { stdin: data });
    const other = noise('other', SIZE_BYTES);
    renameSync(work.path(IMAGE), work.path('old.img'));
    writeFileSync(work.path('new.img'), other);
    renameSync(work.path('new.img'), work.path(IMAGE));
    const { status, stderr } = await writer.goOn();
    const found = readFileSync(work.path(IMAGE));
    if ('intoNew' in at) {
      // It never saw the old one: that it is another than the snapshots know is a change from outside.
      assert.equal(status, 0, stderr);
      assert.match(stderr, /was changed outside imgsnap/);
      data.copy(other, 4097);
      assert.ok(found.equals(other));
      return;
    }
    assert.equal(status, 1, stderr);
    assert.match(stderr, /the image was replaced meanwhile/);
    assert.ok(found.equals(other), 'the new image was written to');
    const old = Buffer.from(first);
    if (at.written) data.copy(old, 4097);
    assert.ok(readFileSync(work.path('old.img')).equals(old));
    renameSync(work.path('old.img'), work.path(IMAGE));
    await checkContent(work, { image: old, snapshots: new Map([['one', first]]) });
  });
}

const CREATOR_POINTS = [
  { where: 'before it takes the lock', point: 'lock state', nth: 1, holdsLock: false },
  { where: 'before its store has a name', point: 'rename d-H.cow.tmp', holdsLock: true },
  { where: 'before its commit', point: 'rename catalog.json.tmp', holdsLock: true },
  { where: 'before the lock is free again', point: 'datasync state', nth: 2, holdsLock: true },
] as const;

for (const { where, holdsLock, ...at } of somePoints(CREATOR_POINTS)) {
  test(`two creators of one name: one succeeds, the other is told that it exists; ${where}`, async (t) => {
    const work = await workplace(t);
    const frozen = await makeSnapshots(work, ['a', 'b']);
    const image = readFileSync(work.path(IMAGE));
    const first = await pausedAt(t, work, ['snap-create', '--json', `${IMAGE}@d`], at);
    const second = work.start('snap-create', [
      '--json',
      `${IMAGE}@d`,
      ...(holdsLock ? ['--wait', '0.1'] : []),
    ]);
    const early = await second.result;
    assert.equal(early.status, holdsLock ? 4 : 0, early.stderr);
    const { status, stderr } = await first.goOn();
    assert.equal(status, holdsLock ? 0 : 1, stderr);
    const loser = holdsLock ? await work.fails('snap-create', [`${IMAGE}@d`]) : JSON.parse(stderr).error;
    assert.equal(loser.code, 'exists');
    await checkContent(work, { image, snapshots: frozen.set('d', image) });
  });

  test(`a collector beside a creator takes nothing away from it; ${where}`, async (t) => {
    const work = await workplace(t);
    const frozen = await makeSnapshots(work, ['a', 'b']);
    const image = readFileSync(work.path(IMAGE));
    const creator = await pausedAt(t, work, ['snap-create', '-q', `${IMAGE}@d`], at);
    const collector = await work.run('snap-gc', [IMAGE, '--wait', '0.1']);
    assert.equal(collector.status, holdsLock ? 4 : 0, collector.stderr);
    const waiting = work.start('snap-gc', ['-q', IMAGE]);
    assert.equal((await creator.goOn()).status, 0);
    assert.equal((await waiting.result).status, 0);
    await checkContent(work, { image, snapshots: frozen.set('d', image) });
  });
}

test('two creators without a name, of one time: the second gets a number', async (t) => {
  const work = await workplace(t);
  const image = work.image(IMAGE, noise('first', SIZE_BYTES));
  const args = ['snap-create', IMAGE, '--time', '2026-01-02T03:04:05Z'] as const;
  const first = await pausedAt(t, work, [...args], { point: 'lock disk.img', nth: 1 });
  const second = await work.ok('snap-create', args.slice(1));
  assert.equal(second.stdout, `${IMAGE}@20260102T030405Z\n`);
  const { status, stdout, stderr } = await first.goOn();
  assert.equal(status, 0, stderr);
  assert.equal(stdout.toString(), `${IMAGE}@20260102T030405Z-2\n`);
  const snapshots = new Map(['20260102T030405Z', '20260102T030405Z-2'].map((name) => [name, image]));
  await checkContent(work, { image, snapshots });
});

const FIRST_POINTS = [
  'lock disk.img',
  'mkdir disk.img.snap.H.tmp',
  'write state',
  'rename disk.img.snap.H.tmp',
];

for (const point of somePoints(FIRST_POINTS)) {
  test(`a collector and a creator beside a first creator: nothing of it is taken away; before ${point}`, async (t) => {
    const work = await workplace(t);
    const image = work.image(IMAGE, noise('first', SIZE_BYTES));
    const first = await pausedAt(t, work, ['snap-create', '-q', `${IMAGE}@d`], { point });
    const holdsLock = point !== 'lock disk.img';
    const building = () => readdirSync(work.directory).filter((name) => name.endsWith('.tmp')).length;
    const before = building();
    const collector = await work.run('snap-gc', [IMAGE, '--wait', '0.1']);
    assert.equal(collector.status, holdsLock ? 4 : 0, collector.stderr);
    assert.equal(building(), before);
    const second = work.start('snap-create', ['-q', `${IMAGE}@e`]);
    if (!holdsLock) assert.equal((await second.result).status, 0);
    assert.equal((await first.goOn()).status, 0);
    assert.equal((await second.result).status, 0);
    await checkContent(work, { image, snapshots: new Map(['d', 'e'].map((name) => [name, image])) });
  });
}

/** Of a first snapshot, and of a later one. */
const RENAMES = [
  { names: [], point: 'rename disk.img.snap.H.tmp' },
  { names: ['a', 'b'], point: 'rename catalog.json.tmp' },
] as const;

for (const { names, point } of somePoints(RENAMES)) {
  for (const when of ['before', 'after'] as const) {
    test(`a creator is killed ${when} ${point}: its snapshot is ${when === 'after' ? 'there, whole' : 'not there'}`, async (t) => {
      const work = await workplace(t);
      const frozen = await makeSnapshots(work, names);
      let image: Buffer = readFileSync(work.path(IMAGE));
      const probe = { point, when, action: 'kill' } as const;
      const killed = await startProbed(work, 'snap-create', [`${IMAGE}@d`], probe).result;
      assert.deepEqual([killed.status, killed.stdout.toString()], [137, '']);
      if (when === 'after') frozen.set('d', image);
      // Before anybody repaired: who only looks sees it as it is.
      assert.deepEqual([...(await contentOf(work)).snapshots.keys()], [...frozen.keys()]);
      for (const [name, bytes] of frozen)
        assert.ok((await work.read(`${IMAGE}@${name}`)).equals(bytes), name);
      image = await overwrite(work, image, 9, noise('after the kill', 900 * KIB));
      await checkContent(work, { image, snapshots: frozen });
      assert.ok(existsSync(work.path(`${IMAGE}.snap`)) === frozen.size > 0);
      // The name is as free as it should be.
      const again = await work.run('snap-create', ['-q', `${IMAGE}@d`]);
      assert.equal(again.status, when === 'after' ? 1 : 0);
      await checkRest(work, [...new Set([...frozen.keys(), 'd'])]);
    });
  }
}
