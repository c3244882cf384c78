/** What every command does around its own part: answers, silence, exit statuses, signals. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { bundledCommand, packagePath, runProcess, runShell, startProcess } from '../support/process.ts';

const HARNESS = bundledCommand('test/support/harness.ts');
const run = async (...words: string[]) => {
  const { stdout, stderr, status } = await runProcess([...HARNESS, ...words]);
  return { stdout: stdout.toString(), stderr, status };
};

test('--help wins over everything, then --version', async () => {
  const help = await run('--constructor', '--json=banana', '--version', '--help');
  assert.match(help.stdout, /^Usage: harness /);
  assert.deepEqual([help.stderr, help.status], ['', 0]);
  assert.equal((await run('-qh', 'x')).stdout, help.stdout);
  const { version } = JSON.parse(readFileSync(packagePath('package.json'), 'utf8'));
  assert.deepEqual(await run('--foo', '--version'), {
    stdout: `imgsnap ${version}\n`,
    stderr: '',
    status: 0,
  });
});

test('a mistake on the command line is 2, with a hint', async () => {
  assert.deepEqual(await run('--constructor'), {
    stdout: '',
    stderr:
      'harness: error: unknown option "--constructor"\nharness: hint: harness --help shows how it is used\n',
    status: 2,
  });
});

test('in JSON mode the error is all of stderr', async () => {
  const usage = await run('--json', '--foo');
  assert.equal(JSON.parse(usage.stderr).error.code, 'usage');
  const damage = await run('clusters', '--json', '--progress');
  assert.deepEqual(JSON.parse(damage.stderr), {
    error: { code: 'damage', message: 'disk.img: no clusters', hint: 'look again' },
  });
  assert.deepEqual([usage.status, damage.status, damage.stdout], [2, 3, '']);
});

test('a bug is told as one; --debug shows where', async () => {
  const hint = 'harness: hint: run it again with --debug to see where, and report it\n';
  const bug = `harness: error: internal error: this was not meant\n${hint}`;
  assert.deepEqual(await run('bug'), { stdout: '', stderr: bug, status: 1 });
  const uncaught = await run('crash');
  assert.equal(uncaught.stderr, `harness: error: internal error: this was not caught\n${hint}`);
  assert.equal(uncaught.status, 1);
  const endless = await run('nothing');
  assert.match(endless.stderr, /internal error: the command waits/);
  assert.equal(endless.status, 1);
  assert.match((await run('bug', '--debug')).stderr, /^ {4}at .*command\.cjs/m);
  const { error } = JSON.parse((await run('bug', '--json', '--debug')).stderr);
  assert.equal(error.code, 'io');
  assert.match(error.stack, /^TypeError: this was not meant\n {4}at /);
});

test('-q leaves warnings of loss and results', async () => {
  const weather = 'harness: warning: the weather may change\nharness: hint: take an umbrella\n';
  const loss = 'harness: warning: a snapshot is lost\n';
  assert.deepEqual(await run('warn'), { stdout: 'warned\n', stderr: weather + loss, status: 0 });
  assert.deepEqual(await run('warn', '-q'), { stdout: '', stderr: loss, status: 0 });
  assert.deepEqual(await run('succeed'), {
    stdout: 'x\n',
    stderr: 'harness: it worked\nharness: hint: do it again\n',
    status: 0,
  });
  assert.deepEqual(await run('succeed', '-q'), { stdout: 'x\n', stderr: '', status: 0 });
});

test('in JSON mode warnings come at the end, and only on success', async () => {
  const success = await run('warn', '--json');
  assert.match(success.stderr, /^harness: warning: the weather[\s\S]*a snapshot is lost\n$/);
  assert.deepEqual(await run('warn', '--json', '--order=down'), {
    stdout: 'warned\n',
    stderr: '',
    status: 3,
  });
});

test('--progress draws where stderr is no terminal, and clears the line before each message', async () => {
  const [, bar, message] = (await run('succeed', '--progress')).stderr.split('\r\u001b[K');
  assert.match(bar ?? '', /^\[=+> +\] {2}50% /);
  assert.match(message ?? '', /^harness: it worked\n/);
});

test('what cannot be written to stdout is an error, for help and results too', async () => {
  for (const words of [['--help'], ['--version'], ['succeed', '-q'], ['receive', '-q', '--json']]) {
    const { status, stderr } = await runShell('exec "$@" >/dev/full </dev/null', [...HARNESS, ...words]);
    assert.equal(status, 1);
    assert.match(stderr, /cannot write to standard output: no space left on device/);
  }
});

test('a reader that went away is 141 for text too', async () => {
  const command = [...HARNESS, 'succeed', '-q', '--size=16M'];
  const { stderr } = await runShell('{ "$@"; echo "status $?" >&2; } | head -c 1', command);
  assert.equal(stderr, 'status 141\n');
});

test('text arrives whole on a non-blocking output', async () => {
  const { stdout, status } = await run('succeed', '-q', '--non-blocking', '--size=2M');
  assert.deepEqual([stdout.length, status], [2 * 1024 * 1024 + 1, 0]);
});

test('a closed stderr changes nothing', async () => {
  const { status } = await runShell('exec "$@" 2>/dev/full', [...HARNESS, 'clusters']);
  assert.equal(status, 3);
});

test('a signal lets the command unwind; a second SIGINT does not wait for that', async () => {
  const patient = startProcess([...HARNESS, 'unwind']);
  const impatient = startProcess([...HARNESS, 'unwind', '--order=up']);
  for (const running of [patient, impatient]) {
    await running.said('waiting');
    running.child.kill('SIGINT');
    await running.said('unwinding');
  }
  impatient.child.kill('SIGINT');
  const [unwound, killed] = [await patient.result, await impatient.result];
  assert.deepEqual([unwound.status, unwound.signal], [130, null]);
  assert.deepEqual([killed.status, killed.signal], [130, 'SIGINT']);
});
