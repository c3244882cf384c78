/**
 * The few calls of the C library that Node has no function for, by koffi. That is optional and takes 9 ms to load: what
 * makes things faster is left out without it, and what cannot be known without it is not claimed.
 */
import { lazyRequire } from '../base/lazy-require.ts';

const SEEK_DATA = 3;
const F_SETPIPE_SZ = 1031;
const FIONREAD = 0x541b;
const TIOCOUTQ = 0x5411;
const POLLERR = 8;
/** struct pollfd: descriptor, events, and two bytes for what came. */
const POLL_BYTES = 8;
const POLL_CAME_OFFSET_BYTES = 6;

export interface CLibrary {
  /** lseek with SEEK_DATA: a place, or -1. */
  seekData(descriptor: number, offsetBytes: number): number;
  /** The errno of the last call. */
  errno(): number;
  /** fcntl with F_SETPIPE_SZ; a failure is no matter. */
  setPipeSize(descriptor: number, sizeBytes: number): void;
  /** Of a pipe or a socket that is written to: whether what was written lies there unread. */
  hasUnread(descriptor: number, kind: 'pipe' | 'socket'): boolean;
  /** poll with POLLERR: a pipe without any reader, or a socket whose other end dropped what it had not read. */
  isBroken(descriptor: number): boolean;
}

let loaded: CLibrary | 'none' | undefined;

/** Undefined where koffi is not installed, or has no build for this machine. */
export function cLibrary(): CLibrary | undefined {
  loaded ??= load() ?? 'none';
  return loaded === 'none' ? undefined : loaded;
}

function load(): CLibrary | undefined {
  try {
    const koffi: typeof import('koffi') = lazyRequire('koffi');
    const library = koffi.load(null);
    const seek = library.func('int64_t lseek(int descriptor, int64_t offset, int whence)');
    const control = library.func('int fcntl(int descriptor, int command, ...)');
    const ask = library.func('int ioctl(int descriptor, unsigned long request, _Out_ int *answer)');
    const poll = library.func('int poll(void *descriptors, unsigned long count, int timeout)');
    return {
      hasUnread: (descriptor, kind) => {
        const answer = [0];
        // What cannot be asked may lie there.
        return ask(descriptor, kind === 'pipe' ? FIONREAD : TIOCOUTQ, answer) !== 0 || answer[0] !== 0;
      },
      isBroken: (descriptor) => {
        const asked = Buffer.alloc(POLL_BYTES);
        asked.writeInt32LE(descriptor);
        return poll(asked, 1, 0) > 0 && (asked.readInt16LE(POLL_CAME_OFFSET_BYTES) & POLLERR) !== 0;
      },
      seekData: (descriptor, offsetBytes) => Number(seek(descriptor, offsetBytes, SEEK_DATA)),
      errno: () => koffi.errno(),
      setPipeSize: (descriptor, sizeBytes) => void control(descriptor, F_SETPIPE_SZ, 'int', sizeBytes),
    };
  } catch (error) {
    if (error instanceof Error) return undefined;
    throw error;
  }
}
