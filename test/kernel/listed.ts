/** Whether `snap-list --format dmsetup` prints what dmsetup prints: devices are made by its tables, and listed there. */
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { noise, type Workplace } from '../support/commands.ts';
import type { JobDisk } from './disk.ts';

const IMAGE = 'some images/größer.img';
const SIZE_BYTES = 1 << 20;

export async function makeListed(work: Workplace, disk: JobDisk): Promise<{ ours: string; job: string[] }> {
  mkdirSync(work.path('some images'));
  work.image(IMAGE, noise('listed', SIZE_BYTES));
  await work.ok('snap-create', ['-q', `${IMAGE}@s`, '--cluster-size', '8K']);
  await work.write(IMAGE, 0, noise('new', 10));
  const ours = (await work.ok('snap-list', ['--format', 'dmsetup', IMAGE])).stdout;
  disk.add('listed-origin', SIZE_BYTES);
  disk.add('listed-store', SIZE_BYTES);
  const tables = ours.split('\n').slice(0, 2).reverse();
  const names = tables.map((line) => line.slice(0, line.indexOf(': ')));
  const onDevices = tables.map((line, index) => {
    const [start, length, target, _origin, ...rest] = line.slice((names[index] ?? '').length + 2).split(' ');
    const store = rest.length > 0 ? ['/dev/mapper/listed-store', ...rest.slice(1)] : [];
    return [start, length, target, '/dev/mapper/listed-origin', ...store].join(' ');
  });
  const create = names.map((name, index) => `dmsetup create '${name}' --table '${onDevices[index]}'`);
  const list = (what: string) =>
    names
      .toReversed()
      .map((name) => `dmsetup --manglename none ${what} | grep -F '${name}: ' | sed 's/^/@listed /'`);
  const remove = names.map((name) => `dmsetup remove '${name}'`);
  return { ours, job: [...create, ...list('table'), ...list('status'), ...remove] };
}

/** But for the devices and how full they are, the lines are the same. */
export function checkListed(ours: string, said: string): void {
  const theirs = [...said.matchAll(/^@listed (.*)$/gm)].map(([, line = '']) => line);
  const withoutDevices = (line: string) =>
    line.replace(/ (?:\d+:\d+|(?:[\w/.-]|\\x..)+\.(?:img|cow))(?= |$)/g, ' DEVICE');
  const withoutUsage = (line: string) => line.replace(/ \d+\/\d+ \d+$/, ' USAGE');
  const bare = (line: string) => withoutUsage(withoutDevices(line));
  assert.deepEqual(ours.trimEnd().split('\n').map(bare), theirs.map(bare));
}
