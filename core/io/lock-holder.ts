/**
 * Who holds a lock that we wait for in vain. The kernel knows no process for a lock of an open file description, but tells
 * in /proc/PID/fdinfo which descriptors have one; processes of other users do not show theirs, and stay unnamed.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import type { FileStat } from './file-system.ts';
import { errnoOf } from './system-error.ts';

export interface LockHolder {
  readonly processId: number;
  /** What it runs, as `snap-write`. */
  readonly command: string;
  /** By SIGSTOP or a terminal: it lets nobody in before it goes on. */
  readonly isStopped: boolean;
}

const OUR_COMMAND = /^snap-[a-z]+(?=\.cjs$|$)/;

/** The other processes that are seen to hold the byte at `offsetBytes` of a file; sorted by number. Never throws. */
export async function findLockHolders(
  file: Pick<FileStat, 'device' | 'inode'>,
  offsetBytes: number,
): Promise<LockHolder[]> {
  const names = unlessGone(() => readdirSync('/proc')) ?? [];
  const holders: LockHolder[] = [];
  for (const processId of names.map(Number).filter((id) => Number.isInteger(id) && id !== process.pid)) {
    if (holds(processId, file, offsetBytes)) holders.push(describe(processId));
  }
  return holders.sort((a, b) => a.processId - b.processId);
}

function holds(processId: number, file: Pick<FileStat, 'device' | 'inode'>, offsetBytes: number): boolean {
  for (const descriptor of unlessGone(() => readdirSync(`/proc/${processId}/fdinfo`)) ?? []) {
    const info = unlessGone(() => readFileSync(`/proc/${processId}/fdinfo/${descriptor}`, 'latin1')) ?? '';
    if (!hasLockAt(info, offsetBytes)) continue;
    const opened = unlessGone(() => statSync(`/proc/${processId}/fd/${descriptor}`, { bigint: true }));
    if (opened?.ino === file.inode && opened.dev === file.device) return true;
  }
  return false;
}

/** From a line as `lock: 1: OFDLCK ADVISORY WRITE -1 fe:00:21960 4503599627370497 4503599627370497`. */
function hasLockAt(info: string, offsetBytes: number): boolean {
  const lines = info.matchAll(/^lock:.*\sOFDLCK\s.*\s(\d+)\s(\d+|EOF)$/gm);
  return [...lines].some(
    ([, first, last]) => Number(first) <= offsetBytes && (last === 'EOF' || offsetBytes <= Number(last)),
  );
}

function describe(processId: number): LockHolder {
  const words = (unlessGone(() => readFileSync(`/proc/${processId}/cmdline`, 'utf8')) ?? '').split('\0');
  const ours = words.map((word) => OUR_COMMAND.exec(basename(word))?.[0]).find((name) => name !== undefined);
  // "PID (name) state …", where the name may hold anything.
  const status = unlessGone(() => readFileSync(`/proc/${processId}/stat`, 'latin1')) ?? '';
  const name = status.slice(status.indexOf('(') + 1, status.lastIndexOf(')'));
  const isStopped = /^\) [Tt]/.test(status.slice(status.lastIndexOf(')')));
  return { processId, command: ours ?? name, isStopped };
}

/** Processes end, descriptors are closed, and some are not ours to see: none of that may hide what is told here. */
function unlessGone<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return undefined;
  }
}
