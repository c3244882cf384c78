/**
 * What the ancestors refuse with EBUSY, ENOTBLK, EROFS, EBADF, EPERM, EINVAL and ENXIO: each is refused here with a
 * status and a code of its own, before anything is changed.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import {
  COMMANDS,
  type CommandName,
  eachOf,
  KIB,
  noise,
  skipWithout,
  type Workplace,
  withDescriptor,
  wordsOf,
  workplace,
} from '../support/commands.ts';
import { ext4, mounted } from '../support/mounted.ts';
import { runProcess } from '../support/process.ts';

const CLUSTER = 64 * KIB;

/** Two images with snapshots, one of them with a store elsewhere and a sidecar that is a link. */
async function scene(work: Workplace): Promise<void> {
  work.image('disk.img', noise('ours', 3 * CLUSTER));
  work.image('other.img', noise('other', 3 * CLUSTER));
  mkdirSync(work.path('far'));
  await work.ok('snap-create', ['-q', 'other.img@one', '--store', 'other.store']);
  await work.ok('snap-create', ['-q', 'other.img@two']);
  await work.write('other.img', 0, noise('new', CLUSTER));
  renameSync(work.path('other.img.snap'), work.path('far/kept'));
  symlinkSync('far/kept', work.path('other.img.snap'));
  symlinkSync('far/kept', work.path('link-to-sidecar'));
}

/** Everything that stands there, of which nothing can be a store's place; with the code that says so. */
async function places(t: TestContext, work: Workplace): Promise<[string, string, RegExp][]> {
  writeFileSync(work.path('precious'), 'precious');
  symlinkSync('nowhere', work.path('dangling'));
  symlinkSync('disk.img', work.path('alias'));
  symlinkSync('other.store', work.path('store-alias'));
  execFileSync('mkfifo', [work.path('fifo')]);
  const server = createServer().listen(work.path('socket'));
  t.after(() => server.close());
  await new Promise((resolve) => server.once('listening', resolve));
  const [two = ''] = readdirSync(work.path('far/kept')).filter((name) => name.startsWith('two-'));
  return [
    ['disk.img', 'exists', /^disk\.img: is the image itself$/],
    ['./far/../disk.img', 'exists', /is the image itself$/],
    ['alias', 'exists', /^alias: is the image itself$/],
    ['other.store', 'exists', /^other\.store: is the store of another snapshot$/],
    ['store-alias', 'exists', /is the store of another snapshot$/],
    [`far/kept/${two}`, 'exists', /is the store of another snapshot$/],
    ['other.img', 'exists', /exists already$/],
    ['precious', 'exists', /exists already$/],
    ['dangling', 'exists', /exists already$/],
    ['fifo', 'refused', /is a named pipe, not a regular file$/],
    ['socket', 'refused', /is a socket, not a regular file$/],
    ['/dev/null', 'refused', /is a device, not a regular file$/],
    ['other.img.snap', 'refused', /is inside a sidecar$/],
    ['other.img.snap/new', 'refused', /is inside a sidecar$/],
    ['link-to-sidecar', 'refused', /is inside a sidecar$/],
    ['far/kept', 'refused', /is inside a sidecar$/],
    ['far/kept/new', 'refused', /is inside a sidecar$/],
    ['far/new.snap', 'refused', /is the name of a sidecar$/],
    ['disk.img.snap', 'refused', /is (the name of|inside) a sidecar$/],
    ['nowhere/new', 'not-found', /no such directory$/],
    ['precious/new', 'not-found', /precious/],
  ];
}

test('--store and --spill: no place that is in use, by whom or by what name it may be', async (t) => {
  const work = await workplace(t);
  await scene(work);
  const cases = await places(t, work);
  for (const first of [true, false]) {
    // A first snapshot makes the sidecar, and is refused before it does.
    if (!first) await work.ok('snap-create', ['-q', 'disk.img@one']);
    const before = work.fingerprint();
    await eachOf(cases, async ([path, code, message]) => {
      for (const option of ['--store', '--spill']) {
        const failure = await work.fails('snap-create', ['disk.img@new', option, path]);
        assert.deepEqual([failure.status, failure.code, failure.stdout], [1, code, ''], `${option} ${path}`);
        assert.match(failure.message, message);
      }
    });
    assert.deepEqual(work.fingerprint(), before);
  }
});

test('--store and --spill: the place of a store that is missing stays its own, and none is named twice', async (t) => {
  const work = await workplace(t);
  const content = work.image('disk.img', noise('ours', 3 * CLUSTER));
  await work.ok('snap-create', ['-q', 'disk.img@one', '--store', 'far', '--spill', 'unused']);
  await work.ok('snap-create', ['-q', 'disk.img@two']);
  renameSync(work.path('far'), work.path('away'));
  const before = work.fingerprint();
  for (const path of ['far', './far', work.path('far'), 'unused']) {
    for (const option of ['--store', '--spill']) {
      const failure = await work.fails('snap-create', ['disk.img@three', option, path]);
      assert.deepEqual([failure.status, failure.code], [1, 'exists'], `${option} ${path}`);
      assert.match(failure.message, /is the place of another snapshot's store/);
    }
  }
  for (const same of [
    ['--store', 'new', '--spill', './new'],
    ['--spill', 'new', '--spill', work.path('new')],
  ]) {
    const failure = await work.fails('snap-create', ['disk.img@three', ...same]);
    assert.deepEqual([failure.status, failure.code], [1, 'refused'], same.join(' '));
  }
  assert.deepEqual(work.fingerprint(), before);
  renameSync(work.path('away'), work.path('far'));
  assert.ok((await work.read('disk.img@one')).equals(content));
});

test('what is no image, a store or something in a sidecar: refused as IMAGE', async (t) => {
  const work = await workplace(t);
  await scene(work);
  await places(t, work);
  work.image('twice', 100);
  linkSync(work.path('twice'), work.path('same'));
  const [two = ''] = readdirSync(work.path('far/kept')).filter((name) => name.startsWith('two-'));
  const anywhere: [string, RegExp][] = [
    ['far', /is a directory/],
    ['fifo', /is a named pipe/],
    ['socket', /is a socket/],
    ['/dev/null', /is a device/],
    ['same', /has several hard links/],
    [`far/kept/${two}`, /is inside the sidecar .*\/far\/kept$/],
    [`other.img.snap/${two}`, /is inside the sidecar/],
    ['link-to-sidecar/state', /is inside the sidecar/],
    ['far/kept/catalog.json', /is inside the sidecar/],
  ];
  const before = work.fingerprint();
  await eachOf(COMMANDS, async (name) => {
    const stores: [string, RegExp][] = [
      ['other.store', /^other\.store: is the store of a snapshot$/],
      ['store-alias', /is the store of a snapshot$/],
    ];
    const changes = name === 'snap-create' || name === 'snap-write';
    for (const [image, message] of [...anywhere, ...(changes ? stores : [])]) {
      const failure = await work.fails(name, [image], { stdin: 'overwritten' });
      assert.deepEqual(
        [failure.status, failure.code, failure.stdout],
        [1, 'refused', ''],
        `${name} ${image}`,
      );
      assert.match(failure.message, message);
    }
    const missing = await work.fails(name, ['dangling'], { stdin: 'overwritten' });
    assert.deepEqual([missing.status, missing.code], [1, 'not-found']);
  });
  assert.deepEqual(work.fingerprint(), before);
  await work.ok('snap-verify', ['other.img']);
});

test('an image may hold a copy of a store, if it has snapshots already', async (t) => {
  const work = await workplace(t);
  await scene(work);
  work.image('backup.img', 10);
  await work.ok('snap-create', ['-q', 'backup.img@empty']);
  const store = readFileSync(work.path('other.store'));
  await work.ok('snap-write', ['-q', '--extend', 'backup.img'], { stdin: store });
  await work.ok('snap-create', ['-q', 'backup.img@one']);
  await work.ok('snap-write', ['-q', 'backup.img'], { stdin: 'changed' });
  assert.ok((await work.read('backup.img@one')).equals(store));
});

test('active already is exists, not active is not-found, read-only is a usage error, no more valid is 5', async (t) => {
  const work = await workplace(t);
  work.image('disk.img', noise('ours', 3 * CLUSTER));
  await work.ok('snap-create', ['-q', 'disk.img@one', '--max-size', '65K']);
  await work.ok('snap-create', ['-q', 'disk.img@two']);
  const cases: [CommandName, string[], number, string][] = [
    ['snap-create', ['disk.img@one'], 1, 'exists'],
    ['snap-create', ['disk.img@two', '--store', 'far'], 1, 'exists'],
    ['snap-gc', ['disk.img@gone'], 1, 'not-found'],
    ['snap-gc', ['disk.img@two', 'disk.img@gone'], 1, 'not-found'],
    ['snap-read', ['disk.img@gone'], 1, 'not-found'],
    ['snap-verify', ['disk.img@gone'], 1, 'not-found'],
    ['snap-write', ['disk.img@one'], 2, 'usage'],
    ['snap-write', ['disk.img@one', '--offset', '4K', '--delta'], 2, 'usage'],
  ];
  const before = work.fingerprint();
  await eachOf(cases, async ([name, args, status, code]) => {
    const failure = await work.fails(name, args, { stdin: 'data' });
    assert.deepEqual([failure.status, failure.code], [status, code], `${name} ${args.join(' ')}`);
  });
  assert.deepEqual(work.fingerprint(), before);
  await work.ok('snap-gc', ['-q', 'disk.img@two']);
  await work.write('disk.img', 0, noise('new', 2 * CLUSTER));
  const invalid = await work.fails('snap-read', ['disk.img@one', '-o', 'out']);
  assert.deepEqual([invalid.status, invalid.code], [5, 'invalid']);
  assert.equal(work.fingerprint().has('out'), false);
});

test('a descriptor that is open the wrong way is an I/O error', async (t) => {
  const work = await workplace(t);
  const content = work.image('disk.img', noise('ours', CLUSTER));
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  const before = work.fingerprint();
  await withDescriptor(openSync('/dev/null', 'w'), async (stdin) => {
    const failure = await work.fails('snap-write', ['disk.img'], { stdin });
    assert.deepEqual([failure.status, failure.code], [1, 'io']);
  });
  await withDescriptor(openSync('/dev/null', 'r'), async (stdout) => {
    const { status, stderr } = await work.run('snap-read', ['disk.img@one'], { stdout });
    assert.equal(status, 1);
    assert.match(stderr, /^snap-read: error: cannot write to standard output: bad file descriptor/);
  });
  assert.deepEqual(work.fingerprint().get('disk.img'), before.get('disk.img'));
  assert.ok((await work.read('disk.img@one')).equals(content));
});

test('where nobody may write: the first snapshot, and a store there, are refused and leave nothing', async (t) => {
  const work = await workplace(t);
  work.image('disk.img', noise('ours', CLUSTER));
  if (!(await ext4(t, work, 4 << 20))) return;
  await mounted(t, work, ['-o', 'loop', work.path('fs.img')], async (there) => {
    copyFileSync(work.path('disk.img'), there.path('disk.img'));
  });
  await mounted(t, work, ['-o', 'loop,ro', work.path('fs.img')], async (there) => {
    const before = [...work.fingerprint().keys()];
    const inside = await there.fails('snap-create', ['disk.img@one']);
    const store = await work.fails('snap-create', ['disk.img@one', '--store', there.directory]);
    for (const failure of [inside, store]) {
      assert.deepEqual([failure.status, failure.code], [1, 'io']);
      assert.match(`${failure.message} ${failure.hint}`, /read-only/);
    }
    assert.deepEqual([...work.fingerprint().keys()], before);
  });
});

test('without permission to write to the image, or to the place of the store: the same', async (t) => {
  if (skipWithout(t, 'setpriv')) return;
  const work = await workplace(t);
  chmodSync(work.directory, 0o777);
  work.image('disk.img', noise('ours', CLUSTER));
  work.image('open.img', noise('ours', CLUSTER));
  chmodSync(work.path('disk.img'), 0o444);
  chmodSync(work.path('open.img'), 0o666);
  mkdirSync(work.path('closed'), { mode: 0o755 });
  const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
  const can = spawnSync(nobody[0] ?? '', [...nobody.slice(1), ...wordsOf('snap-list', ['--version'])]);
  if (can.status !== 0) return t.skip(`commands cannot be run as another user here: ${can.stderr}`);
  const before = [...work.fingerprint().keys()];
  for (const args of [
    ['disk.img@one'],
    ['open.img@one', '--store', 'closed'],
    ['open.img@one', '--store', 'closed/new'],
  ]) {
    const words = [...nobody, ...wordsOf('snap-create', ['--json', ...args])];
    const { status, stderr } = await runProcess(words, { cwd: work.directory });
    const { error } = JSON.parse(stderr);
    assert.deepEqual([status, error.code], [1, 'io'], args.join(' '));
    assert.match(error.message, /permission denied/);
  }
  assert.deepEqual([...work.fingerprint().keys()], before);
  rmSync(work.path('closed'), { recursive: true });
});
