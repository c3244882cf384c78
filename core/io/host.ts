/**
 * What core asks of the machine besides its files: who boots it, the time, chance, and waiting. One object, so
 * that a simulated machine can stand in for the real one.
 */
import type { FileStat, FileSystem } from './file-system.ts';
import type { LockHolder } from './lock-holder.ts';

export interface Host {
  readonly files: FileSystem;
  /** 16 bytes that are the same until the machine boots again. */
  bootId(): Promise<Buffer>;
  now(): Date;
  randomBytes(lengthBytes: number): Buffer;
  sleep(milliseconds: number): Promise<void>;
  /** Lets a signal that has come already be heard: while calls are made at once, one after the other, none is. */
  hearSignals(): Promise<void>;
  /** Milliseconds on a clock that never goes back; only differences mean anything. */
  monotonicMs(): number;
  /** The other processes that are seen to hold the lock at `offsetBytes` of a file; none where nobody can tell. */
  lockHolders(file: Pick<FileStat, 'device' | 'inode'>, offsetBytes: number): Promise<LockHolder[]>;
}
