/**
 * One byte of open-file-description range lock, by an addon that takes any argument for a number: NaN, null, a
 * string or a bigint would lock or free from offset 0 on, so everything is checked here. It is loaded with the first
 * lock.
 */
import { SnapError } from '../base/errors.ts';
import { lazyRequire } from '../base/lazy-require.ts';
import { errnoOf, systemFailure } from './system-error.ts';

export type LockKind = 'shared' | 'exclusive';

type Addon = typeof import('fs-native-extensions/binding.js');

const PACKAGE = 'fs-native-extensions';

let loaded: Addon | undefined;

/**
 * Takes the byte at `offsetBytes` for the open file description behind `descriptor`, without waiting; false
 * where another one holds it in the way. One that is held already is converted. `path` is for messages.
 * Throws `io`.
 */
export function tryRangeLock(descriptor: number, offsetBytes: number, kind: LockKind, path: string): boolean {
  check(descriptor, offsetBytes, path);
  if (kind !== 'shared' && kind !== 'exclusive')
    throw refused(path, `there is no lock of kind ${String(kind)}`);
  try {
    addon(path).tryLock(descriptor, offsetBytes, 1, kind === 'exclusive');
    return true;
  } catch (error) {
    if (errnoOf(error) === 'EAGAIN') return false;
    // The system checks the access mode before anything else, and answers as if the descriptor were not one.
    if (kind === 'exclusive' && errnoOf(error) === 'EBADF') {
      throw refused(path, 'an exclusive lock needs a file open for writing', 'EBADF', error);
    }
    throw systemFailure({ verb: 'lock', path }, error);
  }
}

/** Drops the byte at `offsetBytes`; no error where it is not held. Throws `io`. */
export function dropRangeLock(descriptor: number, offsetBytes: number, path: string): void {
  check(descriptor, offsetBytes, path);
  try {
    addon(path).unlock(descriptor, offsetBytes, 1);
  } catch (error) {
    throw systemFailure({ verb: 'unlock', path }, error);
  }
}

function check(descriptor: number, offsetBytes: number, path: string): void {
  if (!Number.isSafeInteger(descriptor) || descriptor < 0 || descriptor > 0x7fffffff) {
    // Node gives -1 once the file is closed.
    throw refused(path, `${String(descriptor)} is not an open file`, 'EBADF');
  }
  // The end counts too: one byte at 2^53 - 1 would end where numbers are no longer exact.
  if (!Number.isSafeInteger(offsetBytes) || offsetBytes < 0 || !Number.isSafeInteger(offsetBytes + 1)) {
    throw refused(path, `${String(offsetBytes)} is not an offset within 2^53`);
  }
}

function refused(path: string, reason: string, errno?: string, cause?: unknown): SnapError {
  const suffix = errno === undefined ? '' : ` (${errno})`;
  return new SnapError('io', `cannot lock ${path}: ${reason}${suffix}`, { path, errno, cause });
}

function addon(path: string): Addon {
  if (loaded !== undefined) return loaded;
  try {
    loaded = load();
    return loaded;
  } catch (error) {
    throw new SnapError('io', `cannot lock ${path}: the package ${PACKAGE} does not load`, {
      path,
      hint: 'it comes prebuilt for x64 and arm64 with glibc; install the package again',
      cause: error,
    });
  }
}

/** The binary by its place in the package takes 0.4 ms, the package's own way of finding it 9 ms. */
function load(): Addon {
  try {
    return lazyRequire(`${PACKAGE}/prebuilds/linux-${process.arch}/${PACKAGE}.node`);
  } catch (error) {
    // Another way of packing it; anything else fails there as well, and says why.
    if (!(error instanceof Error)) throw error;
    return lazyRequire(`${PACKAGE}/binding.js`);
  }
}
