/** `npm run scale` at its smallest: every command is measured in every scene, and what is on disk is told. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { timesOfWeek } from '../../bench/scale/build.ts';
import { commandTable, type SceneResult, structureTable } from '../../bench/scale/report.ts';
import { packagePath, runProcess } from '../support/process.ts';

const COMMANDS = ['create', 'write', 'read', 'verify', 'list', 'gc'];

test('run small, it measures every command and prints its tables', async () => {
  const words = [process.execPath, '--import', 'tsx', packagePath('bench/scale.ts'), '--small'];
  const { stdout, stderr, status } = await runProcess(words, { cwd: packagePath('.') });
  const text = stdout.toString();
  assert.equal(status, 0, `${stderr}\n${text}`);
  assert.match(text, /^\| Command \| 5 snapshots \| 70 snapshots \|$/m);
  const figures = '\\d[\\d.]* m?s, \\d+ MiB';
  for (const name of COMMANDS) {
    assert.match(text, new RegExp(`^\\| \`snap-${name}\`.* \\| ${figures} \\| ${figures} \\|$`, 'm'));
  }
  // The catalog, the reserve, the state, three kinds of stores, and what JSON takes.
  assert.match(text, /^\| 1\.0G, 70 \|(?: \S+ \(\S+\) \|){6} \S+ \|$/m);
  assert.doesNotMatch(text, /failed/);
});

test('snapshots are spread over a week, in order and each with a time of its own', () => {
  for (const count of [1, 10, 10_000]) {
    const times = timesOfWeek(count);
    assert.equal(new Set(times).size, count);
    assert.deepEqual(times, times.toSorted());
  }
  assert.equal(timesOfWeek(7)[0]?.slice(0, 10), '2026-11-16');
});

test('a command that was given up shows that, and one that was not run nothing', () => {
  const result = (count: number, commands: SceneResult['commands']): SceneResult => ({
    sizeBytes: 2 ** 40,
    count,
    commands,
    structures: undefined,
    jsonBytes: undefined,
  });
  const one = { title: 'one', measured: 'more than 120 s' };
  const two = { title: 'two', measured: { seconds: 0.5, peakMib: 41.2 } };
  const lines = commandTable([result(10, [one]), result(1000, [one, two])]).split('\n');
  assert.deepEqual(lines, [
    '| Command | 10 snapshots | 1,000 snapshots |',
    '| --- | ---: | ---: |',
    '| one | more than 120 s | more than 120 s |',
    '| two |  | 500 ms, 42 MiB |',
    '',
  ]);
  assert.equal(structureTable([result(10, [])]).split('\n').length, 3);
});
