/** File systems that are read-only, full or somebody else's, and files made by a later version. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { digestText, xxh64 } from '../../core/base/xxh64.ts';
import { STATE, STORE_HEADER } from '../../core/store/layout.ts';
import {
  type CommandName,
  eachOf,
  KIB,
  MIB,
  noise,
  skipWithout,
  type Workplace,
  wordsOf,
  workplace,
} from '../support/commands.ts';
import { ext4, mounted } from '../support/mounted.ts';
import { runProcess } from '../support/process.ts';

const CLUSTER = 64 * KIB;

const CHANGING: readonly [CommandName, readonly string[]][] = [
  ['snap-write', ['disk.img']],
  ['snap-create', ['disk.img@two']],
  ['snap-gc', ['disk.img@one']],
  ['snap-gc', ['disk.img', '--keep-last', '1']],
];

async function history(there: Workplace): Promise<Buffer> {
  const content = there.image('disk.img', noise('file systems', 3 * CLUSTER));
  await there.ok('snap-create', ['-q', 'disk.img@one']);
  await there.write('disk.img', CLUSTER, noise('new', 100));
  return content;
}

test('read-only: what looks works and records nothing, what changes fails with 1', async (t) => {
  const work = await workplace(t);
  if (!(await ext4(t, work, 16 * MIB))) return;
  let content: Buffer = Buffer.alloc(0);
  await mounted(t, work, ['-o', 'loop', work.path('fs.img')], async (there) => {
    content = await history(there);
  });
  if (content.length === 0) return;
  await mounted(t, work, ['-o', 'loop,ro', work.path('fs.img')], async (there) => {
    assert.ok((await there.read('disk.img@one')).equals(content));
    await there.ok('snap-read', ['disk.img@one', '-o', work.path('out')]);
    assert.ok(readFileSync(work.path('out')).equals(content));
    await there.ok('snap-verify', ['disk.img']);
    await there.ok('snap-gc', ['--dry-run', 'disk.img', '--keep-last', '1']);
    const [{ snapshots }] = JSON.parse((await there.ok('snap-list', ['--json', 'disk.img'])).stdout);
    assert.deepEqual([snapshots.length, snapshots[0].digest], [1, undefined]);
    for (const [name, args] of CHANGING) {
      const failure = await there.fails(name, args, { stdin: 'data' });
      assert.deepEqual([failure.status, failure.code], [1, 'io'], `${name} ${failure.message}`);
      assert.match(failure.message, /read-only file system/);
    }
  });
});

test('without permission to write: the same', async (t) => {
  if (skipWithout(t, 'setpriv')) return;
  const work = await workplace(t);
  chmodSync(work.directory, 0o755);
  const content = await history(work);
  const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
  const can = spawnSync(nobody[0] ?? '', [...nobody.slice(1), ...wordsOf('snap-list', ['--version'])]);
  if (can.status !== 0) return t.skip(`commands cannot be run as another user here: ${can.stderr}`);
  const run = async (name: CommandName, args: readonly string[]) =>
    runProcess([...nobody, ...wordsOf(name, args)], { cwd: work.directory, stdin: 'data' });
  const before = work.fingerprint();
  const read = await run('snap-read', ['disk.img@one']);
  assert.deepEqual([read.status, read.stderr], [0, '']);
  assert.ok(read.stdout.equals(content));
  assert.equal((await run('snap-verify', ['disk.img'])).status, 0);
  for (const [name, args] of CHANGING) {
    const { status, stderr } = await run(name, args);
    assert.equal(status, 1, `${name} ${stderr}`);
    assert.match(
      stderr,
      new RegExp(`^${name}: error: cannot .*: permission denied \\(EACCES\\)\n${name}: hint: check`),
    );
  }
  assert.deepEqual(work.fingerprint(), before);
  chmodSync(work.path('disk.img'), 0o600);
  const unreadable = await run('snap-read', ['disk.img']);
  assert.deepEqual([unreadable.status, unreadable.stdout.length], [1, 0]);
  chmodSync(work.path('disk.img'), 0o644);
  chmodSync(work.path('disk.img.snap'), 0o700);
  for (const name of ['snap-read', 'snap-list', 'snap-write'] as const) {
    // Whatever cannot be looked at must not be taken for "no snapshots".
    assert.equal((await run(name, ['disk.img'])).status, 1, name);
  }
});

/** The same bytes, said to be of the next version, with a check that holds. */
function nextVersion(bytes: Buffer, layout: typeof STATE | typeof STORE_HEADER): Buffer {
  const changed = Buffer.from(bytes);
  changed.writeUInt32LE(changed.readUInt32LE(layout.fields.version.at) + 1, layout.fields.version.at);
  const checkAt = layout.fields.check.at;
  changed.writeBigUInt64LE(xxh64(changed.subarray(0, checkAt)), checkAt);
  return changed;
}

function nextCatalog(bytes: Buffer): Buffer {
  const text = bytes.toString().replace('"version": 1', '"version": 2');
  const unchecked = text.replace(/xxh64:[0-9a-f]{16}(?="\n\}\n$)/, 'xxh64:0000000000000000');
  const check = digestText(xxh64(Buffer.from(unchecked)));
  return Buffer.from(unchecked.replace(/xxh64:0{16}(?="\n\}\n$)/, check));
}

test('made by a newer version: 1, nothing believed, nothing changed', async (t) => {
  const work = await workplace(t);
  await history(work);
  const state = work.path('disk.img.snap/state');
  const catalog = work.path('disk.img.snap/catalog.json');
  const store = work.store('disk.img', 'one');
  const looking: [CommandName, string[]][] = [
    ['snap-read', ['disk.img@one']],
    ['snap-verify', ['disk.img']],
    ['snap-list', ['disk.img']],
  ];
  const cases: [string, (bytes: Buffer) => Buffer, [CommandName, readonly string[]][]][] = [
    [state, (bytes) => nextVersion(bytes, STATE), [...looking, ...CHANGING]],
    [catalog, nextCatalog, [...looking, ...CHANGING]],
    [
      store,
      (bytes) => nextVersion(bytes, STORE_HEADER),
      [
        ['snap-read', ['disk.img@one']],
        ['snap-write', ['disk.img']],
      ],
    ],
  ];
  for (const [path, change, commands] of cases) {
    const sound = readFileSync(path);
    writeFileSync(path, change(sound));
    const before = work.fingerprint();
    await eachOf(commands, async ([name, args]) => {
      const failure = await work.fails(name, args, { stdin: 'data' });
      const what = `${name} ${path}: ${failure.message}`;
      assert.deepEqual([failure.status, failure.code], [1, 'newer-version'], what);
      assert.match(failure.message, /made by a newer imgsnap/);
    });
    if (path !== store) assert.deepEqual(work.fingerprint(), before);
    writeFileSync(path, sound);
  }
  assert.equal((await work.ok('snap-verify', ['disk.img'])).status, 0);
});

test('a store on a full disk: refuse keeps the snapshot, invalidate the write', async (t) => {
  if (skipWithout(t, 'mount')) return;
  const work = await workplace(t);
  const data = noise('too much', 2 * MIB);
  await mounted(t, work, ['-t', 'tmpfs', '-o', 'size=512k', 'tmpfs'], async () => {
    const content = work.image('disk.img', noise('full', 3 * MIB));
    await work.ok('snap-create', ['-q', 'disk.img@keep', '--store', 'mounted', '--on-full', 'refuse']);
    const refused = await work.fails('snap-write', ['disk.img', '--offset', '10'], { stdin: data });
    assert.deepEqual([refused.status, refused.code], [1, 'no-space']);
    assert.deepEqual(
      [JSON.parse(refused.stdout).bytesWritten, JSON.parse(refused.stdout).snapshot],
      [0, null],
    );
    assert.ok((await work.read('disk.img')).equals(content));
    assert.ok((await work.read('disk.img@keep')).equals(content));
    await work.ok('snap-verify', ['disk.img']);
    await work.ok('snap-gc', ['-q', 'disk.img@keep']);

    const present = readFileSync(work.path('disk.img'));
    await work.ok('snap-create', ['-q', 'disk.img@end', '--store', 'mounted']);
    const written = await work.ok('snap-write', ['-q', 'disk.img', '--offset', '10'], { stdin: data });
    assert.match(
      written.stderr,
      /^snap-write: warning: disk\.img@end: ended at cluster 0: its store could not grow: no space left\n/,
    );
    data.copy(present, 10);
    assert.ok((await work.read('disk.img')).equals(present));
    const lost = await work.fails('snap-read', ['disk.img@end']);
    assert.deepEqual([lost.status, lost.code, lost.stdout], [5, 'invalid', '']);
    assert.equal((await work.ok('snap-verify', ['-q', 'disk.img'])).stderr, '');
    await work.ok('snap-gc', ['-q', 'disk.img']);
    assert.equal((await work.ok('snap-list', ['disk.img'])).stdout, '');
  });
});

test('everything on one full disk: the mark still finds its place', async (t) => {
  const work = await workplace(t);
  if (!(await ext4(t, work, 8 * MIB))) return;
  await mounted(t, work, ['-o', 'loop', work.path('fs.img')], async (there) => {
    const content = there.image('disk.img', noise('full', 3 * MIB));
    await there.ok('snap-create', ['-q', 'disk.img@one']);
    spawnSync('dd', ['if=/dev/zero', `of=${there.path('filler')}`, 'bs=4096']);
    const full = await there.fails('snap-create', ['disk.img@two']);
    assert.deepEqual([full.status, full.code], [1, 'no-space']);
    assert.ok((await there.read('disk.img@one')).equals(content));
    const data = noise('new', 2 * MIB);
    const written = await there.ok('snap-write', ['-q', 'disk.img'], { stdin: data });
    assert.match(written.stderr, /warning: disk\.img@one: ended at cluster 0/);
    assert.ok((await there.read('disk.img')).subarray(0, data.length).equals(data));
    assert.equal((await there.run('snap-read', ['disk.img@one'])).status, 5);
  });
});

test('a write refused for lack of space gives back what it took', async (t) => {
  if (skipWithout(t, 'mount')) return;
  const work = await workplace(t);
  await mounted(t, work, ['-t', 'tmpfs', '-o', 'size=512k', 'tmpfs'], async () => {
    const content = work.image('disk.img', noise('full', 3 * MIB));
    await work.ok('snap-create', ['-q', 'disk.img@keep', '--store', 'mounted', '--on-full', 'refuse']);
    await work.fails('snap-write', ['disk.img'], { stdin: noise('too much', 2 * MIB) });
    await work.write('disk.img', 0, noise('little', 100));
    assert.ok((await work.read('disk.img@keep')).equals(content));
  });
});
