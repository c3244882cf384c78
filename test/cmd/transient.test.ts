/** Transient snapshots: no flush for their copies, they end with the boot, and go on serving older ones. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { writeImage } from '../../core/snapshot/write.ts';
import { decodeCatalog, encodeCatalog } from '../../core/store/catalog-codec.ts';
import { MemoryHost } from '../sim/memory-host.ts';
import { KIB, MIB, noise, type Workplace, workplace } from '../support/commands.ts';
import { testContext } from '../support/context.ts';
import { create, IMAGE, makeImage, read, sourceOf } from '../support/image.ts';

const WRITE = { offsetBytes: 0, extend: false, delta: false, sync: true };

/** Flushes of stores while 64 KiB are written. */
async function storeFlushes(host: MemoryHost): Promise<number> {
  const session = host.session();
  let flushes = 0;
  session.files.onOperation = ({ kind, path }) => {
    if ((kind === 'syncData' || kind === 'syncAll') && path.endsWith('.cow')) flushes += 1;
  };
  const { failure } = await writeImage(testContext(session), IMAGE, WRITE, sourceOf(noise(2, 64 * KIB)));
  assert.equal(failure, undefined);
  return flushes;
}

/** As if the machine had been booted again since they were taken. */
async function rebooted(work: Workplace): Promise<void> {
  const place = work.path('disk.img.snap/catalog.json');
  const catalog = decodeCatalog(readFileSync(place), place);
  const snapshots = catalog.snapshots.map((record) => ({
    ...record,
    transient: record.transient && '00000000-0000-4000-8000-000000000001',
  }));
  writeFileSync(place, encodeCatalog({ ...catalog, snapshots }));
}

test('nothing of a transient store is flushed, unless an older snapshot that is persistent reads through it', async () => {
  for (const older of [false, true]) {
    const host = new MemoryHost(1);
    const content = noise('old', 64 * KIB);
    await makeImage(host, content);
    if (older) await create(testContext(host.session()), 'old');
    const context = testContext(host.session());
    await create(context, 'fast', { transient: true });
    const said = context.warnings.map(({ message }) => message).join();
    assert.equal(/fast: its copies are flushed while old/.test(said), older, said);
    const flushes = await storeFlushes(host);
    assert.equal(flushes > 0, older, `${flushes} flushes`);
    assert.ok((await read(testContext(host.session()), 'fast')).equals(content));
    host.reboot();
    await assert.rejects(read(testContext(host.session()), 'fast'), { code: 'invalid' });
    if (older) assert.ok((await read(testContext(host.session()), 'old')).equals(content));
  }
});

test('after a reboot: exit 5 with the reason, older snapshots as before, and snap-gc collects it', async (t) => {
  const work = await workplace(t);
  const first = work.image('disk.img', noise('image', MIB));
  await work.ok('snap-create', ['-q', 'disk.img@old']);
  await work.write('disk.img', 0, noise('1', 256 * KIB));
  const created = await work.ok('snap-create', ['disk.img@fast', '--transient']);
  assert.match(created.stderr, /warning: fast: its copies are flushed while old, which is not transient/);
  const written = await work.ok('snap-write', ['disk.img'], { stdin: noise('2', 512 * KIB) });
  assert.match(written.stderr, /warning: fast: its copies are flushed while old/);
  const listed = async () =>
    JSON.parse((await work.ok('snap-list', ['--json', 'disk.img'])).stdout)[0].snapshots;
  assert.deepEqual(
    (await listed()).map((each: { state: string }) => each.state),
    ['idle', 'active'],
  );
  assert.deepEqual(
    (await listed()).map((each: { transient?: boolean }) => each.transient),
    [undefined, true],
  );
  await rebooted(work);
  const failure = await work.fails('snap-read', ['disk.img@fast']);
  assert.deepEqual([failure.status, failure.code], [5, 'invalid']);
  assert.match(failure.message, /transient, and the machine was rebooted/);
  const [, fast] = await listed();
  assert.equal(fast.state, 'invalid');
  assert.match(fast.reason, /transient, and the machine was rebooted/);
  assert.equal((await work.run('snap-verify', ['disk.img@fast'])).status, 5);
  await work.ok('snap-verify', ['disk.img']);
  assert.ok((await work.read('disk.img@old')).equals(first));
  // It goes on serving the older one.
  const again = await work.ok('snap-write', ['disk.img', '--offset', '256K'], {
    stdin: noise('3', 512 * KIB),
  });
  assert.match(again.stderr, /transient snapshots ended with the last boot: fast/);
  assert.ok((await work.read('disk.img@old')).equals(first));
  const gone = JSON.parse((await work.ok('snap-gc', ['--json', 'disk.img'])).stdout);
  assert.deepEqual(gone.removed, [{ name: 'fast', reasons: ['invalid'] }]);
  assert.ok((await work.read('disk.img@old')).equals(first));
});

test('what a power loss left of a transient store keeps nobody from anything', async (t) => {
  const work = await workplace(t);
  work.image('disk.img', noise('image', MIB));
  await work.ok('snap-create', ['-q', 'disk.img@fast', '--transient']);
  await work.write('disk.img', 0, noise('1', 512 * KIB));
  const store = work.store('disk.img', 'fast');
  await rebooted(work);
  const bytes = readFileSync(store);
  // The header may be all that is on the disk.
  writeFileSync(store, Buffer.concat([bytes.subarray(0, 512), Buffer.alloc(bytes.length - 512)]));
  const looked = await work.run('snap-verify', ['disk.img']);
  assert.equal(looked.status, 0, looked.stdout + looked.stderr);
  await work.write('disk.img', 0, noise('2', 512 * KIB));
  const present = readFileSync(work.path('disk.img'));
  await work.ok('snap-create', ['-q', 'disk.img@next']);
  await work.write('disk.img', 0, noise('3', 512 * KIB));
  assert.ok((await work.read('disk.img@next')).equals(present));
  assert.equal((await work.run('snap-read', ['disk.img@fast'])).status, 5);
  await work.ok('snap-gc', ['-q', 'disk.img']);
  await work.ok('snap-verify', ['disk.img']);
  assert.ok((await work.read('disk.img@next')).equals(present));
});
