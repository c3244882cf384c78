/** What the figures were measured on, and whether it had anything else to do. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { arch, cpus, loadavg, release, tmpdir, totalmem } from 'node:os';
import { PACKAGES } from '../harness/question.ts';

export type Facts = readonly (readonly [name: string, value: string])[];

/** Load before the first measurement that shows that the machine was not idle. */
const IDLE_LOAD = 0.5;

export function machineFacts(): Facts {
  const [cpu] = cpus();
  return [
    ['Processor', `${cpu?.model ?? 'unknown'}, ${cpus().length} cores, ${arch()}`],
    ['Memory', `${Math.round(totalmem() / 2 ** 30)} GiB`],
    ['Kernel', `${release()}, ${distribution()}`],
    ['File system', answerOf('df', '--output=fstype', tmpdir()).split('\n').at(-1) || 'unknown'],
    ['Node', process.version],
    ['Peers', peers()],
    ['Commit', answerOf('git', 'describe', '--always', '--dirty') || 'unknown'],
  ];
}

/** A sentence about what else ran, from the load averages before and after. */
export function describeLoad(beforeLoad: number): string {
  const after = loadavg()[0] ?? 0;
  const numbers = `load average ${beforeLoad.toFixed(2)} before, ${after.toFixed(2)} after`;
  return beforeLoad > IDLE_LOAD
    ? `**The machine was not idle** (${numbers}): the figures are only a rough guide.`
    : `The machine was idle but for this (${numbers}).`;
}

function distribution(): string {
  try {
    return /^PRETTY_NAME="?([^"\n]*)/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'unknown';
  } catch {
    // A system need not have the file.
    return 'unknown';
  }
}

function peers(): string {
  const packages = ['coreutils', ...new Set(Object.values(PACKAGES))];
  const lines = answerOf('dpkg-query', '-W', '-f', `\${Package} \${Version}\n`, ...packages).split('\n');
  return lines.filter((line) => line.includes(' ')).join(', ') || 'unknown versions';
}

/** The first lines that a program says; empty where it is missing or fails. */
function answerOf(program: string, ...args: readonly string[]): string {
  return (spawnSync(program, args, { encoding: 'utf8' }).stdout ?? '').trim();
}
