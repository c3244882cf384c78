/**
 * Where a file of the sidecar belongs stands something else: a pipe, a device, a directory, a link. Only real files show
 * what opening such a thing does. Every command ends, names the place, reads nothing wrong, and leaves alone what the
 * links lead to.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { runBounded } from '../support/bounded.ts';
import {
  type CommandName,
  chooseSeed,
  copyPlace,
  eachOf,
  KIB,
  MIB,
  noise,
  skipWithout,
  Workplace,
  wordsOf,
  workplace,
} from '../support/commands.ts';
import { runProcess } from '../support/process.ts';

const CLUSTER = 64 * KIB;
const PEAK_BYTES = 256 * MIB;
const EVERYTHING = process.env.IMGSNAP_ALL_BITS === '1';

const COMMANDS: readonly (readonly [CommandName, ...string[]])[] = [
  ['snap-list', 'disk.img'],
  ['snap-list'],
  ['snap-verify', 'disk.img'],
  ['snap-read', 'disk.img@one'],
  ['snap-read', 'disk.img@two'],
  ['snap-write', 'disk.img', '--offset', '200000'],
  ['snap-create', 'disk.img@three'],
  ['snap-gc', 'disk.img', '--dry-run', '--keep-last', '1'],
  ['snap-gc', 'disk.img'],
  ['snap-gc', 'disk.img@one'],
];

/** Two snapshots; both have copied something. */
async function history(work: Workplace): Promise<Map<string, Buffer>> {
  const contents = new Map<string, Buffer>();
  contents.set('one', work.image('disk.img', noise('hostile', 6 * CLUSTER)));
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  await work.write('disk.img', CLUSTER, noise('first', 2 * CLUSTER));
  contents.set('two', readFileSync(work.path('disk.img')));
  await work.ok('snap-create', ['-q', 'disk.img@two']);
  await work.write('disk.img', 2 * CLUSTER, noise('second', 2 * CLUSTER));
  writeFileSync(work.path('precious'), 'precious '.repeat(1000));
  return contents;
}

/** What stands there instead; each is given the free place, and the thing that stood there. */
const THINGS: Readonly<Record<string, (path: string, aside: string) => void>> = {
  'a pipe': (path) => execFileSync('mkfifo', [path]),
  'a directory': (path) => mkdirSync(path),
  'a link to an endless device': (path) => symlinkSync('/dev/zero', path),
  "a link to somebody's file": (path) => symlinkSync(join(path, '../../precious'), path),
  'a link to itself': (path) => symlinkSync(basename(path), path),
  'a link to nothing': (path) => symlinkSync('nothing', path),
  'an empty file': (path) => writeFileSync(path, ''),
  "somebody's file": (path) => writeFileSync(path, 'precious '.repeat(1000)),
  'a huge file of holes': (path) => {
    writeFileSync(path, '');
    execFileSync('truncate', ['-s', '16383G', path]);
  },
  nothing: () => undefined,
};

const PLACES: Readonly<Record<string, (work: Workplace) => string>> = {
  'the catalog': (work) => work.path('disk.img.snap/catalog.json'),
  state: (work) => work.path('disk.img.snap/state'),
  'the reserve': (work) => work.path('disk.img.snap/reserve'),
  'the older store': (work) => work.store('disk.img', 'one'),
  'the newest store': (work) => work.store('disk.img', 'two'),
};

interface Case {
  readonly place: string;
  readonly thing: string;
  readonly command: readonly [CommandName, ...string[]];
}

/** Runs one command on a copy in which one thing was put in one place. */
async function tryOne(work: Workplace, contents: ReadonlyMap<string, Buffer>, each: Case): Promise<void> {
  const { place, thing, command } = each;
  const sound = new Workplace(work.path('sound'));
  const copy = copyPlace(
    sound,
    work.path(`copy ${place} ${thing} ${command.join(' ')}`.replace(/[/']/g, '-')),
  );
  const what = `${command.join(' ')} with ${thing} in place of ${place}`;
  const path = PLACES[place]?.(copy) ?? assert.fail(place);
  renameSync(path, copy.path('aside'));
  THINGS[thing]?.(path, copy.path('aside'));
  const [name, ...args] = command;
  const answer = await runBounded(copy, name, args, { stdin: noise('written', 1000) });
  const said = `${what}: ${answer.status} ${answer.stderr}`;
  assert.ok([0, 1, 3].includes(answer.status), said);
  assert.ok(answer.peakBytes < PEAK_BYTES, `${what}: ${answer.peakBytes} bytes`);
  assert.doesNotMatch(answer.stderr, /TypeError|RangeError|\n {4}at |undefined|cannot come/, said);
  const isOfState = place === 'state' || place === 'the catalog';
  if (answer.status !== 0 && name !== 'snap-verify') {
    assert.ok(answer.stderr.includes(basename(path)), `does not name it: ${said}`);
  }
  const content = contents.get(command[1]?.split('@')[1] ?? '');
  if (name === 'snap-read' && answer.status === 0)
    assert.ok(content?.equals(answer.data), `reads wrong: ${said}`);
  if (name === 'snap-verify' && (isOfState || place.endsWith('store'))) {
    assert.equal(answer.status, isOfState && thing.includes('nothing') ? answer.status : 3, said);
  }
  assert.equal(readFileSync(copy.path('precious'), 'utf8'), 'precious '.repeat(1000), what);
  rmSync(copy.directory, { recursive: true });
}

test('what is no regular file in the place of one: every command ends, and nothing is read wrong', async (t) => {
  if (skipWithout(t, 'mkfifo', 'truncate')) return;
  const work = await workplace(t);
  mkdirSync(work.path('sound'));
  const contents = await history(new Workplace(work.path('sound')));
  const seed = chooseSeed(t);
  const all = Object.keys(PLACES).flatMap((place) =>
    Object.keys(THINGS).flatMap((thing) => COMMANDS.map((command) => ({ place, thing, command }))),
  );
  const chance = noise(seed, all.length);
  const chosen = all.filter((_, index) => EVERYTHING || (chance[index] ?? 0) < 20);
  t.diagnostic(`${chosen.length} of ${all.length} combinations`);
  const failures: string[] = [];
  await eachOf(chosen, async (each) => {
    try {
      await tryOne(work, contents, each);
    } catch (error) {
      failures.push(error instanceof Error ? error.message : String(error));
    }
  });
  assert.equal(failures.length, 0, `${failures.length} of ${chosen.length}\n${failures.join('\n')}`);
});

test('a sidecar that is no directory, or a link in a circle: refused, and nothing is taken for "no snapshots"', async (t) => {
  if (skipWithout(t, 'mkfifo')) return;
  const work = await workplace(t);
  await history(work);
  const sidecar = work.path('disk.img.snap');
  renameSync(sidecar, work.path('aside'));
  const things = Object.entries(THINGS).filter(([thing]) => thing !== 'nothing');
  const before = readFileSync(work.path('disk.img'));
  const named = COMMANDS.filter(([, image]) => image !== undefined);
  const seed = chooseSeed(t);
  for (const [thing, make] of things) {
    if (thing.includes('huge')) continue;
    make(sidecar, work.path('aside'));
    const chance = noise(`${seed} ${thing}`, named.length);
    await eachOf(
      named.filter((_, index) => EVERYTHING || (chance[index] ?? 0) < 80),
      async ([name, ...args]) => {
        const answer = await runBounded(work, name, args, { stdin: 'written' });
        assert.equal(answer.status, 1, `${name} with ${thing}: ${answer.stderr}`);
        assert.match(answer.stderr, /disk\.img\.snap/, thing);
      },
    );
    assert.ok(lstatSync(sidecar), thing);
    rmSync(sidecar, { recursive: true });
  }
  assert.ok(readFileSync(work.path('disk.img')).equals(before));
});

test('files that may not be read: 1, each named; what does not need them goes on', async (t) => {
  if (skipWithout(t, 'setpriv')) return;
  const work = await workplace(t);
  chmodSync(work.directory, 0o755);
  const contents = await history(work);
  const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
  const run = (name: CommandName, args: readonly string[]) =>
    runProcess([...nobody, ...wordsOf(name, args)], { cwd: work.directory });
  const can = spawnSync(nobody[0] ?? '', [...nobody.slice(1), ...wordsOf('snap-list', ['--version'])]);
  if (can.status !== 0) return t.skip(`commands cannot be run as another user here: ${can.stderr}`);
  for (const [place, pathOf] of Object.entries(PLACES)) {
    if (place === 'the reserve') continue;
    const path = pathOf(work);
    chmodSync(path, 0);
    const read = await run('snap-read', ['disk.img@one']);
    assert.equal(read.status, 1, `${place}: ${read.stderr}`);
    assert.ok(read.stderr.includes(path) && read.stderr.includes('EACCES'), read.stderr);
    const verified = await run('snap-verify', ['disk.img']);
    if (place.endsWith('store')) {
      assert.equal(verified.status, 3, verified.stderr);
      assert.ok(verified.stdout.toString().includes(path));
    } else assert.equal(verified.status, 1, verified.stderr);
    if (place === 'the older store') {
      const newest = await run('snap-read', ['disk.img@two']);
      assert.ok(newest.stdout.equals(contents.get('two') ?? Buffer.alloc(0)), newest.stderr);
    }
    chmodSync(path, 0o644);
  }
});
