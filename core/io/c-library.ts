/**
 * The two calls of the C library that Node has no function for, by koffi. That is optional and takes 9 ms to load: what is
 * done with them makes things faster and is otherwise left out.
 */
import { lazyRequire } from './lazy-require.ts';

const SEEK_DATA = 3;
const F_SETPIPE_SZ = 1031;

export interface CLibrary {
  /** lseek with SEEK_DATA: a place, or -1. */
  seekData(descriptor: number, offsetBytes: number): number;
  /** The errno of the last call. */
  errno(): number;
  /** fcntl with F_SETPIPE_SZ; a failure is no matter. */
  setPipeSize(descriptor: number, sizeBytes: number): void;
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
    return {
      seekData: (descriptor, offsetBytes) => Number(seek(descriptor, offsetBytes, SEEK_DATA)),
      errno: () => koffi.errno(),
      setPipeSize: (descriptor, sizeBytes) => void control(descriptor, F_SETPIPE_SZ, 'int', sizeBytes),
    };
  } catch (error) {
    if (error instanceof Error) return undefined;
    throw error;
  }
}
