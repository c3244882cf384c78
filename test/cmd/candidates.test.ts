/**
 * `snap-create --candidates` as a user meets it: backups of file systems without what they do not use, which e2fsck finds
 * sound and in which every file is as it was; and what is said where that cannot be done.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { KIB, MIB, noise, skipWithout, type Workplace, workplace, writeBytes } from '../support/commands.ts';
import { mounted } from '../support/mounted.ts';

const PROGRAMS = ['mke2fs', 'e2fsck', 'debugfs'] as const;
const FILES = 20;
const REMOVED = [3, 4, 9, 15];

function run(program: string, ...args: readonly string[]): void {
  execFileSync(program, args, { stdio: 'ignore' });
}

const nameOf = (index: number) => `file${index}`;
const contentOf = (index: number) => noise(`file ${index}`, 1000 + index * 50 * KIB);

/** An ext4 file system with files, some of them removed, whose blocks still hold what was in them. */
function makeExt4(work: Workplace, name: string): string {
  mkdirSync(work.path('tree'), { recursive: true });
  for (let index = 0; index < FILES; index += 1)
    writeFileSync(work.path(`tree/${nameOf(index)}`), contentOf(index));
  const path = work.path(name);
  run('mke2fs', '-q', '-F', '-t', 'ext4', '-b', '4096', '-d', work.path('tree'), path, '64M');
  for (const index of REMOVED) run('debugfs', '-w', '-R', `rm ${nameOf(index)}`, path);
  return path;
}

function assertSound(work: Workplace, name: string): void {
  const { status, stdout } = spawnSync('e2fsck', ['-fn', work.path(name)], { encoding: 'utf8' });
  assert.equal(status, 0, stdout);
  mkdirSync(work.path('dumped'), { recursive: true });
  run('debugfs', '-R', `rdump / ${work.path('dumped')}`, work.path(name));
  const live = [...Array(FILES).keys()].filter((index) => !REMOVED.includes(index));
  assert.deepEqual(
    readdirSync(work.path('dumped'))
      .filter((each) => each.startsWith('file'))
      .sort(),
    live.map(nameOf).sort(),
  );
  for (const index of live) {
    assert.ok(readFileSync(work.path(`dumped/${nameOf(index)}`)).equals(contentOf(index)), nameOf(index));
  }
}

test('a backup of an ext4 image without its free blocks is smaller, sound, and has every file', async (t) => {
  if (skipWithout(t, ...PROGRAMS)) return;
  const work = await workplace(t);
  makeExt4(work, 'disk.img');
  const { stdout } = await work.ok('snap-create', ['disk.img@all', '--json']);
  assert.ok(!('candidates' in JSON.parse(stdout)));
  const created = await work.ok('snap-create', ['disk.img@live', '--candidates', 'auto', '--json']);
  const { candidates, clusters } = JSON.parse(created.stdout);
  assert.equal(created.stderr, '');
  assert.ok(candidates > 0 && candidates < clusters / 2, `${candidates} of ${clusters}`);
  await work.ok('snap-read', ['disk.img@all', '-o', 'all.img']);
  const digest = (await work.ok('snap-read', ['disk.img@live', '--digest', '-o', 'live.img'])).stderr;
  assert.ok(
    work.diskBytes('live.img') < work.diskBytes('all.img') - 600 * KIB,
    'the removed files took more',
  );
  assertSound(work, 'live.img');

  // All of the image is overwritten, and only what is in use is kept.
  const other = noise('other', 64 * MIB);
  await work.ok('snap-gc', ['-q', 'disk.img@all']);
  const written = await work.ok('snap-write', ['disk.img', '--json'], { stdin: other });
  assert.equal(JSON.parse(written.stdout).clustersCopied, candidates);
  assert.equal((await work.ok('snap-read', ['disk.img@live', '--digest', '-o', 'again.img'])).stderr, digest);
  assertSound(work, 'again.img');
  assert.ok(readFileSync(work.path('again.img')).equals(readFileSync(work.path('live.img'))));
  const verified = await work.ok('snap-verify', ['disk.img', '--json']);
  assert.deepEqual(JSON.parse(verified.stdout).findings, []);
  assert.equal((await work.run('snap-verify', ['--origin', 'disk.img@live'])).status, 3);
});

test('--origin and --delta: only what is kept is compared, and an image goes back to it', async (t) => {
  if (skipWithout(t, ...PROGRAMS)) return;
  const work = await workplace(t);
  makeExt4(work, 'disk.img');
  await work.ok('snap-create', ['-q', 'disk.img@live', '--candidates', 'auto']);
  const { stdout } = await work.ok('snap-verify', ['--origin', 'disk.img@live']);
  assert.equal(stdout, 'disk.img@live: 0 clusters, 0 bytes differ\n');
  await work.write('disk.img', 0, noise('other', 64 * MIB));
  const old = await work.read('disk.img@live');
  await work.ok('snap-write', ['-q', '--delta', 'disk.img'], { stdin: old });
  assertSound(work, 'disk.img');
  await work.ok('snap-verify', ['--origin', 'disk.img@live']);
});

const TABLES = {
  'a GPT': 'label: gpt\nstart=2048, size=8MiB, type=uefi\nsize=64MiB\nsize=8MiB\n',
  'an MBR': 'label: dos\nstart=2048, size=8MiB, type=c\nsize=64MiB\n',
  'an MBR with logical partitions':
    'label: dos\nstart=2048, size=8MiB, type=c\ntype=f\nsize=64MiB\nsize=8MiB\n',
};

for (const [table, script] of Object.entries(TABLES)) {
  test(`a disk with ${table}: free blocks in its ext4 partition are left out, and nothing else`, async (t) => {
    if (skipWithout(t, 'sfdisk', ...PROGRAMS)) return;
    const work = await workplace(t);
    const bytes = work.image('disk.img', noise('disk', 96 * MIB));
    bytes.fill(0, 0, MIB);
    work.image('disk.img', bytes);
    execFileSync('sfdisk', ['-q', '--wipe', 'never', work.path('disk.img')], {
      input: script,
      stdio: ['pipe', 'ignore', 'pipe'],
    });
    const { partitiontable }: { partitiontable: { partitions: { start: number; size: number }[] } } =
      JSON.parse(execFileSync('sfdisk', ['-J', work.path('disk.img')], { encoding: 'utf8' }));
    const place = partitiontable.partitions.find(({ size }) => size === 64 * 2048);
    assert.ok(place !== undefined);
    const [from, to] = [place.start * 512, (place.start + place.size) * 512];
    writeBytes(work.path('disk.img'), from, readFileSync(makeExt4(work, 'fs.img')));
    const before = readFileSync(work.path('disk.img'));
    const { stderr } = await work.ok('snap-create', [
      'disk.img@live',
      '--candidates',
      'auto',
      '--cluster-size',
      '4K',
    ]);
    assert.equal(stderr, '');
    await work.write('disk.img', 0, noise('other', 96 * MIB));
    const old = await work.read('disk.img@live');
    assert.ok(old.subarray(0, from).equals(before.subarray(0, from)), 'what is before the partition');
    assert.ok(old.subarray(to).equals(before.subarray(to)), 'what is behind it');
    writeFileSync(work.path('live.img'), old.subarray(from, to));
    assertSound(work, 'live.img');
    assert.ok(!old.subarray(from, to).equals(before.subarray(from, to)), 'something is left out');
  });
}

/** All is kept, and why is said. */
async function assertKept(work: Workplace, image: string, why: RegExp): Promise<void> {
  const { stdout, stderr } = await work.ok('snap-create', [`${image}@kept`, '--candidates', 'auto']);
  assert.equal(stdout, `${image}@kept\n`);
  assert.match(stderr, /^snap-create: warning: [^\n]*, so all of it is kept\n$/);
  assert.match(stderr, why);
  const json = await work.ok('snap-create', [`${image}@json`, '--candidates', 'auto', '--json']);
  assert.equal(JSON.parse(json.stdout).candidates, undefined);
  assert.ok((await work.read(`${image}@kept`)).equals(readFileSync(work.path(image))));
}

test('where free blocks cannot be told, all is kept with a warning', async (t) => {
  const work = await workplace(t);
  work.image('noise.img', noise(1, MIB));
  await assertKept(work, 'noise.img', /noise\.img: no ext2, ext3 or ext4 file system was found/);
  if (skipWithout(t, ...PROGRAMS)) return;
  // A bit of the superblock says that the journal has to be replayed; without checksums it is believed.
  run('mke2fs', '-q', '-F', '-t', 'ext4', '-O', '^metadata_csum', work.path('dirty.img'), '8M');
  run('debugfs', '-w', '-R', 'feature needs_recovery', work.path('dirty.img'));
  await assertKept(work, 'dirty.img', /journal has to be replayed/);
  run('mke2fs', '-q', '-F', '-t', 'ext4', work.path('unclean.img'), '8M');
  run('debugfs', '-w', '-R', 'set_super_value state 0', work.path('unclean.img'));
  await assertKept(work, 'unclean.img', /not unmounted cleanly/);
});

test('a file system that is mounted is kept whole', async (t) => {
  if (skipWithout(t, 'mount', ...PROGRAMS)) return;
  const work = await workplace(t);
  makeExt4(work, 'disk.img');
  await mounted(t, work, ['-o', 'loop', work.path('disk.img')], async (there) => {
    there.image('new', noise('new', MIB));
    run('sync', '-f', there.directory);
    const { stderr } = await work.ok('snap-create', ['disk.img', '--candidates', 'auto']);
    assert.match(stderr, /journal has to be replayed/);
  });
});

/** A sparse file with some blocks, and its map. */
function makeMapped(t: TestContext, work: Workplace): boolean {
  if (skipWithout(t, 'bmaptool')) return false;
  writeFileSync(work.path('disk.img'), '');
  truncateSync(work.path('disk.img'), 4 * MIB);
  writeBytes(work.path('disk.img'), MIB, noise('mapped', 300 * KIB));
  run('bmaptool', 'create', '-o', work.path('disk.bmap'), work.path('disk.img'));
  return true;
}

test('a block map of bmaptool says what is kept', async (t) => {
  const work = await workplace(t);
  if (!makeMapped(t, work)) return;
  // What is written after the map was made is not in it.
  writeBytes(work.path('disk.img'), 3 * MIB, noise('unmapped', 100));
  const { stdout } = await work.ok('snap-create', ['disk.img@a', '--candidates', 'disk.bmap', '--json']);
  assert.equal(JSON.parse(stdout).candidates, 5);
  const expected = Buffer.alloc(4 * MIB);
  noise('mapped', 300 * KIB).copy(expected, MIB);
  await work.write('disk.img', 0, noise('other', 4 * MIB));
  assert.ok((await work.read('disk.img@a')).equals(expected));
});

test('a block map that does not fit is refused before anything is changed', async (t) => {
  const work = await workplace(t);
  const fails = async (file: string, code: string) => {
    const failure = await work.fails('snap-create', ['disk.img', '--candidates', file]);
    assert.equal(failure.status, 1);
    assert.equal(failure.code, code);
    assert.ok(!existsSync(work.path('disk.img.snap')));
    return failure.message;
  };
  work.image('disk.img', noise(1, MIB));
  assert.match(await fails('no-such.bmap', 'not-found'), /no-such\.bmap/);
  assert.match(await fails('disk.img', 'refused'), /disk\.img: is no block map/);
  if (!makeMapped(t, work)) return;
  truncateSync(work.path('disk.img'), 3 * MIB);
  assert.match(await fails('disk.bmap', 'refused'), /of an image of 4194304 bytes, and this one has 3145728/);
  writeFileSync(
    work.path('disk.bmap'),
    readFileSync(work.path('disk.bmap'), 'utf8').replace('<BlockSize> 4096', '<BlockSize> 1024'),
  );
  assert.match(await fails('disk.bmap', 'refused'), /does not match its own checksum/);
});

test('--candidates all is what is done without it', async (t) => {
  const work = await workplace(t);
  const content = work.image('disk.img', MIB);
  const { stdout } = await work.ok('snap-create', ['disk.img@a', '--candidates', 'all', '--json']);
  assert.ok(!('candidates' in JSON.parse(stdout)));
  assert.ok((await work.read('disk.img@a')).equals(content));
  assert.equal(
    (await work.fails('snap-create', ['disk.img', '--candidates', 'all', '--candidates', 'auto'])).status,
    2,
  );
});
