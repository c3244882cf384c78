/**
 * A simulated machine: the file system in memory, a clock that nobody waits for, chance from a seed, and a boot
 * id. One object is one process on it; `session()` starts another.
 */
import type { Host } from '../../core/io/host.ts';
import { MemoryFileSystem } from './memory-file-system.ts';
import type { OperationHook } from './session.ts';
import { KilledError } from './system-error.ts';

/** What the processes of one machine share. */
class Machine {
  readonly #random: () => number;
  bootId: Buffer;

  constructor(seed: number) {
    this.#random = mulberry32(seed);
    this.bootId = this.randomBytes(16);
  }

  randomBytes(lengthBytes: number): Buffer {
    const bytes = Buffer.allocUnsafe(lengthBytes);
    for (let index = 0; index < lengthBytes; index += 1) bytes[index] = this.#random() & 0xff;
    return bytes;
  }
}

export class MemoryHost implements Host {
  readonly files: MemoryFileSystem;
  readonly #machine: Machine;

  /** A new machine; the same `seed` gives the same chance. The other arguments are for `session()`. */
  constructor(seed = 1, files = new MemoryFileSystem(), machine = new Machine(seed)) {
    this.files = files;
    this.#machine = machine;
  }

  /** Another process on this machine. */
  session(onOperation?: OperationHook): MemoryHost {
    return new MemoryHost(0, this.files.session(onOperation), this.#machine);
  }

  /** SIGKILL, for this process: see MemoryFileSystem. Sleepers wake to a KilledError. */
  kill(): void {
    this.files.kill();
  }

  /**
   * Kills every session, drops all locks, and gives the machine a new boot id. Nothing written is lost. Only for
   * the machine's first object, which stays usable.
   */
  reboot(): void {
    this.files.powerOff();
    this.#machine.bootId = this.#machine.randomBytes(16);
  }

  async bootId(): Promise<Buffer> {
    this.#assertAlive();
    return Buffer.from(this.#machine.bootId);
  }

  now(): Date {
    return this.files.volume.clock.now();
  }

  randomBytes(lengthBytes: number): Buffer {
    return this.#machine.randomBytes(lengthBytes);
  }

  async sleep(milliseconds: number): Promise<void> {
    this.#assertAlive();
    await this.files.volume.clock.sleep(milliseconds);
    this.#assertAlive();
  }

  /** No signals come here. */
  hearSignals(): Promise<void> {
    return Promise.resolve();
  }

  monotonicMs(): number {
    return this.files.volume.clock.elapsedNs / 1e6;
  }

  async lockHolders(): Promise<[]> {
    return [];
  }

  #assertAlive(): void {
    if (!this.files.isAlive) throw new KilledError();
  }
}

/** A small generator of 32-bit numbers: the quality does not matter, that they come again does. */
export function mulberry32(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
}
