/**
 * An open file of the real system. Built on Node's FileHandle because its close waits for what is in flight: a
 * write that began before the close could otherwise go to whatever file gets the descriptor's number next.
 */
import type { BigIntStats } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { SnapError } from '../base/errors.ts';
import type { FileKind, FileStat, Owner, RandomAccessFile } from './file-system.ts';
import { checkRange, checkSize } from './numbers.ts';
import { dropRangeLock, type LockKind, tryRangeLock } from './range-lock.ts';
import { attempt, systemFailure } from './system-error.ts';

/** One call's worth: Linux moves at most 2 GiB at a time, and Node takes no longer length. */
const CALL_LIMIT_BYTES = 2 ** 30;

export class NodeFile implements RandomAccessFile {
  readonly path: string;
  readonly #handle: FileHandle;

  constructor(path: string, handle: FileHandle) {
    this.path = path;
    this.#handle = handle;
  }

  async read(target: Buffer, offsetBytes: number): Promise<number> {
    checkRange('read', this.path, offsetBytes, target.length);
    let doneBytes = 0;
    while (doneBytes < target.length) {
      const lengthBytes = Math.min(target.length - doneBytes, CALL_LIMIT_BYTES);
      const positionBytes = offsetBytes + doneBytes;
      try {
        const { bytesRead } = await this.#handle.read(target, doneBytes, lengthBytes, positionBytes);
        if (bytesRead === 0) break;
        doneBytes += bytesRead;
      } catch (error) {
        throw systemFailure({ verb: 'read', path: this.path, offsetBytes: positionBytes }, error);
      }
    }
    return doneBytes;
  }

  async write(source: Buffer, offsetBytes: number): Promise<void> {
    checkRange('write', this.path, offsetBytes, source.length);
    let doneBytes = 0;
    while (doneBytes < source.length) {
      const lengthBytes = Math.min(source.length - doneBytes, CALL_LIMIT_BYTES);
      const positionBytes = offsetBytes + doneBytes;
      try {
        const { bytesWritten } = await this.#handle.write(source, doneBytes, lengthBytes, positionBytes);
        // Trying again after nothing was taken might never end.
        if (bytesWritten === 0) throw new Error('the system wrote nothing');
        doneBytes += bytesWritten;
      } catch (error) {
        throw systemFailure({ verb: 'write', path: this.path, offsetBytes: positionBytes }, error);
      }
    }
  }

  stat(): Promise<FileStat> {
    return attempt({ verb: 'look at', path: this.path }, async () =>
      toFileStat(this.path, await this.#handle.stat({ bigint: true })),
    );
  }

  async truncate(sizeBytes: number): Promise<void> {
    checkSize('set the size of', this.path, sizeBytes);
    await attempt({ verb: 'set the size of', path: this.path, tail: ` to ${sizeBytes} bytes` }, () =>
      this.#handle.truncate(sizeBytes),
    );
  }

  setPermissions(permissions: number): Promise<void> {
    return attempt({ verb: 'set the permissions of', path: this.path }, () =>
      this.#handle.chmod(permissions),
    );
  }

  setOwner({ userId, groupId }: Owner): Promise<void> {
    return attempt({ verb: 'set the owner of', path: this.path }, () => this.#handle.chown(userId, groupId));
  }

  syncData(): Promise<void> {
    return attempt({ verb: 'flush', path: this.path }, () => this.#handle.datasync());
  }

  syncAll(): Promise<void> {
    return attempt({ verb: 'flush', path: this.path }, () => this.#handle.sync());
  }

  tryLock(offsetBytes: number, kind: LockKind): boolean {
    return tryRangeLock(this.#handle.fd, offsetBytes, kind, this.path);
  }

  unlock(offsetBytes: number): void {
    dropRangeLock(this.#handle.fd, offsetBytes, this.path);
  }

  close(): Promise<void> {
    return attempt({ verb: 'close', path: this.path }, () => this.#handle.close());
  }
}

/** Throws `io` where a size is beyond 2^53 - 1. */
export function toFileStat(path: string, stats: BigIntStats): FileStat {
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

function kindOf(stats: BigIntStats): FileKind {
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
