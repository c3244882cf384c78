/** `snap-list --format dmsetup`, line by line; that a real dmsetup prints the same is for `npm run test:kernel`. */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { test } from 'node:test';
import { makeStore, overlay } from '../dm/exception-store.ts';
import { KIB, MIB, noise, workplace } from '../support/commands.ts';

const CHUNK = 4 * KIB;

test('snap-list --format dmsetup: tables, then statuses', async (t) => {
  const work = await workplace(t);
  work.image('a b.img', noise('image', MIB + 700));
  work.image('plain.img', 1024);
  const ended = ['--max-size', '64K'];
  await work.ok('snap-create', ['-q', 'a b.img@one', '--cluster-size', '16K', '--max-size', '1M']);
  await work.write('a b.img', 0, noise('first', 40 * KIB));
  await work.write('a b.img', 500_000, Buffer.alloc(1000));
  await work.ok('snap-create', ['-q', 'a b.img@two', ...ended]);
  await work.write('a b.img', 0, noise('second', 100 * KIB));
  await work.ok('snap-create', ['-q', 'a b.img@three']);
  const store = (name: string) => work.store('a b.img', name).replaceAll(' ', '\\x20');
  const [one, two, three] = ['one', 'two', 'three'].map(store);
  // The header's pages, the bitmap and the table of 65 clusters: in clusters of 16 KiB they are two.
  const metadata = 64;
  const { stdout, stderr } = await work.ok('snap-list', ['--format', 'dmsetup', 'a b.img', 'plain.img']);
  assert.equal(stderr, '');
  assert.deepEqual(stdout.split('\n'), [
    'a\\x20b.img: 0 2049 snapshot-origin a\\x20b.img',
    `a\\x20b.img@one: 0 2049 snapshot a\\x20b.img ${one} P 32`,
    `a\\x20b.img@two: 0 2049 snapshot a\\x20b.img ${two} P 32`,
    `a\\x20b.img@three: 0 2049 snapshot a\\x20b.img ${three} P 32`,
    'plain.img: 0 2 snapshot-origin plain.img',
    'a\\x20b.img: 0 2049 snapshot-origin ',
    // Of its limit, the four clusters that the second one has copied since it ended are used as well.
    `a\\x20b.img@one: 0 2049 snapshot ${metadata + 4 * 32}/${metadata + 2048 - 4 * 32} ${metadata}`,
    'a\\x20b.img@two: 0 2049 snapshot Invalid',
    `a\\x20b.img@three: 0 2049 snapshot ${metadata}/${metadata + 65 * 32} ${metadata}`,
    'plain.img: 0 2 snapshot-origin ',
    '',
  ]);
  rmSync(work.store('a b.img', 'one'));
  const lost = await work.ok('snap-list', ['--format', 'dmsetup', 'a b.img']);
  assert.match(lost.stdout, /^a\\x20b\.img@one: 0 2049 snapshot Unknown$/m);
});

test('snap-list --format dmsetup: what does not outlive the boot is N; it can be imported and exported too', async (t) => {
  const work = await workplace(t);
  const origin = work.image('disk.img', noise('image', 20 * CHUNK));
  const store = makeStore(
    CHUNK,
    [3, 9].map((old) => ({ old, data: noise(old, CHUNK) })),
  );
  work.image('kernel.cow', store);
  await work.ok('snap-create', ['-q', 'disk.img@s', '--transient', '--import-dm', 'kernel.cow']);
  const { stdout } = await work.ok('snap-list', ['--format', 'dmsetup', 'disk.img']);
  assert.match(stdout, /^disk\.img@s: 0 160 snapshot disk\.img \S+\.cow N 8$/m);
  const again = await work.read('disk.img@s', '--format', 'dm');
  const frozen = overlay(origin, store, origin.length);
  assert.ok(overlay(origin, again, origin.length).equals(frozen));
  assert.ok((await work.read('disk.img@s')).equals(frozen));
});

test('snap-list --format dmsetup without an image: those of the directory, orphans too', async (t) => {
  const work = await workplace(t);
  assert.equal((await work.ok('snap-list', ['--format', 'dmsetup'])).stdout, '');
  work.image('disk.img', MIB);
  await work.ok('snap-create', ['-q', 'disk.img@s']);
  rmSync(work.path('disk.img'));
  const store = work.store('disk.img', 's');
  const { stdout } = await work.ok('snap-list', ['--format', 'dmsetup']);
  assert.equal(
    stdout,
    `disk.img@s: 0 2048 snapshot disk.img ${store} P 128\ndisk.img@s: 0 2048 snapshot Unknown\n`,
  );
});
