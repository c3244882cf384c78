/** snap-gc and every other command leave alone what cannot be proven to be ours, however tempting its name is. */
import assert from 'node:assert/strict';
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename } from 'node:path';
import { test } from 'node:test';
import { KIB, noise, type Workplace, workplace, writeBytes } from '../support/commands.ts';

const CLUSTER = 64 * KIB;
const PRECIOUS = 'precious '.repeat(1000);

async function history(work: Workplace, ...places: string[]): Promise<Map<string, Buffer>> {
  work.image('disk.img', noise('ours', 6 * CLUSTER));
  const frozen = new Map<string, Buffer>();
  for (const [index, name] of ['one', 'two', 'three'].entries()) {
    frozen.set(name, readFileSync(work.path('disk.img')));
    const place = places[index];
    await work.ok('snap-create', ['-q', `disk.img@${name}`, ...(place ? ['--store', place] : [])]);
    await work.write('disk.img', (index + 1) * CLUSTER, noise(name, 100));
  }
  writeFileSync(work.path('precious'), PRECIOUS);
  return frozen;
}

/** Everything but the sidecar's own files, with its content. */
function contentsOf(work: Workplace, paths: readonly string[]): string[] {
  return paths.map((path) => {
    const stat = lstatSync(work.path(path));
    return `${path} ${stat.mode} ${stat.isFile() ? readFileSync(work.path(path), 'latin1') : ''}`;
  });
}

/** Every form of snap-gc, and what commits a catalog. */
async function collectEverything(work: Workplace): Promise<void> {
  await work.ok('snap-gc', ['-q', 'disk.img']);
  await work.ok('snap-gc', ['-q', 'disk.img', '--keep-last', '2']);
  await work.ok('snap-create', ['-q', 'disk.img@later']);
  await work.write('disk.img', 0, noise('later', CLUSTER));
  await work.ok('snap-gc', ['-q', 'disk.img@later']);
  await work.ok('snap-gc', ['-q', 'disk.img', '--max-total', '1']);
}

test('foreign files, directories and links with tempting names stay, and so does what the links lead to', async (t) => {
  const work = await workplace(t);
  const frozen = await history(work);
  const sidecar = 'disk.img.snap';
  const files = [
    'notes.txt',
    'two-00000000.cow',
    'disk.img',
    'reserve.old',
    'state.bak',
    'x.cow.tmp',
    '-1.cow',
  ];
  for (const name of files) writeFileSync(work.path(`${sidecar}/${name}`), PRECIOUS);
  const directories = ['dir-00000000.cow', 'dir-00000000.cow.tmp', 'lost+found'];
  for (const name of directories) {
    mkdirSync(work.path(`${sidecar}/${name}`));
    writeFileSync(work.path(`${sidecar}/${name}/kept`), PRECIOUS);
  }
  const links = ['link-00000000.cow', 'link-00000000.cow.tmp', 'link.txt'];
  for (const name of links) symlinkSync('../precious', work.path(`${sidecar}/${name}`));
  symlinkSync(basename(work.store('disk.img', 'two')), work.path(`${sidecar}/alias-00000000.cow`));
  mkdirSync(work.path('disk.img.snap.0123456789abcdef.tmp'));
  symlinkSync('../precious', work.path('disk.img.snap.0123456789abcdef.tmp/state'));
  symlinkSync(sidecar, work.path('disk.img.snap.0123456789abcdee.tmp'));
  const paths = [
    ...[...files, ...links].map((name) => `${sidecar}/${name}`),
    ...directories.flatMap((name) => [`${sidecar}/${name}`, `${sidecar}/${name}/kept`]),
    'precious',
    'disk.img.snap.0123456789abcdef.tmp/state',
    'disk.img.snap.0123456789abcdee.tmp',
  ];
  const before = contentsOf(work, paths);
  await collectEverything(work);
  assert.deepEqual(contentsOf(work, paths), before);
  assert.ok((await work.read('disk.img@three')).equals(frozen.get('three') ?? Buffer.alloc(0)));
});

test("hard links of somebody's files in the sidecar: their content stays under their other names", async (t) => {
  const work = await workplace(t);
  await history(work);
  const names = ['catalog.json.tmp', 'left-00000000.cow', 'left-00000000.cow.tmp', 'reserve'];
  rmSync(work.path('disk.img.snap/reserve'));
  for (const name of names) linkSync(work.path('precious'), work.path(`disk.img.snap/${name}`));
  await collectEverything(work);
  assert.equal(readFileSync(work.path('precious'), 'utf8'), PRECIOUS);
});

test('where --store pointed stands another file, a directory or a link: left alone, and said', async (t) => {
  const work = await workplace(t);
  const frozen = await history(work, 'one.cow', 'two.cow', 'three.cow');
  const instead: Readonly<Record<string, (path: string) => void>> = {
    one: (path) => writeFileSync(path, PRECIOUS),
    two: (path) => mkdirSync(path),
    three: (path) => symlinkSync('precious', path),
  };
  for (const name of ['one', 'two', 'three']) {
    const path = work.path(`${name}.cow`);
    // Whole while its clusters are handed over; of the oldest nothing is.
    renameSync(path, work.path('aside'));
    instead[name]?.(path);
    const before = contentsOf(work, [`${name}.cow`, 'precious']);
    const { stderr } = await work.ok('snap-gc', [`disk.img@${name}`]);
    assert.match(stderr, new RegExp(`warning: ${path}: left alone, since it is not this snapshot's store`));
    assert.deepEqual(contentsOf(work, [`${name}.cow`, 'precious']), before);
    const next = name === 'one' ? 'two' : 'three';
    if (name !== 'three') {
      assert.ok((await work.read(`disk.img@${next}`)).equals(frozen.get(next) ?? Buffer.alloc(0)));
    }
    rmSync(work.path('aside'));
  }
});

test('two stores that changed places: removing one snapshot does not take the file of the other', async (t) => {
  const work = await workplace(t);
  const frozen = await history(work);
  const [one, two] = [work.store('disk.img', 'one'), work.store('disk.img', 'two')];
  renameSync(one, work.path('aside'));
  renameSync(two, one);
  renameSync(work.path('aside'), two);
  const { stderr } = await work.ok('snap-gc', ['disk.img@one']);
  assert.match(stderr, /one-[0-9a-f]{8}\.cow: left alone/);
  renameSync(one, two);
  assert.ok((await work.read('disk.img@two')).equals(frozen.get('two') ?? Buffer.alloc(0)));
});

test("a store of another image in the place of one: it is another's, and stays", async (t) => {
  const work = await workplace(t);
  await history(work);
  work.image('other.img', noise('other', 6 * CLUSTER));
  await work.ok('snap-create', ['-q', 'other.img@one']);
  const [ours, other] = [work.store('disk.img', 'one'), work.store('other.img', 'one')];
  rmSync(ours);
  renameSync(other, ours);
  await work.ok('snap-gc', ['-q', 'disk.img@one']);
  renameSync(ours, other);
  assert.ok((await work.read('other.img@one')).equals(readFileSync(work.path('other.img'))));
});

test('a store in the sidecar whose header is destroyed is ours, and goes with its snapshot', async (t) => {
  const work = await workplace(t);
  const frozen = await history(work);
  for (const [name, bytes] of [
    ['one', Buffer.alloc(512)],
    ['two', noise('garbage', 512)],
  ] as const) {
    const store = work.store('disk.img', name);
    writeBytes(store, 0, bytes);
    await work.ok('snap-gc', ['-q', `disk.img@${name}`]);
    assert.equal(existsSync(store), false, name);
  }
  assert.ok((await work.read('disk.img@three')).equals(frozen.get('three') ?? Buffer.alloc(0)));
  await work.ok('snap-verify', ['disk.img']);
});
