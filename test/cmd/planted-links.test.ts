/**
 * What somebody may have planted in a sidecar that he can write to, for a command that may do more than he may: symbolic
 * links and named pipes under the names of our files. A link is followed only where the catalog says that a store is
 * elsewhere; what it leads to is neither changed nor shown, and nobody waits for a pipe. Every command on every name is
 * tried in memory (`test/snapshot/planted-links.test.ts`); here is what only real files and processes show.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { lstatSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { type CommandName, KIB, noise, skipWithout, type Workplace, workplace } from '../support/commands.ts';

const CLUSTER = 64 * KIB;
const SECRET_WORDS = ['root:', 's3cret', '99999'];
const SECRET = Buffer.from(`root:${'s3cret'.repeat(20)}:19000:0:99999:7:::\n`);

/** Two snapshots with something in each store, and a file that is nobody's business. */
async function history(t: TestContext): Promise<Workplace> {
  const work = await workplace(t);
  work.image('disk.img', noise('planted', 3 * CLUSTER));
  work.image('secret', SECRET);
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  await work.ok('snap-create', ['-q', 'disk.img@two']);
  await work.write('disk.img', CLUSTER, noise('newer', 100));
  return work;
}

function ourFiles(work: Workplace): string[] {
  const stores = ['one', 'two'].map((name) => work.store('disk.img', name));
  return [...['state', 'catalog.json'].map((name) => work.path(`disk.img.snap/${name}`)), ...stores];
}

function identity(path: string): unknown {
  const { mode, uid, gid, nlink, size, ino, mtimeNs, ctimeNs } = lstatSync(path, { bigint: true });
  return { mode, uid, gid, nlink, size, ino, mtimeNs, ctimeNs, content: readFileSync(path, 'latin1') };
}

/** Runs a command that must find damage, change nothing of `target`, and say nothing of what is in there. */
async function assertRefused(
  work: Workplace,
  target: string,
  [name, args]: readonly [CommandName, readonly string[]],
): Promise<void> {
  const before = identity(target);
  const answer = await work.run(name, ['--debug', ...args], { stdin: 'data' });
  assert.equal(answer.status, 3, answer.stderr);
  assert.match(answer.stderr, /is no regular file\n/);
  for (const word of SECRET_WORDS) assert.ok(!`${answer.stdout}${answer.stderr}`.includes(word), word);
  assert.deepEqual(identity(target), before);
}

test('what stands in place of a file of ours is not followed, not shown and not waited for', async (t) => {
  if (skipWithout(t, 'mkfifo')) return;
  const work = await history(t);
  for (const path of ourFiles(work)) {
    renameSync(path, work.path('moved'));
    // To a stranger, and to the very file: only the catalog can say that a store is elsewhere.
    for (const target of ['secret', 'moved']) {
      symlinkSync(`../${target}`, path);
      const [command, name] =
        target === 'secret' ? (['snap-gc', 'two'] as const) : (['snap-read', 'one'] as const);
      await assertRefused(work, work.path(target), [command, [`disk.img@${name}`]]);
      assert.ok(lstatSync(path).isSymbolicLink(), `${path} was replaced`);
      rmSync(path);
    }
    execFileSync('mkfifo', [path]);
    await assertRefused(work, work.path('secret'), ['snap-gc', ['disk.img@two']]);
    rmSync(path);
    renameSync(work.path('moved'), path);
  }
});

test('what is planted where a file is about to be made is replaced, not followed', async (t) => {
  if (skipWithout(t, 'mkfifo')) return;
  const work = await history(t);
  const before = identity(work.path('secret'));
  const places = ['catalog.json.tmp', 'reserve'].map((name) => work.path(`disk.img.snap/${name}`));
  const plants: readonly ((path: string) => void)[] = [
    (path) => symlinkSync('../secret', path),
    (path) => execFileSync('mkfifo', [path]),
  ];
  for (const [index, plant] of plants.entries()) {
    for (const path of places) rmSync(path, { force: true });
    for (const path of places) plant(path);
    await work.ok('snap-create', ['-q', `disk.img@new${index}`]);
    assert.deepEqual(identity(work.path('secret')), before);
    assert.deepEqual(
      places.map((path) => lstatSync(path, { throwIfNoEntry: false })?.isFile()),
      [undefined, true],
    );
  }
  await work.ok('snap-verify', ['disk.img']);
});

test('the sidecar itself may be a link, and a store that the catalog names elsewhere, too', async (t) => {
  const work = await workplace(t);
  const content = work.image('disk.img', noise('elsewhere', 3 * CLUSTER));
  mkdirSync(work.path('far'));
  await work.ok('snap-create', ['-q', 'disk.img@one', '--store', 'far/one.cow']);
  renameSync(work.path('disk.img.snap'), work.path('far/sidecar'));
  symlinkSync('far/sidecar', work.path('disk.img.snap'));
  renameSync(work.path('far/one.cow'), work.path('moved.cow'));
  symlinkSync('../moved.cow', work.path('far/one.cow'));
  await work.write('disk.img', 0, noise('new', 100));
  assert.ok((await work.read('disk.img@one')).equals(content));
  // What it leads to is left to whoever made the link.
  const { stderr } = await work.ok('snap-gc', ['disk.img@one']);
  assert.match(stderr, /warning: .*\/far\/one\.cow: left alone/);
  assert.ok(lstatSync(work.path('moved.cow')).isFile());
});
