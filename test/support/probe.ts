/**
 * Commands that are stopped, killed, failed or cut short at a chosen call to the system. A point is a verb and a name as
 * `write disk.img`, `rename catalog.json.tmp` or `datasync one-H.cow`; `callsOf` tells all that a command passes.
 */
import { readFileSync, rmSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { type CommandName, type Workplace, wordsOf } from './commands.ts';
import { type ProcessOptions, packagePath, type RunningProcess, startProcess } from './process.ts';

export interface Probe {
  /** A file to which every call is added, a point on each line. */
  readonly log?: string;
  /** A file to which each taking of the lock adds `waited` and `held`, the milliseconds, the command, and when in μs. */
  readonly waits?: string;
  /** Where to act: at the `nth` time (1 unless given) that this point is passed, or at the call of this number from 1. */
  readonly point?: string;
  readonly nth?: number;
  readonly call?: number;
  /** `before` unless given; `half`: after half of the pages of a write, as a kill within it leaves it. */
  readonly when?: 'before' | 'after' | 'half';
  /** Stores are all called `*.cow`, so that a point has the same name whatever snapshots there are. */
  readonly anyStore?: boolean;
  readonly action?: 'kill' | 'stop' | 'fail' | 'short';
  /** What `fail` answers, as `EIO`. */
  readonly errno?: string;
  /** Later ones are met too: the same point, or every call after that number. */
  readonly stays?: boolean;
}

/** Starts a command with the probe in it. */
export function startProbed(
  work: Workplace,
  name: CommandName,
  args: readonly string[],
  probe: Probe,
  options: ProcessOptions = {},
): RunningProcess {
  const [program = '', ...words] = wordsOf(name, args);
  const loaded = [program, '--require', packagePath('test/support/probe.cjs'), ...words];
  const env = { ...options.env, IMGSNAP_PROBE: JSON.stringify(probe) };
  return startProcess(loaded, { cwd: work.directory, ...options, env });
}

/** Runs a command to its end, which must be success, and returns the points that it passed, in order. */
export async function callsOf(
  work: Workplace,
  name: CommandName,
  args: readonly string[],
  options: ProcessOptions = {},
): Promise<string[]> {
  const log = work.path('calls.log');
  const { status, stderr } = await startProbed(work, name, args, { log }, options).result;
  if (status !== 0) throw new Error(`${name} ended with ${status}: ${stderr}`);
  const lines = readFileSync(log, 'utf8').trimEnd().split('\n');
  rmSync(log);
  return lines;
}

/** Waits until a process has stopped itself (action `stop`). Fails where it ends instead. */
export async function untilStopped({ child, result }: RunningProcess): Promise<void> {
  let ended = false;
  const note = () => {
    ended = true;
  };
  result.then(note, note);
  while (!/^\d+ \(.*\) T/.test(readFileSync(`/proc/${child.pid}/stat`, 'latin1'))) {
    await delay(2);
    if (ended) throw new Error(`it passed no such point: ${(await result).stderr}`);
  }
}
