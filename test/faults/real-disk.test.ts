/** Small real disks that become full, or fail, while commands work on them. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, renameSync, rmSync, statSync, symlinkSync, truncateSync } from 'node:fs';
import { test } from 'node:test';
import {
  type CommandName,
  KIB,
  MIB,
  noise,
  skipWithout,
  type Workplace,
  workplace,
} from '../support/commands.ts';
import { ext4, mounted } from '../support/mounted.ts';
import { somePoints } from '../support/points.ts';
import { startProbed, untilStopped } from '../support/probe.ts';

const CLUSTER = 64 * KIB;
const NEW = noise('new', 2 * MIB);

/** Takes all that is free, but so many bytes. */
function fill(there: Workplace, freeBytes: number): void {
  spawnSync('dd', ['if=/dev/zero', `of=${there.path('filler')}`, 'bs=4096']);
  const { size } = statSync(there.path('filler'));
  truncateSync(there.path('filler'), Math.max(0, size - freeBytes));
}

for (const onFull of ['refuse', 'invalidate'] as const) {
  test(`ext4 that is full while it is written to, ${onFull}: as --on-full says, and whoever has its copies stays`, async (t) => {
    const work = await workplace(t);
    if (!(await ext4(t, work, 12 * MIB))) return;
    await mounted(t, work, ['-o', 'loop', work.path('fs.img')], async (there) => {
      const first = there.image('disk.img', noise('first', 3 * MIB));
      await there.ok('snap-create', ['-q', 'disk.img@old']);
      await there.write('disk.img', 0, noise('second', 3 * MIB));
      const second = readFileSync(there.path('disk.img'));
      await there.ok('snap-create', ['-q', 'disk.img@new', '--on-full', onFull]);
      for (const freeBytes of [0, 300 * KIB]) {
        fill(there, freeBytes);
        const answer = await there.run('snap-write', ['-q', 'disk.img', '--offset', '10'], { stdin: NEW });
        const present = readFileSync(there.path('disk.img'));
        assert.ok((await there.read('disk.img@old')).equals(first));
        if (onFull === 'refuse') {
          assert.equal(answer.status, 1, answer.stderr);
          assert.match(answer.stderr, /error: .*new-[0-9a-f]{8}\.cow.*no space left.*\n.*hint: /);
          assert.ok(present.equals(second));
          assert.ok((await there.read('disk.img@new')).equals(second));
        } else if (freeBytes === 0) {
          assert.equal(answer.status, 0, answer.stderr);
          assert.match(answer.stderr, /warning: disk\.img@new: ended/);
          assert.ok(present.subarray(10, 10 + NEW.length).equals(NEW));
          assert.equal((await there.run('snap-read', ['disk.img@new'])).status, 5);
        }
        assert.equal((await there.run('snap-verify', ['disk.img@old'])).status, 0);
        rmSync(there.path('filler'));
      }
      await there.write('disk.img', 10, NEW);
      assert.ok((await there.read('disk.img@old')).equals(first));
    });
  });
}

test('a sidecar on a disk with no or few pages left: a snapshot is made or not, and nothing is left behind', async (t) => {
  if (skipWithout(t, 'mount')) return;
  const work = await workplace(t);
  const content = work.image('disk.img', noise('full', MIB));
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  await mounted(t, work, ['-t', 'tmpfs', '-o', 'size=512k', 'tmpfs'], async (there) => {
    execFileSync('cp', ['-a', work.path('disk.img.snap'), there.path('sidecar')]);
    renameSync(work.path('disk.img.snap'), work.path('before'));
    symlinkSync(there.path('sidecar'), work.path('disk.img.snap'));
    const usual = readdirSync(there.path('sidecar')).length;
    for (const pages of [0, 1, 2, 3, 5]) {
      fill(there, pages * 4 * KIB);
      const answer = await work.run('snap-create', ['disk.img@two']);
      if (answer.status !== 0) {
        assert.equal(answer.status, 1);
        assert.match(answer.stderr, /^snap-create: error: cannot .*no space left on device/);
        const left = readdirSync(there.path('sidecar')).filter((name) => name !== 'reserve');
        assert.equal(left.length, usual - 1, left.join(' '));
      }
      assert.ok((await work.read('disk.img@one')).equals(content));
      rmSync(there.path('filler'));
      if (answer.status !== 0) await work.ok('snap-create', ['-q', 'disk.img@two']);
      await work.ok('snap-gc', ['-q', 'disk.img@two']);
      await work.ok('snap-verify', ['disk.img']);
    }
  });
});

test('a store on a disk that is too full to hand over to: the snapshot is hidden, and reclaimed when there is room', async (t) => {
  if (skipWithout(t, 'mount')) return;
  const work = await workplace(t);
  await mounted(t, work, ['-t', 'tmpfs', '-o', 'size=512k', 'tmpfs'], async (there) => {
    const content = work.image('disk.img', noise('gc', 3 * MIB));
    await work.ok('snap-create', ['-q', 'disk.img@one', '--store', 'mounted']);
    await work.write('disk.img', 0, noise('a', CLUSTER));
    await work.ok('snap-create', ['-q', 'disk.img@two']);
    await work.write('disk.img', CLUSTER, NEW);
    const removed = await work.ok('snap-gc', ['-q', 'disk.img', '--keep-last', '1', '--dry-run']);
    assert.match(removed.stdout, /would remove disk\.img@one/);
    const hidden = await work.ok('snap-gc', ['disk.img@two']);
    assert.match(
      hidden.stderr,
      /disk\.img@two: its name is free, its space is not yet: the disk is too full/,
    );
    assert.ok((await work.read('disk.img@one')).equals(content));
    await work.write('disk.img', 2 * MIB, noise('b', MIB));
    assert.ok((await work.read('disk.img@one')).equals(content));
    execFileSync('mount', ['-o', 'remount,size=8m', there.directory]);
    await work.ok('snap-gc', ['-q', 'disk.img']);
    assert.equal(readdirSync(work.path('disk.img.snap')).filter((name) => name.endsWith('.cow')).length, 0);
    assert.ok((await work.read('disk.img@one')).equals(content));
    await work.ok('snap-verify', ['disk.img']);
  });
});

const ABORTED: readonly [CommandName, string[], point: string][] = [
  ['snap-write', ['disk.img'], 'write one-H.cow'],
  ['snap-write', ['disk.img'], 'datasync one-H.cow'],
  ['snap-write', ['disk.img'], 'write disk.img'],
  ['snap-create', ['disk.img@two'], 'rename catalog.json.tmp'],
];

for (const [name, args, point] of somePoints(ABORTED)) {
  test(`ext4 that fails and becomes read-only at "${point}": 1, and all is there when it is mounted again`, async (t) => {
    const work = await workplace(t);
    if (!(await ext4(t, work, 12 * MIB))) return;
    let content: Buffer = Buffer.alloc(0);
    const loop = ['-o', 'loop,errors=remount-ro', work.path('fs.img')];
    await mounted(t, work, loop, async (there) => {
      content = there.image('disk.img', noise('aborted', MIB));
      await there.ok('snap-create', ['-q', 'disk.img@one']);
      await there.write('disk.img', 0, noise('a', CLUSTER));
      const running = startProbed(
        there,
        name,
        args,
        { point, action: 'stop' },
        { stdin: NEW.subarray(0, 5 * CLUSTER) },
      );
      await untilStopped(running);
      const abort = spawnSync('mount', ['-o', 'remount,abort', there.directory], { encoding: 'utf8' });
      running.child.kill('SIGCONT');
      const { status, stderr } = await running.result;
      if (abort.status !== 0)
        return t.skip(`the file system cannot be made to fail here: ${abort.stderr.trim()}`);
      assert.equal(status, 1, stderr);
      assert.match(stderr, /error: cannot .*(EROFS|EIO)/);
      assert.doesNotMatch(stderr, /internal error|\n +at /);
    });
    if (content.length === 0) return;
    await mounted(t, work, loop, async (there) => {
      assert.ok((await there.read('disk.img@one')).equals(content));
      await there.write('disk.img', 3 * CLUSTER, noise('b', CLUSTER));
      assert.ok((await there.read('disk.img@one')).equals(content));
      assert.equal((await there.run('snap-verify', ['disk.img@one'])).status, 0);
    });
  });
}
