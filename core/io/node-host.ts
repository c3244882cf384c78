/** The real machine. */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { SnapError } from '../base/errors.ts';
import type { FileSystem } from './file-system.ts';
import type { Host } from './host.ts';
import { findLockHolders } from './lock-holder.ts';
import { monotonicMs } from './monotonic.ts';
import { NodeFileSystem } from './node-file-system.ts';
import { systemFailure } from './system-error.ts';

const BOOT_ID_PATH = '/proc/sys/kernel/random/boot_id';
const BOOT_ID_PATTERN = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\n?$/;
const RANDOM_PATH = '/dev/urandom';
const BOOT_ID_HINT = 'imgsnap needs /proc to be mounted, to know whether the machine was booted since';

export class NodeHost implements Host {
  readonly files: FileSystem;
  readonly #bootIdPath: string;
  #bootId: Buffer | undefined;

  constructor(files: FileSystem = new NodeFileSystem(), bootIdPath = BOOT_ID_PATH) {
    this.files = files;
    this.#bootIdPath = bootIdPath;
  }

  /** Throws `io` where the kernel does not tell: without it, nobody knows which times and marks count. */
  async bootId(): Promise<Buffer> {
    this.#bootId ??= parseBootId(this.#bootIdPath, readBootId(this.#bootIdPath));
    return Buffer.from(this.#bootId);
  }

  now(): Date {
    return new Date();
  }

  randomBytes(lengthBytes: number): Buffer {
    try {
      return readRandom(lengthBytes);
    } catch (error) {
      throw systemFailure({ verb: 'read', path: RANDOM_PATH }, error);
    }
  }

  /** 0 lets everything else that is ready run, and comes back at once. */
  async sleep(milliseconds: number): Promise<void> {
    await (milliseconds > 0 ? new Promise((resolve) => setTimeout(resolve, milliseconds)) : nextTurn());
  }

  async hearSignals(): Promise<void> {
    // The first may still be in the turn of the event loop whose look for signals is over.
    await nextTurn();
    await nextTurn();
  }

  readonly monotonicMs = monotonicMs;

  readonly lockHolders = findLockHolders;
}

/** Of the event loop. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** node:crypto has the same from the same place, and takes 3 ms to load. */
function readRandom(lengthBytes: number): Buffer {
  const bytes = Buffer.alloc(lengthBytes);
  const descriptor = openSync(RANDOM_PATH, 'r');
  try {
    for (let doneBytes = 0; doneBytes < lengthBytes; ) {
      const gotBytes = readSync(descriptor, bytes, doneBytes, lengthBytes - doneBytes, null);
      if (gotBytes === 0) throw new Error('it gave too little');
      doneBytes += gotBytes;
    }
  } finally {
    closeSync(descriptor);
  }
  return bytes;
}

function readBootId(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch (error) {
    const { message, errno } = systemFailure({ verb: 'read', path }, error);
    throw new SnapError('io', message, { path, errno, hint: BOOT_ID_HINT, cause: error });
  }
}

function parseBootId(path: string, text: string): Buffer {
  if (!BOOT_ID_PATTERN.test(text)) {
    throw new SnapError('io', `${path} holds no boot id`, { path, hint: BOOT_ID_HINT });
  }
  return Buffer.from(text.replace(/[-\n]/g, ''), 'hex');
}
