/** Clones on file systems that share blocks, real ones on loop devices; where nothing can be mounted these tests say so. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { type TestContext, test } from 'node:test';
import { KIB, MIB, noise, skipWithout, type Workplace, workplace } from '../support/commands.ts';
import { mounted } from '../support/mounted.ts';

const MAKERS = {
  btrfs: { program: 'mkfs.btrfs', args: ['-q'], sizeBytes: 200 * MIB },
  xfs: { program: 'mkfs.xfs', args: ['-q', '-m', 'reflink=1'], sizeBytes: 320 * MIB },
} as const;

/** Runs `use` in a file system of that kind. */
async function on(
  t: TestContext,
  kind: keyof typeof MAKERS,
  use: (there: Workplace) => Promise<void>,
): Promise<void> {
  const { program, args, sizeBytes } = MAKERS[kind];
  if (skipWithout(t, program, 'mount')) return;
  const work = await workplace(t);
  writeFileSync(work.path('fs.img'), '');
  truncateSync(work.path('fs.img'), sizeBytes);
  execFileSync(program, [...args, work.path('fs.img')]);
  await mounted(t, work, ['-o', 'loop', work.path('fs.img')], use);
}

/** As any other program would. */
function overwrite(work: Workplace, offsetBytes: number, data: Buffer): void {
  const file = openSync(work.path('disk.img'), 'r+');
  writeSync(file, data, 0, data.length, offsetBytes);
  closeSync(file);
}

for (const kind of ['btrfs', 'xfs'] as const) {
  test(`${kind}: a clone stays right whoever writes to the image, and so do older snapshots`, async (t) => {
    await on(t, kind, async (there) => {
      const first = there.image('disk.img', noise('image', 8 * MIB + 100));
      await there.ok('snap-create', ['-q', 'disk.img@old']);
      await there.write('disk.img', 0, noise('1', 2 * MIB));
      const second = readFileSync(there.path('disk.img'));
      const before = there.diskBytes('disk.img.snap');
      await there.ok('snap-create', ['-q', 'disk.img@clone', '--clone']);
      const [, entry] = JSON.parse((await there.ok('snap-list', ['--json', 'disk.img'])).stdout)[0].snapshots;
      assert.deepEqual([entry.state, entry.clone, entry.clustersCopied], ['active', true, 0]);
      assert.ok(entry.files.some((each: string) => each.endsWith('.clone')));
      const written = await there.ok('snap-write', ['--json', 'disk.img', '--offset', '1M'], {
        stdin: noise('2', 3 * MIB),
      });
      assert.equal(JSON.parse(written.stdout).clustersCopied, 0);
      overwrite(there, 5 * MIB, noise('3', MIB));
      assert.ok((await there.read('disk.img@clone')).equals(second));
      assert.ok((await there.read('disk.img@old')).equals(first));
      await there.ok('snap-verify', ['disk.img']);
      // One that was taken after it is an ordinary one, and gets its copies.
      await there.ok('snap-create', ['-q', 'disk.img@young']);
      const third = readFileSync(there.path('disk.img'));
      await there.write('disk.img', 3 * MIB, noise('4', 4 * MIB));
      assert.ok((await there.read('disk.img@young')).equals(third));
      // What goes is handed over: all that differs from what is read without it.
      await there.ok('snap-gc', ['-q', 'disk.img@clone']);
      assert.deepEqual(
        readdirSync(there.path('disk.img.snap')).filter((name) => name.endsWith('.clone')),
        [],
      );
      assert.ok((await there.read('disk.img@old')).equals(first));
      assert.ok((await there.read('disk.img@young')).equals(third));
      await there.ok('snap-verify', ['disk.img']);
      assert.ok(there.diskBytes('disk.img.snap') > before, 'something was handed over');
    });
  });

  test(`${kind}: a clone that shrank, grew or lost its file; the newest one removed`, async (t) => {
    await on(t, kind, async (there) => {
      const first = there.image('disk.img', noise('image', 2 * MIB + 7));
      await there.ok('snap-create', ['-q', 'disk.img@old']);
      await there.ok('snap-create', ['-q', 'disk.img@clone', '--clone']);
      truncateSync(there.path('disk.img'), MIB);
      assert.ok((await there.read('disk.img@clone')).equals(first), 'an image that shrank');
      assert.ok((await there.read('disk.img@old')).equals(first));
      await there.ok('snap-write', ['-q', 'disk.img', '--extend', '--offset', '1M'], {
        stdin: noise('grown', 3 * MIB),
      });
      assert.ok((await there.read('disk.img@clone')).equals(first), 'an image that grew');
      const name = readdirSync(there.path('disk.img.snap')).find((each) => each.endsWith('.clone')) ?? '';
      const clone = there.path(`disk.img.snap/${name}`);
      renameSync(clone, `${clone}.away`);
      const missing = await there.fails('snap-read', ['disk.img@old']);
      assert.equal(missing.status, 3);
      assert.ok(missing.message.includes(name), missing.message);
      assert.equal((await there.run('snap-verify', ['disk.img'])).status, 3);
      renameSync(`${clone}.away`, clone);
      await there.ok('snap-gc', ['-q', 'disk.img@clone']);
      assert.ok(!existsSync(clone));
      assert.ok((await there.read('disk.img@old')).equals(first));
      await there.write('disk.img', 0, noise('later', MIB));
      assert.ok((await there.read('disk.img@old')).equals(first));
      await there.ok('snap-verify', ['disk.img']);
    });
  });

  test(`${kind}: while a clone is removed others write, and older snapshots stay right`, async (t) => {
    await on(t, kind, async (there) => {
      const first = there.image('disk.img', noise('image', 24 * MIB));
      await there.ok('snap-create', ['-q', 'disk.img@old']);
      await there.ok('snap-create', ['-q', 'disk.img@clone', '--clone']);
      for (let at = 0; at < 24; at += 3) overwrite(there, at * MIB, noise(`out ${at}`, MIB));
      const removal = there.run('snap-gc', ['-q', 'disk.img@clone']);
      let isOver = false;
      const ended = removal.then((answer) => {
        isOver = true;
        return answer;
      });
      for (let turn = 0; !isOver; turn += 1) {
        await there.write('disk.img', ((turn * 7) % 23) * MIB + 100, noise(`in ${turn}`, 600 * KIB));
      }
      const answer = await ended;
      assert.equal(answer.status, 0, answer.stderr);
      assert.ok((await there.read('disk.img@old')).equals(first));
      await there.ok('snap-verify', ['disk.img']);
      const left = readdirSync(there.path('disk.img.snap')).filter((name) => /\.(cow|clone)$/.test(name));
      assert.equal(left.length, 1, left.join(' '));
    });
  });
}

test("the place of a clone is its snapshot's, even while the file is away; another one's place takes no clone", async (t) => {
  await on(t, 'btrfs', async (there) => {
    const content = there.image('disk.img', noise('image', MIB));
    await there.ok('snap-create', ['-q', 'disk.img@a', '--clone', '--store', 'a.cow']);
    await there.ok('snap-create', ['-q', 'disk.img@b', '--store', 'b.clone']);
    for (const name of ['a.clone', 'b.clone']) renameSync(there.path(name), there.path(`${name}.away`));
    const before = readdirSync(there.directory);
    const store = await there.fails('snap-create', ['disk.img@c', '--store', 'a.clone']);
    const clone = await there.fails('snap-create', ['disk.img@c', '--clone', '--store', 'b.cow']);
    for (const { status, code, message } of [store, clone]) {
      assert.deepEqual([status, code], [1, 'exists'], message);
    }
    assert.deepEqual(readdirSync(there.directory), before);
    for (const name of ['a.clone', 'b.clone']) renameSync(there.path(`${name}.away`), there.path(name));
    assert.ok((await there.read('disk.img@a')).equals(content));
    await there.ok('snap-verify', ['disk.img']);
  });
});

test('where the file system cannot share blocks, a clone is refused before anything is changed', async (t) => {
  const work = await workplace(t);
  await mounted(t, work, ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs'], async (there) => {
    there.image('disk.img', noise('image', MIB));
    for (const first of [true, false]) {
      if (!first) await there.ok('snap-create', ['-q', 'disk.img@one']);
      const before = spawnSync('ls', ['-A', there.directory, `${there.directory}/disk.img.snap`]).stdout;
      const failure = await there.fails('snap-create', ['disk.img@clone', '--clone']);
      assert.deepEqual([failure.status, failure.code], [1, 'refused']);
      assert.match(failure.message, /cannot share its content/);
      assert.match(failure.hint ?? '', /btrfs or XFS/);
      const after = spawnSync('ls', ['-A', there.directory, `${there.directory}/disk.img.snap`]).stdout;
      assert.equal(String(after), String(before));
    }
    await there.ok('snap-verify', ['disk.img']);
  });
  work.image('disk.img', 1);
  const both = await work.fails('snap-create', ['disk.img@a', '--clone', '--max-size', '1M']);
  assert.equal(both.status, 2);
});
