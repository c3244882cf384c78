/**
 * What core asks of the machine besides its files: who boots it, the time, chance, and waiting. One object, so
 * that a simulated machine can stand in for the real one.
 */
import type { FileSystem } from './file-system.ts';

export interface Host {
  readonly files: FileSystem;
  /** 16 bytes that are the same until the machine boots again. */
  bootId(): Promise<Buffer>;
  now(): Date;
  randomBytes(lengthBytes: number): Buffer;
  sleep(milliseconds: number): Promise<void>;
  /** Milliseconds on a clock that never goes back; only differences mean anything. */
  monotonicMs(): number;
}
