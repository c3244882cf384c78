/**
 * Data from standard input. Files are read by `fs.read`, which is fast and never waits; pipes, sockets and
 * terminals by the event loop, because a thread blocked in a read would hold up the end of the process.
 */
import fs from 'node:fs';
import { lazyRequire } from '../base/lazy-require.ts';
import type { ByteSource } from '../io/byte-stream.ts';
import { isTerminal } from '../io/is-terminal.ts';
import { systemFailure } from '../io/system-error.ts';
import { interruption } from './fd-sink.ts';

const STDIN = 0;
/** What a pipe can have at most where it was widened. */
const SOCKET_BUFFER_BYTES = 1 << 20;
const ATTEMPT = { verb: 'read', path: 'standard input' };

export interface StdinSource extends ByteSource {
  /** Stops listening, so that the process can end while the other side is still open. */
  close(): void;
}

/** Standard input as a source; touches it only at the first read. `read` throws `interrupted` when `signal` aborts. */
export function createStdinSource(signal: AbortSignal): StdinSource {
  let source: StdinSource | undefined;
  return {
    async read(target) {
      if (signal.aborted) throw interruption(signal);
      try {
        source ??= open(signal);
        return await source.read(target);
      } catch (error) {
        throw signal.aborted ? interruption(signal) : systemFailure(ATTEMPT, error);
      }
    },
    close() {
      source?.close();
    },
  };
}

/** Reading may wait for somebody. Node has no stream for block devices: it would give an empty one. */
function open(signal: AbortSignal): StdinSource {
  const stat = fs.fstatSync(STDIN);
  if (stat.isFIFO() || stat.isSocket()) return fromSocket(signal);
  return isTerminal(STDIN) ? fromTerminal(signal) : fromFile();
}

function fromFile(): StdinSource {
  return {
    read: (target) =>
      new Promise((resolve, reject) => {
        // Without a position: a shell may have read the beginning already.
        fs.read(STDIN, target, 0, target.length, null, (error, count) =>
          error ? reject(error) : resolve(count),
        );
      }),
    close: () => undefined,
  };
}

/** Through a socket that reads into one buffer: `process.stdin` makes a new one for each 64 KiB, which adds up to 40 MiB. */
function fromSocket(signal: AbortSignal): StdinSource {
  const { Socket }: typeof import('node:net') = lazyRequire('node:net');
  const buffer = Buffer.allocUnsafeSlow(SOCKET_BUFFER_BYTES);
  let [from, to] = [0, 0];
  let ended: { readonly error?: Error } | undefined;
  let wake: () => void = () => undefined;
  const end = (error?: Error) => {
    ended ??= error === undefined ? {} : { error };
    wake();
  };
  const onread = {
    buffer,
    callback: (gotBytes: number) => {
      [from, to] = [0, gotBytes];
      wake();
      // Paused, until that was taken.
      return false;
    },
  };
  // Its types do not know that the constructor takes `onread` as `connect` does.
  const options: ConstructorParameters<typeof Socket>[0] & { onread: typeof onread } = {
    fd: STDIN,
    readable: true,
    writable: false,
    signal,
    onread,
  };
  const socket = new Socket(options);
  socket
    .on('error', end)
    .on('end', () => end())
    .on('close', () => end());
  return {
    async read(target) {
      while (from === to && ended === undefined) {
        const woken = new Promise<void>((resolve) => {
          wake = resolve;
        });
        socket.resume();
        await woken;
      }
      if (from === to && ended?.error !== undefined) throw ended.error;
      const count = buffer.copy(target, 0, from, to);
      from += count;
      return count;
    },
    close: () => {
      socket.destroy();
    },
  };
}

function fromTerminal(signal: AbortSignal): StdinSource {
  const { addAbortSignal }: typeof import('node:stream') = lazyRequire('node:stream');
  const stream = addAbortSignal(signal, process.stdin);
  const chunks: AsyncIterator<Buffer> = stream[Symbol.asyncIterator]();
  let rest: Buffer = Buffer.alloc(0);
  return {
    async read(target) {
      while (rest.length === 0) {
        const next = await chunks.next();
        if (next.done === true) return 0;
        rest = next.value;
      }
      const count = rest.copy(target);
      rest = rest.subarray(count);
      return count;
    },
    close: () => {
      stream.destroy();
    },
  };
}
