/** Standard input as it really is: pipes, files, nothing, things that cannot be read, and nobody at the other end. */
import assert from 'node:assert/strict';
import { closeSync, openSync, readSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { digestOf, patternAt } from '../support/pattern.ts';
import {
  bundledCommand,
  type ProcessResult,
  runProcess,
  runShell,
  startProcess,
} from '../support/process.ts';
import { temporaryDirectory } from '../support/temp.ts';

const HARNESS = bundledCommand('test/support/harness.ts');
const RECEIVE = [...HARNESS, 'receive', '--json'];
const DATA = patternAt(0, 1_234_564);

function assertReceived(result: ProcessResult, data: Buffer): void {
  assert.deepEqual([result.stderr, result.status], ['', 0]);
  assert.deepEqual(JSON.parse(result.stdout.toString()), { bytes: data.length, digest: digestOf(data) });
}

test('reads a pipe', async (t) => {
  const path = join(await temporaryDirectory(t), 'in');
  await writeFile(path, DATA);
  assertReceived(await runShell('in=$1; shift; cat "$in" | "$@"', [path, ...RECEIVE]), DATA);
});

test('reads a socket', async () => assertReceived(await runProcess(RECEIVE, { stdin: DATA }), DATA));

test('reads a file from where its offset stands', async (t) => {
  const path = join(await temporaryDirectory(t), 'in');
  await writeFile(path, DATA);
  const fd = openSync(path, 'r');
  t.after(() => closeSync(fd));
  readSync(fd, Buffer.alloc(1000), 0, 1000, null);
  assertReceived(await runProcess(RECEIVE, { stdin: fd }), DATA.subarray(1000));
});

test('finds nothing in /dev/null and in a closed input', async () => {
  assertReceived(await runProcess(RECEIVE), Buffer.alloc(0));
  // Node opens /dev/null in its place before anything of ours runs.
  assertReceived(await runShell('exec "$@" <&-', RECEIVE), Buffer.alloc(0));
});

test('reads a device that is no terminal', async () => {
  assertReceived(await runShell('exec "$@" --size=300000 </dev/zero', RECEIVE), Buffer.alloc(300_000));
});

test('the process ends while its input stays open', async () => {
  const running = startProcess([...RECEIVE, '--size=4'], { stdin: 'four', stdinOpen: true });
  assertReceived(await running.result, Buffer.from('four'));
});

test('says what cannot be read', async (t) => {
  const directory = await temporaryDirectory(t);
  const line = /^harness: error: cannot read standard input: .*\((EISDIR|EBADF)\)\n$/;
  for (const script of ['exec "$@" <"$dir"', 'exec "$@" 0>"$dir/out"']) {
    const result = await runShell(`dir=$1; shift; ${script}`, [directory, ...HARNESS, 'receive', '-q']);
    assert.equal(result.status, 1);
    assert.match(result.stderr, line);
  }
});

for (const [signal, status] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const) {
  test(`${signal} while waiting for input gives ${status}`, async () => {
    const running = startProcess([...HARNESS, 'receive'], { stdin: 'some', stdinOpen: true });
    await running.said('receiving');
    running.child.kill(signal);
    const result = await running.result;
    // The exit status itself, not the signal: the command ended in order.
    assert.deepEqual([result.status, result.signal], [status, null]);
    assert.match(result.stderr, /^harness: error: (interrupted|terminated by SIG\w+)$/m);
  });
}
