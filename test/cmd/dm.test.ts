/** What goes to device-mapper and comes from it, by the installed commands: options, messages, exit statuses. */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync } from 'node:fs';
import { test } from 'node:test';
import { makeStore, overlay, parseStore } from '../dm/exception-store.ts';
import { eachOf, KIB, MIB, noise, type Workplace, workplace } from '../support/commands.ts';

const CHUNK = 4 * KIB;

async function withSnapshot(work: Workplace): Promise<Buffer> {
  const frozen = work.image('disk.img', noise('frozen', MIB));
  await work.ok('snap-create', ['-q', 'disk.img@s', '--cluster-size', '16K']);
  await work.write('disk.img', 100_000, noise('new', 300_000));
  return frozen;
}

test('a store goes to standard output, or into a file of its own', async (t) => {
  const work = await workplace(t);
  const frozen = await withSnapshot(work);
  chmodSync(work.path('disk.img'), 0o640);
  const store = await work.read('disk.img@s', '--format', 'dm');
  const origin = readFileSync(work.path('disk.img'));
  assert.equal(parseStore(store).chunkBytes, 16 * KIB);
  assert.ok(overlay(origin, store, MIB).equals(frozen));
  const intoFile = ['disk.img@s', '--format', 'dm', '--chunk-size', '4K', '-o', 'out.cow', '--json'];
  const { stdout, stderr } = await work.ok('snap-read', intoFile);
  const written = readFileSync(work.path('out.cow'));
  assert.ok(overlay(origin, written, MIB).equals(frozen));
  assert.deepEqual(JSON.parse(stdout), {
    image: 'disk.img',
    snapshot: 'disk.img@s',
    offset: 0,
    bytes: written.length,
  });
  assert.equal(stderr, '');
  assert.equal(statSync(work.path('out.cow')).mode & 0o777, 0o640);
  const toStdout = await work.ok('snap-read', ['disk.img@s', '--format', 'dm', '--json']);
  assert.equal(JSON.parse(toStdout.stderr).bytes, toStdout.data.length);
  assert.ok((await work.read('disk.img@s', '--format', 'raw')).equals(frozen));
});

test('no digest is recorded, and nothing is changed', async (t) => {
  const work = await workplace(t);
  await withSnapshot(work);
  const before = work.fingerprint();
  await work.read('disk.img@s', '--format', 'dm');
  assert.deepEqual(work.fingerprint(), before);
});

test('what no device can have is refused, with another way', async (t) => {
  const work = await workplace(t);
  work.image('odd.img', 1000);
  await work.ok('snap-create', ['-q', 'odd.img@s']);
  const odd = await work.fails('snap-read', ['odd.img@s', '--format', 'dm', '-o', 'out.cow']);
  assert.deepEqual([odd.status, odd.code], [1, 'refused']);
  assert.match(
    odd.message,
    /^odd\.img@s: no device can have it: its size of 1000 bytes is no multiple of 512$/,
  );
  work.image('empty.img', 0);
  await work.ok('snap-create', ['-q', 'empty.img@s']);
  const empty = await work.fails('snap-read', ['empty.img@s', '--format', 'dm']);
  assert.match(empty.message, /it is empty$/);
  assert.ok(!readdirSync(work.directory).some((name) => name.endsWith('.cow')));
});

test('a write meanwhile: exit 1, and the file does not appear', async (t) => {
  const work = await workplace(t);
  work.image('disk.img', noise('frozen', 8 * MIB));
  await work.ok('snap-create', ['-q', 'disk.img@s', '--cluster-size', '4K']);
  await work.write('disk.img', 0, noise('new', 8 * MIB));
  // What it has read fills the pipe: it waits, with most of it before it.
  const reading = work.start('snap-read', ['disk.img@s', '--format', 'dm', '--json'], { stdout: 'unread' });
  const { child } = reading;
  const first = await new Promise<Buffer>((resolve) => child.stdout?.once('data', resolve));
  assert.equal(first.readUInt32LE(0), 0x70416e53);
  child.stdout?.pause();
  await work.write('disk.img', 0, noise('later', 10));
  child.stdout?.resume();
  const { status, stderr } = await reading.result;
  assert.equal(status, 1);
  const { code, message, hint } = JSON.parse(stderr).error;
  assert.equal(code, 'io');
  assert.match(
    message,
    /^disk\.img: was written to, or its snapshots changed, while disk\.img@s was compared with it$/,
  );
  assert.match(hint, /run it again/);
});

test('a snapshot is made from a store, with what other options ask for', async (t) => {
  const work = await workplace(t);
  const origin = work.image('disk.img', noise('origin', 30 * CHUNK + 7));
  const old = [30, 2, 3, 29, 0];
  const store = makeStore(
    CHUNK,
    old.map((chunk) => ({ old: chunk, data: noise(chunk, CHUNK) })),
  );
  work.image('kernel.cow', store);
  symlinkSync('kernel.cow', work.path('link'));
  const frozen = overlay(origin, store, origin.length);
  const options: readonly (readonly string[])[] = [
    [],
    ['--cluster-size', '64K'],
    ['--max-size', '1M', '--on-full', 'refuse', '--label', 'from lvm', '--time', '2026-01-02T03:04:05Z'],
    ['--store', 'elsewhere.cow'],
  ];
  await eachOf(
    options.map((args, index) => ({ args, image: `disk${index}.img` })),
    async ({ args, image }) => {
      work.image(image, origin);
      const { stdout } = await work.ok('snap-create', [
        `${image}@lvm`,
        '--import-dm',
        'link',
        ...args,
        '--json',
      ]);
      const created = JSON.parse(stdout);
      const clusterSize = args.includes('64K') ? 64 * KIB : CHUNK;
      assert.deepEqual(
        [created.name, created.size, created.clusterSize],
        ['lvm', origin.length, clusterSize],
      );
      assert.ok((await work.read(`${image}@lvm`)).equals(frozen));
      assert.ok(readFileSync(work.path(image)).equals(origin));
      await work.write(image, 0, noise('later', origin.length));
      if (!args.includes('--max-size')) assert.ok((await work.read(`${image}@lvm`)).equals(frozen));
      await work.ok('snap-verify', [image]);
      await work.ok('snap-gc', ['-q', image]);
      assert.ok(!readdirSync(work.path(`${image}.snap`)).some((name) => name.endsWith('.tmp')));
    },
  );
});

test('what is imported goes into one file, as long as it may become', async (t) => {
  const work = await workplace(t);
  work.image('disk.img', noise('origin', 30 * CHUNK));
  work.image(
    'kernel.cow',
    makeStore(
      CHUNK,
      [3, 4, 5].map((old) => ({ old, data: noise(old, CHUNK) })),
    ),
  );
  mkdirSync(work.path('more'));
  const importing = ['disk.img@s', '--import-dm', 'kernel.cow', '--spill', 'more'];
  const tooShort = await work.fails('snap-create', [...importing, '--max-store-file', '32K']);
  assert.match(
    tooShort.message,
    /^disk\.img: a file of 32768 bytes does not hold the 36864 that are imported$/,
  );
  await work.ok('snap-create', ['-q', ...importing, '--max-store-file', '36K']);
  const frozen = await work.read('disk.img@s');
  await work.write('disk.img', 10 * CHUNK, noise('new', CHUNK));
  assert.equal(readdirSync(work.path('more')).length, 1);
  assert.ok((await work.read('disk.img@s')).equals(frozen));
});

test('what cannot be imported is told, and leaves nothing', async (t) => {
  const work = await workplace(t);
  work.image('disk.img', 10 * CHUNK);
  work.image('kernel.cow', makeStore(CHUNK, [{ old: 10, data: noise(1, CHUNK) }]));
  work.image('text', Buffer.from('SnAp, it says'));
  mkdirSync(work.path('dir'));
  const before = work.fingerprint();
  const failures: readonly (readonly [string, number, string, RegExp])[] = [
    [
      'kernel.cow',
      1,
      'refused',
      /^kernel\.cow: has an exception for chunk 10, past the image's end, at offset 4096$/,
    ],
    ['text', 1, 'refused', /^text: is no persistent exception store of dm-snapshot$/],
    ['dir', 1, 'refused', /^dir: is no regular file$/],
    ['/dev/null', 1, 'refused', /is no regular file$/],
    ['none', 1, 'not-found', /^cannot open none: /],
  ];
  for (const [file, status, code, message] of failures) {
    const failure = await work.fails('snap-create', ['disk.img@s', '--import-dm', file]);
    assert.deepEqual([failure.status, failure.code], [status, code], file);
    assert.match(failure.message, message);
  }
  assert.deepEqual(work.fingerprint(), before);
  await work.ok('snap-create', ['-q', 'disk.img@there']);
  const failure = await work.fails('snap-create', ['disk.img@s', '--import-dm', 'kernel.cow']);
  assert.match(failure.message, /^disk\.img: has snapshots, and what is imported must be the first$/);
});
