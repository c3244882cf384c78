/** Standard output as it really is: blocking and non-blocking, slow, full, closed. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync, readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { errnoOf } from '../../core/io/system-error.ts';
import { digestOf, patternAt } from '../support/pattern.ts';
import { bundledCommand, runProcess, runShell, startProcess } from '../support/process.ts';
import { temporaryDirectory } from '../support/temp.ts';

const HARNESS = bundledCommand('test/support/harness.ts');
const SIZE_BYTES = 3 * 1024 * 1024 + 12;
const SEND = [...HARNESS, 'send', '-q', `--size=${SIZE_BYTES}`];
const EXPECTED = digestOf(patternAt(0, SIZE_BYTES));

test('a file gets all of it', async (t) => {
  const path = join(await temporaryDirectory(t), 'out');
  assert.equal((await runShell('out=$1; shift; exec "$@" >"$out"', [path, ...SEND])).status, 0);
  assert.equal(digestOf(readFileSync(path)), EXPECTED);
});

test('a pipe gets all of it', async () => {
  const { status, stdout } = await runShell('"$@" | cat', SEND);
  assert.equal(status, 0);
  assert.equal(digestOf(stdout), EXPECTED);
});

test('a non-blocking pipe with a slow reader gets all of it', async (t) => {
  const path = join(await temporaryDirectory(t), 'fifo');
  execFileSync('mkfifo', [path]);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const writer = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  t.after(() => closeSync(reader));
  // An impatient sender shows that it went on with a descriptor that blocks.
  // Handed over above 2, because spawn makes 0 to 2 blocking.
  const script = 'exec "$@" --non-blocking --impatient >&3 3>&-';
  const sender = runShell(script, SEND, { descriptors: [writer] });
  closeSync(writer);
  const received = await readSlowly(reader);
  assert.deepEqual(await sender, { stdout: Buffer.alloc(0), stderr: '', status: 0, signal: null });
  assert.equal(digestOf(received), EXPECTED);
});

/** Less than the pipe holds at a time, so that the writer finds it full again and again. */
async function readSlowly(fd: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  const part = Buffer.alloc(50_000);
  for (let begun = false; ; ) {
    try {
      const count = readSync(fd, part, 0, part.length, null);
      if (count > 0) parts.push(Buffer.from(part.subarray(0, count)));
      else if (begun) return Buffer.concat(parts);
      begun ||= count > 0;
    } catch (error) {
      assert.equal(errnoOf(error), 'EAGAIN');
    }
    await delay(1);
  }
}

test('a non-blocking socket gets all of it', async () => {
  const { status, stdout, stderr } = await runProcess([...SEND, '--non-blocking']);
  assert.deepEqual([status, stderr], [0, '']);
  assert.equal(digestOf(stdout), EXPECTED);
});

test('a non-blocking reader that takes nothing is given up in the end', async () => {
  const command = [...HARNESS, 'send', '-q', '--size=64M', '--non-blocking', '--impatient'];
  const { status, stderr } = await runProcess(command, { stdout: 'unread' });
  assert.equal(status, 1);
  assert.match(stderr, /^harness: error: cannot write to standard output: .*\(EAGAIN\)\n$/);
});

test('a reader that closes the pipe ends it quietly with 141', async () => {
  const { stdout, stderr } = await runShell('{ "$@"; echo "status $?" >&2; } | head -c 10', SEND);
  assert.equal(stdout.length, 10);
  assert.equal(stderr, 'status 141\n');
});

test('a full device is an error with a line', async () => {
  const { status, stderr } = await runShell('exec "$@" >/dev/full', SEND);
  assert.equal(status, 1);
  assert.match(stderr, /^harness: error: cannot write to standard output: no space left on device/);
});

test('SIGTERM ends a write that nobody reads', async () => {
  const running = startProcess([...HARNESS, 'send', '--size=64M'], { stdout: 'unread' });
  await running.said('sending');
  running.child.kill('SIGTERM');
  const { status, signal } = await running.result;
  // By the signal itself, because a thread is stuck in the write; a shell sees 143 all the same.
  assert.deepEqual([status, signal], [143, 'SIGTERM']);
});

test('SIGTERM while a non-blocking reader is waited for ends it in order', async () => {
  const running = startProcess([...HARNESS, 'send', '--size=64M', '--non-blocking'], { stdout: 'unread' });
  await running.said('sending');
  running.child.kill('SIGTERM');
  assert.equal((await running.result).status, 143);
});
