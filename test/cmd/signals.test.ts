/** Commands that are interrupted: the exit status a shell sees, and that everything is left as it should be. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { PACE } from '../../core/store/append.ts';
import { errorOf, holdLock, KIB, MIB, noise, type Workplace, workplace } from '../support/commands.ts';

const CLUSTER = 64 * KIB;
const SIGNALS = [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const;

/** No command takes that long on any machine; one that does waits for something that cannot come. */
const STUCK_MS = 60_000;

/** Waits until the image has changed: only then has a writer begun. */
async function untilChanged(work: Workplace, before: bigint): Promise<void> {
  const endMs = performance.now() + STUCK_MS;
  while (statSync(work.path('disk.img'), { bigint: true }).mtimeNs === before) {
    assert.ok(performance.now() < endMs, 'nothing was written');
    await delay(5);
  }
}

test('a writer whose producer is slow: 130 or 143, and what was written is there', async (t) => {
  const { batchBytes } = PACE;
  for (const [signal, status] of SIGNALS) {
    const work = await workplace(t);
    const content = work.image('disk.img', noise('slow', 2.5 * batchBytes));
    await work.ok('snap-create', ['-q', 'disk.img@one']);
    const { mtimeNs } = statSync(work.path('disk.img'), { bigint: true });
    // A batch and a half: one is written, the rest is waited for.
    const stdin = Readable.from([noise('new', 1.5 * batchBytes)]);
    const writer = work.start('snap-write', ['--json', 'disk.img'], { stdin, stdinOpen: true });
    t.after(() => writer.child.kill('SIGKILL'));
    await untilChanged(work, mtimeNs);
    // Its lock is free while it waits: others go on.
    await work.ok('snap-list', ['disk.img']);
    writer.child.kill(signal);
    const result = await writer.result;
    assert.equal(result.status, status);
    assert.match(errorOf(result.stderr).message, /interrupted|terminated/);
    const { bytesWritten } = JSON.parse(result.stdout.toString());
    assert.equal(bytesWritten, batchBytes);
    const present = readFileSync(work.path('disk.img'));
    assert.ok(present.subarray(0, bytesWritten).equals(noise('new', bytesWritten)));
    assert.ok(present.subarray(bytesWritten).equals(content.subarray(bytesWritten)));
    assert.ok((await work.read('disk.img@one')).equals(content));
    await work.ok('snap-verify', ['disk.img']);
  }
});

test('a reader whose consumer stands still ends with the signal, and the snapshot is free', async (t) => {
  const work = await workplace(t);
  const content = work.image('disk.img', noise('stalled', 4 * MIB));
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  await work.write('disk.img', 0, noise('new', CLUSTER));
  for (const [signal, status] of SIGNALS) {
    const reader = work.start('snap-read', ['disk.img@one'], { stdout: 'unread' });
    await new Promise((resolve) => reader.child.stdout?.once('readable', resolve));
    // While it waits for its consumer it holds nobody up.
    await work.write('disk.img', CLUSTER, noise(signal, 100));
    reader.child.kill(signal);
    assert.equal((await reader.result).status, status);
  }
  assert.ok((await work.read('disk.img@one')).equals(content));
  const removed = await work.ok('snap-gc', ['disk.img@one']);
  assert.equal(removed.stderr, '');
});

test('a read into a file that is interrupted leaves no file', async (t) => {
  const work = await workplace(t);
  work.image('disk.img', noise('file', 64 * MIB));
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  const reader = work.start('snap-read', ['disk.img@one', '-o', 'out']);
  const temporary = () => readdirSync(work.directory).filter((name) => name.startsWith('.out.'));
  while (temporary().length === 0 && reader.child.exitCode === null) await delay(1);
  reader.child.kill('SIGTERM');
  const { status, stderr } = await reader.result;
  assert.deepEqual(temporary(), []);
  // It may have been done just before.
  if (existsSync(work.path('out'))) assert.equal(status, 0);
  else {
    assert.equal(status, 143);
    assert.match(stderr, /^snap-read: error: (terminated|interrupted)/);
  }
});

test('one that waits for the lock ends with the signal', async (t) => {
  const work = await workplace(t);
  work.image('disk.img', 1000);
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  const release = await holdLock(work.path('disk.img.snap/state'));
  const waiting = work.start('snap-gc', ['disk.img@one']);
  // Long enough for it to stand at the lock; if it does not yet, it ends all the same.
  await delay(300);
  waiting.child.kill('SIGTERM');
  const { status } = await waiting.result;
  await release();
  assert.equal(status, 143);
  await work.ok('snap-gc', ['disk.img@one']);
});
