/**
 * The lock of a whole image: a turnstile of two bytes. Who wants in takes *next*, then *active*, then drops
 * *next*; so whoever waits for *active* keeps newcomers out, and a busy writer that comes back at once queues up
 * like everyone else. (With one byte, a waiter polling every 5 ms starved for 12 s.) The kernel drops both when
 * the process dies. A blocking wait could not be given up, hence the polling.
 */
import { SnapError } from '../base/errors.ts';
import type { RandomAccessFile } from './file-system.ts';
import type { Host } from './host.ts';
import type { LockHolder } from './lock-holder.ts';
import { ACTIVE_LOCK_OFFSET_BYTES, NEXT_LOCK_OFFSET_BYTES } from './lock-offsets.ts';
import type { LockKind } from './range-lock.ts';

export interface LockWait {
  /** On `host.monotonicMs()`; one that has passed means: try once. */
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
  /** What the message says is locked; the file's path unless given. */
  readonly subject?: string | undefined;
}

type Waiter = Pick<Host, 'monotonicMs' | 'sleep' | 'lockHolders'>;
type Lockable = Pick<RandomAccessFile, 'path' | 'tryLock' | 'unlock' | 'stat'>;

const IMMEDIATE_TRIES = 4;
const QUICK_TRIES = 12;
const QUICK_PAUSE_MS = 1;
const PAUSE_MS = 5;
const BUSY_HINT = 'try again, or wait longer with --wait';

/**
 * Goes through the turnstile of `file`. Where it throws, nothing is held: `busy` when the deadline has passed,
 * `interrupted` when the signal was aborted, `io` when the system refused. Returns whether it had to wait.
 */
export async function acquire(
  host: Waiter & Pick<Host, 'hearSignals'>,
  file: Lockable,
  kind: LockKind,
  wait: LockWait,
): Promise<boolean> {
  // Who was told to end before it has the lock does not take it any more.
  await host.hearSignals();
  const wasLate = await pollLock(host, file, NEXT_LOCK_OFFSET_BYTES, kind, wait);
  try {
    return (await pollLock(host, file, ACTIVE_LOCK_OFFSET_BYTES, kind, wait)) || wasLate;
  } finally {
    file.unlock(NEXT_LOCK_OFFSET_BYTES);
  }
}

/** Leaves what `acquire` entered. */
export function release(file: Lockable): void {
  file.unlock(ACTIVE_LOCK_OFFSET_BYTES);
}

/**
 * Takes the byte at `offsetBytes`, trying again until the deadline, and once more at it; a deadline that has
 * passed is one try. Throws as `acquire` does, and then does not hold the byte. Returns whether it had to wait.
 */
export async function pollLock(
  host: Waiter,
  file: Lockable,
  offsetBytes: number,
  kind: LockKind,
  wait: LockWait,
): Promise<boolean> {
  const subject = wait.subject ?? file.path;
  for (let tries = 1; ; tries += 1) {
    if (wait.signal.aborted) {
      throw new SnapError('interrupted', `interrupted while waiting for the lock of ${subject}`, {
        path: file.path,
      });
    }
    if (file.tryLock(offsetBytes, kind)) return tries > 1;
    const leftMs = wait.deadlineMs - host.monotonicMs();
    // Not "<= 0": a deadline of NaN must not wait for ever.
    if (!(leftMs > 0)) throw busy(file.path, subject, await holdersOf(host, file, offsetBytes));
    await host.sleep(Math.min(pauseMs(tries), leftMs));
  }
}

/** Those in the way, the stopped ones first: for the turnstile, who is in as well as who would be next. */
async function holdersOf(host: Waiter, file: Lockable, offsetBytes: number): Promise<LockHolder[]> {
  const { device, inode } = await file.stat();
  const offsets =
    offsetBytes === NEXT_LOCK_OFFSET_BYTES ? [ACTIVE_LOCK_OFFSET_BYTES, offsetBytes] : [offsetBytes];
  const found = new Map<number, LockHolder>();
  for (const offset of offsets) {
    for (const holder of await host.lockHolders({ device, inode }, offset))
      found.set(holder.processId, holder);
  }
  return [...found.values()].sort((a, b) => Number(b.isStopped) - Number(a.isStopped));
}

function busy(path: string, subject: string, holders: readonly LockHolder[]): SnapError {
  const [first] = holders;
  if (first === undefined)
    return new SnapError('busy', `${subject} is locked by another process`, { path, hint: BUSY_HINT });
  const { command, processId, isStopped } = first;
  const rest = holders.length === 1 ? '' : ` and ${holders.length - 1} more`;
  const how = isStopped ? ', which is stopped' : '';
  const hint = isStopped ? `let it go on: kill -CONT ${processId}` : BUSY_HINT;
  return new SnapError('busy', `${subject} is locked by ${command} (process ${processId}${how})${rest}`, {
    path,
    hint,
  });
}

/** Zero only lets others run: most holds are shorter than any pause. */
function pauseMs(tries: number): number {
  if (tries < IMMEDIATE_TRIES) return 0;
  return tries < IMMEDIATE_TRIES + QUICK_TRIES ? QUICK_PAUSE_MS : PAUSE_MS;
}
