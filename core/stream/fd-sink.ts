/**
 * Data to a descriptor: standard output, or a pipe or device opened by name. Written by callback `fs.write`,
 * because Node's streams make a pipe non-blocking and then lose data, and never see a reader that went away.
 */
import fs from 'node:fs';
import { promisify } from 'node:util';
import { SnapError } from '../base/errors.ts';
import { lazyRequire } from '../base/lazy-require.ts';
import type { ConfirmingSink } from '../io/byte-stream.ts';
import { cLibrary } from '../io/c-library.ts';
import { errnoOf, systemFailure } from '../io/system-error.ts';

const [openDescriptor, syncDescriptor] = [promisify(fs.open), promisify(fs.fsync)];
const LONGEST_PAUSE_MS = 50;
/** A reader that takes nothing for this long is given up; one that blocks the writer, as most do, never is. */
const STALL_MS = 600_000;

/** What anybody may make a pipe without being root, unless the system was set up otherwise. */
const PIPE_BYTES = 1 << 20;
/** What comes to so much is likely to come to more, and worth the time that it takes to widen the pipe. */
const LONG_STREAM_BYTES = 32 << 20;

let waitingCalls = 0;

/**
 * Whether a thread of this process is inside a call that only another process can end: a write into a full pipe,
 * or opening one that has no reader. `process.exit` would wait for it.
 */
export function hasPendingWrite(): boolean {
  return waitingCalls > 0;
}

/** The `interrupted` error for a signal that was aborted, with the reason it was given, if that is one of ours. */
export function interruption(signal: AbortSignal): SnapError {
  const reason: unknown = signal.reason;
  if (reason instanceof SnapError) return reason;
  return new SnapError('interrupted', 'interrupted', { cause: reason });
}

/** Runs a call that may block its thread for ever; `interrupted` leaves it behind where the signal comes first. */
export function waitingCall<T>(signal: AbortSignal, call: () => Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(interruption(signal));
    const stop = () => reject(interruption(signal));
    signal.addEventListener('abort', stop, { once: true });
    waitingCalls += 1;
    const done = () => {
      waitingCalls -= 1;
      signal.removeEventListener('abort', stop);
    };
    call().finally(done).then(resolve, reject);
  });
}

/**
 * Writes to `fd`, which stays the caller's. `name` is what errors call it. EPIPE is `pipe-closed`; an aborted
 * signal ends the write with `interrupted` even while the system still holds the chunk.
 */
export function createFdSink(
  fd: number,
  options: { readonly name: string; readonly signal: AbortSignal; readonly stallMs?: number },
): ConfirmingSink {
  const { name, signal, stallMs = STALL_MS } = options;
  let target = fd;
  let leftBytes = LONG_STREAM_BYTES;

  /** A larger pipe spares both ends most of their waking up: a long stream takes a quarter less time. */
  const countToWiden = (writtenBytes: number) => {
    if (leftBytes <= 0) return;
    leftBytes -= writtenBytes;
    if (leftBytes <= 0 && fs.fstatSync(fd).isFIFO()) cLibrary()?.setPipeSize(fd, PIPE_BYTES);
  };

  /** False where a pipe was handed over non-blocking and stays so: a socket, or another user's pipe. */
  const makeBlocking = async (): Promise<boolean> => {
    if (target !== fd || !fs.fstatSync(fd).isFIFO()) return false;
    const opened = await waitingCall(signal, () => reopen(fd));
    target = opened ?? fd;
    return opened !== undefined;
  };

  return {
    async write(chunk) {
      let idleMs = 0;
      for (let doneBytes = 0; doneBytes < chunk.length; ) {
        const rest = chunk.subarray(doneBytes);
        try {
          const writtenBytes = await waitingCall(signal, () => writeSome(target, rest));
          doneBytes += writtenBytes;
          countToWiden(writtenBytes);
          idleMs = 0;
        } catch (error) {
          if (errnoOf(error) !== 'EAGAIN') throw sinkFailure(name, error);
          if (await makeBlocking()) continue;
          if (idleMs >= stallMs) throw sinkFailure(name, error);
          const pauseMs = Math.min(idleMs + 1, LONGEST_PAUSE_MS);
          await pause(pauseMs, signal);
          idleMs += pauseMs;
        }
      }
    },
    canConfirm: () => channelOf(fd) === undefined || cLibrary() !== undefined,
    async confirm() {
      const channel = channelOf(fd);
      if (channel !== undefined) return untilRead(fd, channel, options);
      const stat = fs.fstatSync(fd);
      if (stat.isFile() || stat.isBlockDevice()) await flush(fd, name);
    },
  };
}

/** What another process reads from, if it is that. */
function channelOf(fd: number): 'pipe' | 'socket' | undefined {
  const stat = fs.fstatSync(fd);
  if (stat.isFIFO()) return 'pipe';
  return stat.isSocket() ? 'socket' : undefined;
}

/**
 * Waits until the other end has read everything; as long as it takes, as a write into a full pipe does. Whether the other
 * end is gone is asked where the answer cannot change any more: a pipe without readers keeps what is left in it, a socket
 * drops it, and says so before it does.
 */
async function untilRead(
  fd: number,
  channel: 'pipe' | 'socket',
  { name, signal }: { readonly name: string; readonly signal: AbortSignal },
): Promise<void> {
  const library = cLibrary();
  if (library === undefined) throw new Error('nobody can tell whether it is read');
  for (let pauseMs = 1; ; pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)) {
    const brokenBefore = library.isBroken(fd);
    const unread = library.hasUnread(fd, channel);
    const broken = channel === 'pipe' ? brokenBefore && unread : library.isBroken(fd);
    if (broken) throw readerGone(name);
    if (!unread) return;
    await pause(pauseMs, signal);
  }
}

async function flush(fd: number, name: string): Promise<void> {
  try {
    await syncDescriptor(fd);
  } catch (error) {
    throw systemFailure({ verb: 'flush', path: name }, error);
  }
}

function readerGone(name: string, cause?: unknown): SnapError {
  return new SnapError('pipe-closed', `the reader of ${name} closed it`, { errno: 'EPIPE', cause });
}

/** The error for what the system answered to a write to `name`. */
export function sinkFailure(name: string, error: unknown): SnapError {
  if (errnoOf(error) === 'EPIPE') {
    return readerGone(name, error);
  }
  return systemFailure({ verb: 'write to', path: name }, error);
}

function writeSome(fd: number, bytes: Buffer): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.write(fd, bytes, 0, bytes.length, null, (error, written) =>
      error ? reject(error) : resolve(written),
    );
  });
}

/** A descriptor of its own for the same pipe, which blocks; undefined where the system refuses one. */
async function reopen(fd: number): Promise<number | undefined> {
  try {
    return await openDescriptor(`/proc/self/fd/${fd}`, fs.constants.O_WRONLY);
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return undefined;
  }
}

async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  try {
    const timers: typeof import('node:timers/promises') = lazyRequire('node:timers/promises');
    await timers.setTimeout(milliseconds, undefined, { signal });
  } catch (error) {
    throw signal.aborted ? interruption(signal) : error;
  }
}
