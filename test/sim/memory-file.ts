/** An open file of the simulated file system: an open file description with its own locks. */
import { SnapError } from '../../core/base/errors.ts';
import type { FileStat, Owner, RandomAccessFile } from '../../core/io/file-system.ts';
import { checkRange, checkSize } from '../../core/io/numbers.ts';
import { systemFailure } from '../../core/io/system-error.ts';
import type { MemoryVolume } from './memory-volume.ts';
import type { FileInode } from './name-tree.ts';
import type { Closable, Session } from './session.ts';
import { systemError } from './system-error.ts';

export class MemoryFile implements RandomAccessFile, Closable {
  readonly path: string;
  readonly #inode: FileInode;
  readonly #volume: MemoryVolume;
  readonly #session: Session;
  readonly #isWritable: boolean;
  #isOpen = true;

  constructor(path: string, inode: FileInode, volume: MemoryVolume, session: Session, isWritable: boolean) {
    this.path = path;
    this.#inode = inode;
    this.#volume = volume;
    this.#session = session;
    this.#isWritable = isWritable;
    inode.openCount += 1;
    session.add(this);
  }

  async read(target: Buffer, offsetBytes: number): Promise<number> {
    checkRange('read', this.path, offsetBytes, target.length);
    return this.#session.perform(
      { kind: 'read', path: this.path, offsetBytes, lengthBytes: target.length },
      () => {
        this.#assertOpen();
        return this.#inode.content.read(target, offsetBytes);
      },
    );
  }

  async write(source: Buffer, offsetBytes: number): Promise<void> {
    checkRange('write', this.path, offsetBytes, source.length);
    return this.#session.perform(
      { kind: 'write', path: this.path, offsetBytes, lengthBytes: source.length },
      () => {
        this.#assertWritable('EBADF');
        if (source.length > 0) this.#writeNow(source, offsetBytes);
      },
    );
  }

  dataFrom(offsetBytes: number): number {
    checkRange('look at', this.path, offsetBytes, 0);
    return this.#session.performSync({ kind: 'dataFrom', path: this.path, offsetBytes }, () => {
      this.#assertOpen();
      return this.#inode.content.dataFrom(offsetBytes);
    });
  }

  /** A copy: whether blocks are shared nobody sees. */
  async shareInto(target: RandomAccessFile): Promise<void> {
    const { sizeBytes } = await this.stat();
    const content = Buffer.alloc(sizeBytes);
    await this.read(content, 0);
    await target.write(content, 0);
  }

  stat(): Promise<FileStat> {
    return this.#session.perform({ kind: 'fileStat', path: this.path }, () => {
      this.#assertOpen();
      return this.#volume.statOf(this.#inode);
    });
  }

  async truncate(sizeBytes: number): Promise<void> {
    checkSize('set the size of', this.path, sizeBytes);
    return this.#session.perform({ kind: 'truncate', path: this.path, lengthBytes: sizeBytes }, () => {
      this.#assertWritable('EINVAL');
      if (sizeBytes > this.#volume.maximumFileBytes) throw systemError('EFBIG');
      this.#inode.content.truncate(sizeBytes);
      this.#inode.modifiedAtNs = this.#volume.clock.tick();
    });
  }

  setPermissions(permissions: number): Promise<void> {
    return this.#session.perform({ kind: 'setPermissions', path: this.path }, () => {
      this.#assertOpen();
      this.#volume.setPermissions(this.#inode, permissions);
    });
  }

  setOwner(owner: Owner): Promise<void> {
    return this.#session.perform({ kind: 'setOwner', path: this.path }, () => {
      this.#assertOpen();
      this.#volume.setOwner(this.#inode, owner);
    });
  }

  syncData(): Promise<void> {
    return this.#session.perform({ kind: 'syncData', path: this.path, inode: this.#inode }, () => {
      this.#assertOpen();
      this.#inode.content.sync();
    });
  }

  syncAll(): Promise<void> {
    return this.#session.perform({ kind: 'syncAll', path: this.path, inode: this.#inode }, () => {
      this.#assertOpen();
      this.#inode.content.sync();
      this.#inode.durableModifiedAtNs = this.#inode.modifiedAtNs;
    });
  }

  tryLock(offsetBytes: number, kind: 'shared' | 'exclusive'): boolean {
    checkRange('lock', this.path, offsetBytes, 1);
    return this.#session.performSync({ kind: 'tryLock', path: this.path, offsetBytes }, () => {
      this.#assertOpen();
      if (kind === 'exclusive' && !this.#isWritable) throw this.#readOnlyLock();
      return this.#inode.locks.tryTake(this, offsetBytes, kind);
    });
  }

  unlock(offsetBytes: number): void {
    checkRange('unlock', this.path, offsetBytes, 1);
    this.#session.performSync({ kind: 'unlock', path: this.path, offsetBytes }, () => {
      this.#assertOpen();
      this.#inode.locks.drop(this, offsetBytes);
    });
  }

  /** As on Linux, one that fails has closed the file all the same. */
  async close(): Promise<void> {
    try {
      await this.#session.perform({ kind: 'close', path: this.path }, () => undefined);
    } finally {
      this.#session.drop(this);
    }
  }

  drop(): void {
    this.#isOpen = false;
    this.#inode.locks.dropAll(this);
    this.#inode.openCount -= 1;
    this.#volume.freeIfUnused(this.#inode);
  }

  /** As the system does: what fits is written, then the rest is refused. */
  #writeNow(source: Buffer, offsetBytes: number): void {
    const { maximumFileBytes, clock } = this.#volume;
    const allowedBytes = Math.max(0, Math.min(source.length, maximumFileBytes - offsetBytes));
    const doneBytes = this.#inode.content.write(source.subarray(0, allowedBytes), offsetBytes);
    if (doneBytes > 0) this.#inode.modifiedAtNs = clock.tick();
    if (doneBytes === source.length) return;
    const positionBytes = offsetBytes + doneBytes;
    const errno = doneBytes === allowedBytes ? 'EFBIG' : 'ENOSPC';
    throw systemFailure({ verb: 'write', path: this.path, offsetBytes: positionBytes }, systemError(errno));
  }

  #assertOpen(): void {
    if (!this.#isOpen) throw systemError('EBADF');
  }

  #assertWritable(errno: string): void {
    this.#assertOpen();
    if (!this.#isWritable) throw systemError(errno);
  }

  #readOnlyLock(): SnapError {
    const message = `cannot lock ${this.path}: an exclusive lock needs a file open for writing (EBADF)`;
    return new SnapError('io', message, { path: this.path, errno: 'EBADF' });
  }
}
