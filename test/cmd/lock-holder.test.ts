/** Whoever waits for the lock in vain is told who has it, where the system tells. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { type CommandName, holdLock, KIB, type Workplace, workplace } from '../support/commands.ts';
import { type Probe, startProbed, untilStopped } from '../support/probe.ts';
import type { ProcessOptions, RunningProcess } from '../support/process.ts';

const CONTINUED = 'SIGCONT';

/** A command that has stopped itself at a point; killed at the end of the test, if it is still there. */
async function stoppedAt(
  t: TestContext,
  work: Workplace,
  [name, args, options]: readonly [CommandName, readonly string[], ProcessOptions?],
  probe: Probe,
): Promise<RunningProcess> {
  const running = startProbed(work, name, args, { ...probe, action: 'stop' }, options);
  t.after(() => running.child.kill('SIGKILL'));
  await untilStopped(running);
  return running;
}

async function frozen(t: TestContext): Promise<Workplace> {
  const work = await workplace(t);
  work.image('disk.img', 256 * KIB);
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  return work;
}

test('a stopped writer is named to all who need its lock, and goes on when it is let', async (t) => {
  const work = await frozen(t);
  const before = work.fingerprint();
  const stdin = Buffer.alloc(1000, 1);
  const writer = await stoppedAt(t, work, ['snap-write', ['disk.img'], { stdin }], { point: 'write state' });
  const who = `snap-write (process ${writer.child.pid}, which is stopped)`;
  for (const [name, args] of [
    ['snap-write', ['disk.img', '--zero', '1']],
    ['snap-create', ['disk.img@two']],
    ['snap-read', ['disk.img@one']],
    ['snap-verify', ['disk.img']],
    ['snap-list', ['disk.img']],
    ['snap-gc', ['disk.img@one']],
  ] as const) {
    const { status, code, message, hint } = await work.fails(name, [...args, '--wait', '0.05']);
    assert.deepEqual(
      { status, code, message },
      { status: 4, code: 'busy', message: `disk.img is locked by ${who}` },
    );
    assert.equal(hint, `let it go on: kill -CONT ${writer.child.pid}`);
  }
  assert.deepEqual(work.fingerprint(), before);
  writer.child.kill(CONTINUED);
  assert.equal((await writer.result).status, 0);
  await work.ok('snap-verify', ['disk.img']);
});

test('a stopped reader is named to a writer, and is in no reader’s way', async (t) => {
  const work = await frozen(t);
  const reader = await stoppedAt(t, work, ['snap-read', ['disk.img@one']], { point: 'read disk.img' });
  await work.read('disk.img@one');
  const { message, status } = await work.fails('snap-write', ['disk.img', '--zero', '1', '--wait', '0.05']);
  assert.equal(status, 4);
  assert.equal(message, `disk.img is locked by snap-read (process ${reader.child.pid}, which is stopped)`);
});

test('who stopped on the way in is named as well', async (t) => {
  const work = await frozen(t);
  // After its first lock it is the next one, and nobody is in.
  const probe = { point: 'lock state', when: 'after' } as const;
  const next = await stoppedAt(t, work, ['snap-write', ['disk.img', '--zero', '1']], probe);
  const { message } = await work.fails('snap-list', ['disk.img', '--wait', '0']);
  assert.match(
    message,
    new RegExp(`locked by snap-write \\(process ${next.child.pid}, which is stopped\\)$`),
  );
});

test('where there is no sidecar yet, the first creator is named', async (t) => {
  const work = await workplace(t);
  work.image('disk.img', 1000);
  const args = ['disk.img@one'];
  const creator = await stoppedAt(t, work, ['snap-create', args], { point: 'rename disk.img.snap.H.tmp' });
  const { message, status } = await work.fails('snap-create', ['disk.img@two', '--wait', '0']);
  assert.equal(status, 4);
  assert.match(message, new RegExp(`snap-create \\(process ${creator.child.pid}, which is stopped\\)`));
});

test('a holder that is at work is named by what it runs', async (t) => {
  const work = await frozen(t);
  const release = await holdLock(work.path('disk.img.snap/state'));
  const { message, hint } = await work.fails('snap-list', ['disk.img', '--wait', '0']);
  await release();
  assert.match(message, new RegExp(`^disk\\.img is locked by \\S.* \\(process ${process.pid}\\)$`));
  assert.equal(hint, 'try again, or wait longer with --wait');
});
