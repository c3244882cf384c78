/**
 * An open file of the real system. What takes microseconds is done at once: asking a thread for it and being woken takes
 * ten times as long, and a command makes a hundred such calls. What may take longer (much data, a flush) is a thread's,
 * so that reading, hashing and writing overlap and signals are heard.
 */
import fs from 'node:fs';
import { SnapError } from '../base/errors.ts';
import type { FileKind, FileStat, Owner, RandomAccessFile, WriteWay } from './file-system.ts';
import { dataFinder } from './holes.ts';
import { monotonicMs } from './monotonic.ts';
import { checkRange, checkSize } from './numbers.ts';
import { mayGoPastCache, openPastCache } from './past-cache.ts';
import { dropRangeLock, type LockKind, tryRangeLock } from './range-lock.ts';
import { attempt, errnoOf, systemFailure } from './system-error.ts';

/** One call's worth: Linux moves at most 2 GiB at a time, and Node takes no longer length. */
const CALL_LIMIT_BYTES = 2 ** 30;
/**
 * Up to here a call is made at once. A MiB that is in the page cache is read as fast as a thread is asked for it, and what
 * is read in order the kernel fetches ahead; writing takes three times as long, and overlaps with reading and hashing.
 */
const READ_AT_ONCE_BYTES = 1 << 20;
const WRITE_AT_ONCE_BYTES = 1 << 16;
/**
 * A file no larger, or a directory, has so little to be flushed that a thread's answer takes as long. Where the disk is busy
 * everything waits for it, signals included; but a command can neither go on without it nor end before it.
 */
const FLUSH_AT_ONCE_BYTES = 1 << 16;
/** When calls were made at once for so long, the next is a thread's all the same: many that are short may be long together. */
const AT_ONCE_MS = 20;

/** When a thread's answer was waited for the last time, and so everything else of this process came to its turn. */
let waitedAtMs = monotonicMs();

function mayBeAtOnce(lengthBytes: number, mostBytes: number): boolean {
  return lengthBytes <= mostBytes && monotonicMs() - waitedAtMs < AT_ONCE_MS;
}

/** What file systems answer that cannot share, or not between these two files. */
const CANNOT_SHARE = new Set(['ENOTSUP', 'EOPNOTSUPP', 'EXDEV', 'EINVAL', 'ENOTTY', 'ENOSYS', 'ETXTBSY']);

/**
 * After these a write through the cache decides. EINVAL: the disk wants more than is known of it, or of the memory. A full
 * disk: XFS looked for room that it had set aside only where the cache was written (before Linux 5.12).
 */
const CACHE_DECIDES = new Set(['EINVAL', 'ENOSPC', 'EDQUOT']);

type Callback<T> = (error: NodeJS.ErrnoException | null, result?: T) => void;

export class NodeFile implements RandomAccessFile {
  readonly path: string;
  /** Absent once it is closed. */
  #opened: number | undefined;
  /**
   * Calls that a thread is at. Closing waits for them: the descriptor's number may be another file's a moment later,
   * and a write would go there.
   */
  readonly #pending = new Set<Promise<unknown>>();

  #findData: ((offsetBytes: number) => number) | undefined;
  /** The same file for writes past the page cache, once one was asked for. */
  #pastCache: number | 'none' | undefined;
  #pastCacheRefused = false;

  constructor(path: string, descriptor: number) {
    this.path = path;
    this.#opened = descriptor;
  }

  get #descriptor(): number {
    if (this.#opened !== undefined) return this.#opened;
    throw Object.assign(new Error('the file is closed'), { code: 'EBADF' });
  }

  /** Has a thread make a call. */
  async #byThread<T>(
    call: (descriptor: number, done: Callback<T>) => void,
    descriptor = this.#descriptor,
  ): Promise<T> {
    const pending = new Promise<T>((resolve, reject) => {
      call(descriptor, (error, result) => (error ? reject(error) : resolve(result as T)));
    });
    this.#pending.add(pending);
    try {
      return await pending;
    } finally {
      this.#pending.delete(pending);
      waitedAtMs = monotonicMs();
    }
  }

  async read(target: Buffer, offsetBytes: number): Promise<number> {
    checkRange('read', this.path, offsetBytes, target.length);
    let doneBytes = 0;
    while (doneBytes < target.length) {
      const lengthBytes = Math.min(target.length - doneBytes, CALL_LIMIT_BYTES);
      const positionBytes = offsetBytes + doneBytes;
      try {
        const bytesRead = mayBeAtOnce(lengthBytes, READ_AT_ONCE_BYTES)
          ? fs.readSync(this.#descriptor, target, doneBytes, lengthBytes, positionBytes)
          : await this.#byThread<number>((descriptor, done) =>
              fs.read(descriptor, target, doneBytes, lengthBytes, positionBytes, done),
            );
        if (bytesRead === 0) break;
        doneBytes += bytesRead;
      } catch (error) {
        throw systemFailure({ verb: 'read', path: this.path, offsetBytes: positionBytes }, error);
      }
    }
    return doneBytes;
  }

  async write(source: Buffer, offsetBytes: number, way?: WriteWay): Promise<void> {
    checkRange('write', this.path, offsetBytes, source.length);
    let doneBytes = way === 'past-cache' ? await this.#writePastCache(source, offsetBytes) : 0;
    while (doneBytes < source.length) {
      const lengthBytes = Math.min(source.length - doneBytes, CALL_LIMIT_BYTES);
      const positionBytes = offsetBytes + doneBytes;
      try {
        const bytesWritten = mayBeAtOnce(lengthBytes, WRITE_AT_ONCE_BYTES)
          ? fs.writeSync(this.#descriptor, source, doneBytes, lengthBytes, positionBytes)
          : await this.#byThread<number>((descriptor, done) =>
              fs.write(descriptor, source, doneBytes, lengthBytes, positionBytes, done),
            );
        // Trying again after nothing was taken might never end.
        if (bytesWritten === 0) throw new Error('the system wrote nothing');
        doneBytes += bytesWritten;
      } catch (error) {
        throw systemFailure({ verb: 'write', path: this.path, offsetBytes: positionBytes }, error);
      }
    }
  }

  /** @returns how much of it was written; the rest is for the cache */
  async #writePastCache(source: Buffer, offsetBytes: number): Promise<number> {
    if (this.#pastCacheRefused || source.length <= WRITE_AT_ONCE_BYTES) return 0;
    if (!mayGoPastCache(source, offsetBytes)) return 0;
    this.#pastCache ??= openPastCache(this.#descriptor) ?? 'none';
    const pastCache = this.#pastCache;
    if (pastCache === 'none') return 0;
    try {
      return await this.#byThread<number>(
        (descriptor, done) => fs.write(descriptor, source, 0, source.length, offsetBytes, done),
        pastCache,
      );
    } catch (error) {
      const errno = errnoOf(error) ?? '';
      if (!CACHE_DECIDES.has(errno))
        throw systemFailure({ verb: 'write', path: this.path, offsetBytes }, error);
      this.#pastCacheRefused = errno === 'EINVAL';
      return 0;
    }
  }

  dataFrom(offsetBytes: number): number {
    checkRange('look at', this.path, offsetBytes, 0);
    try {
      this.#findData ??= dataFinder(this.#descriptor) ?? ((placeBytes) => placeBytes);
    } catch (error) {
      throw systemFailure({ verb: 'look at', path: this.path }, error);
    }
    return this.#findData(offsetBytes);
  }

  async shareInto(target: RandomAccessFile): Promise<void> {
    const to = target instanceof NodeFile ? target.#descriptor : undefined;
    const names = [this.#descriptor, to].map((descriptor) => `/proc/self/fd/${descriptor}`);
    try {
      // What is dirty was flushed before; what is left is a call that takes no time.
      fs.copyFileSync(names[0] ?? '', names[1] ?? '', fs.constants.COPYFILE_FICLONE_FORCE);
    } catch (error) {
      if (!CANNOT_SHARE.has(errnoOf(error) ?? ''))
        throw systemFailure({ verb: 'clone', path: this.path }, error);
      throw new SnapError('refused', `${target.path}: cannot share its content with ${this.path}`, {
        path: target.path,
        errno: errnoOf(error),
        hint: 'on one file system of btrfs or XFS it can; leave out --clone elsewhere',
      });
    }
  }

  stat(): Promise<FileStat> {
    return attempt({ verb: 'look at', path: this.path }, async () =>
      toFileStat(this.path, fs.fstatSync(this.#descriptor, { bigint: true })),
    );
  }

  async truncate(sizeBytes: number): Promise<void> {
    checkSize('set the size of', this.path, sizeBytes);
    await attempt({ verb: 'set the size of', path: this.path, tail: ` to ${sizeBytes} bytes` }, () =>
      this.#byThread<void>((descriptor, done) => fs.ftruncate(descriptor, sizeBytes, done)),
    );
  }

  setPermissions(permissions: number): Promise<void> {
    return attempt({ verb: 'set the permissions of', path: this.path }, async () =>
      fs.fchmodSync(this.#descriptor, permissions),
    );
  }

  setOwner({ userId, groupId }: Owner): Promise<void> {
    return attempt({ verb: 'set the owner of', path: this.path }, async () =>
      fs.fchownSync(this.#descriptor, userId, groupId),
    );
  }

  syncData(): Promise<void> {
    return this.#flush(fs.fdatasyncSync, fs.fdatasync);
  }

  syncAll(): Promise<void> {
    return this.#flush(fs.fsyncSync, fs.fsync);
  }

  #flush(
    atOnce: (descriptor: number) => void,
    byThread: (descriptor: number, done: Callback<void>) => void,
  ): Promise<void> {
    return attempt({ verb: 'flush', path: this.path }, async () => {
      const { size } = fs.fstatSync(this.#descriptor);
      if (mayBeAtOnce(size, FLUSH_AT_ONCE_BYTES)) atOnce(this.#descriptor);
      else await this.#byThread<void>(byThread);
    });
  }

  tryLock(offsetBytes: number, kind: LockKind): boolean {
    return tryRangeLock(this.#opened ?? -1, offsetBytes, kind, this.path);
  }

  unlock(offsetBytes: number): void {
    dropRangeLock(this.#opened ?? -1, offsetBytes, this.path);
  }

  close(): Promise<void> {
    return attempt({ verb: 'close', path: this.path }, async () => {
      while (this.#pending.size > 0) await Promise.allSettled(this.#pending);
      const [descriptor, pastCache] = [this.#opened, this.#pastCache];
      this.#opened = undefined;
      this.#pastCache = 'none';
      try {
        if (typeof pastCache === 'number') fs.closeSync(pastCache);
      } finally {
        if (descriptor !== undefined) fs.closeSync(descriptor);
      }
    });
  }
}

/** Throws `io` where a size is beyond 2^53 - 1. */
export function toFileStat(path: string, stats: fs.BigIntStats): FileStat {
  return {
    kind: kindOf(stats),
    sizeBytes: toNumber(path, stats.size),
    allocatedBytes: toNumber(path, stats.blocks * 512n),
    modifiedNs: stats.mtimeNs,
    mode: Number(stats.mode) & 0o7777,
    userId: Number(stats.uid),
    groupId: Number(stats.gid),
    linkCount: Number(stats.nlink),
    device: stats.dev,
    inode: stats.ino,
  };
}

function kindOf(stats: fs.BigIntStats): FileKind {
  if (stats.isFile()) return 'file';
  if (stats.isDirectory()) return 'directory';
  if (stats.isSymbolicLink()) return 'symlink';
  if (stats.isFIFO()) return 'fifo';
  return stats.isSocket() ? 'socket' : 'device';
}

function toNumber(path: string, sizeBytes: bigint): number {
  if (sizeBytes <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(sizeBytes);
  throw new SnapError('io', `cannot use ${path}: ${sizeBytes} bytes are more than 2^53 - 1`, { path });
}
