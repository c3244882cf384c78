/**
 * Data from standard input. Files are read by `fs.read`, which is fast and never waits; pipes, sockets and
 * terminals through `process.stdin`, because a thread blocked in a read would hold up the end of the process.
 */
import fs from 'node:fs';
import type { ByteSource } from '../io/byte-stream.ts';
import { isTerminal } from '../io/is-terminal.ts';
import { lazyRequire } from '../io/lazy-require.ts';
import { systemFailure } from '../io/system-error.ts';
import { interruption } from './fd-sink.ts';

const STDIN = 0;
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
        source ??= isWaitedFor() ? fromStream(signal) : fromFile();
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

/** Whether reading may wait for somebody. Node has no stream for block devices: it would give an empty one. */
function isWaitedFor(): boolean {
  const stat = fs.fstatSync(STDIN);
  return stat.isFIFO() || stat.isSocket() || isTerminal(STDIN);
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

function fromStream(signal: AbortSignal): StdinSource {
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
