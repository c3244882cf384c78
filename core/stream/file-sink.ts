/**
 * Data into a named file: `snap-read -o FILE`. A regular file appears under its name only when it is complete,
 * sparse where it is zero; a device or a FIFO cannot be replaced and is written in place.
 */
import fs from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { isZero } from '../base/bytes.ts';
import { SnapError } from '../base/errors.ts';
import type { ConfirmingSink } from '../io/byte-stream.ts';
import { type FileLike, giveLike } from '../io/file-like.ts';
import type { FileStat, FileSystem } from '../io/file-system.ts';
import { errnoOf, systemFailure } from '../io/system-error.ts';
import { isStore } from '../store/store-file.ts';
import { createFdSink, waitingCall } from './fd-sink.ts';

/** The smallest hole that file systems keep. */
const GRANULE_BYTES = 4096;
/** A name may have 255 bytes; the beginning is enough to tell whose temporary file it is. */
const NAME_BEGINNING = 48;

const [openDescriptor, syncDescriptor, closeDescriptor] = [
  promisify(fs.open),
  promisify(fs.fsync),
  promisify(fs.close),
];

export interface FileSink extends ConfirmingSink {
  /** Makes what was written appear, durably. Where it throws, `abort` is still to be called. */
  finish(): Promise<void>;
  /** Leaves what was there before; after `finish` it does nothing. */
  abort(): Promise<void>;
}

export interface FileSinkOptions {
  readonly path: string;
  /** Written over or into never: the data comes from there. */
  readonly imagePath: string;
  readonly sidecarPath: string;
  /** Whose group, and which permissions, a regular file gets: its owner is who made it. */
  readonly like: FileLike;
  readonly randomBytes: (lengthBytes: number) => Buffer;
  /** Ends waiting for the reader of a FIFO. */
  readonly signal: AbortSignal;
}

/**
 * Opens `path` for a result. Throws `refused` for the image, its sidecar and anything in it, directories,
 * sockets and links that lead nowhere.
 */
export async function openFileSink(files: FileSystem, options: FileSinkOptions): Promise<FileSink> {
  const { path } = options;
  const stat = await files.stat(path);
  if (stat === undefined && (await files.linkStat(path)) !== undefined) {
    throw refused(path, 'is a symbolic link that leads nowhere', 'remove it, or name another file');
  }
  const directoryWanted = stat === undefined && path.endsWith('/');
  if (directoryWanted || stat?.kind === 'directory')
    throw refused(path, 'is a directory', 'name a file in it');
  if (stat?.kind === 'socket')
    throw refused(path, 'is a socket', 'name a file, or pipe standard output to a program');
  const place = await placeOf(files, path, stat !== undefined);
  await refuseSource(files, options, stat, place);
  return stat === undefined || stat.kind === 'file'
    ? openReplacement(files, options, place)
    : openInPlace(path, options.signal);
}

/** Where the name leads; for one that is not there yet, where it will be. */
async function placeOf(files: FileSystem, path: string, exists: boolean): Promise<string> {
  return exists ? files.realPath(path) : join(await files.realPath(dirname(path)), basename(path));
}

async function refuseSource(
  files: FileSystem,
  { path, imagePath, sidecarPath }: FileSinkOptions,
  stat: FileStat | undefined,
  place: string,
): Promise<void> {
  const hint = 'to bring a snapshot back into its image: snap-read IMAGE@NAME | snap-write --delta IMAGE';
  const image = await files.stat(imagePath);
  if (stat !== undefined && stat.device === image?.device && stat.inode === image.inode) {
    throw refused(path, 'is the image itself', hint);
  }
  if (stat?.kind === 'file' && (await isStore(files, path))) {
    throw refused(path, 'is the store of a snapshot', 'name another file');
  }
  const exists = (await files.stat(sidecarPath)) !== undefined;
  const sidecar = await placeOf(files, sidecarPath, exists);
  if (place === sidecar || place.startsWith(`${sidecar}/`)) {
    throw refused(path, `is in ${sidecarPath}, where the snapshots are kept`, hint);
  }
}

async function openReplacement(
  files: FileSystem,
  options: FileSinkOptions,
  place: string,
): Promise<FileSink> {
  const directory = dirname(place);
  const random = options.randomBytes(6).toString('hex');
  const temporary = join(directory, `.${basename(place).slice(0, NAME_BEGINNING)}.${random}.tmp`);
  // Its maker's alone until it is complete.
  const file = await files.open(temporary, 'create', 0o600);
  let [opened, exists, sizeBytes] = [true, true, 0];
  const close = async () => {
    if (!opened) return;
    opened = false;
    await file.close();
  };
  return {
    async write(chunk) {
      for (const [start, end] of dataRuns(chunk, sizeBytes)) {
        await file.write(chunk.subarray(start, end), sizeBytes + start);
      }
      sizeBytes += chunk.length;
    },
    async writeZeros(lengthBytes) {
      sizeBytes += lengthBytes;
    },
    // Finishing makes it durable.
    canConfirm: () => true,
    confirm: async () => undefined,
    async finish() {
      // A hole at the end is made by the size alone.
      await file.truncate(sizeBytes);
      await giveLike(file, options.like);
      await file.syncAll();
      await close();
      await files.rename(temporary, place);
      exists = false;
      await files.syncDirectory(directory);
    },
    async abort() {
      await close();
      if (exists) await files.remove(temporary);
      exists = false;
    },
  };
}

/** The parts of `chunk` that are not zero, cut where granules of the file end; `offsetBytes` is the chunk's place in it. */
export function* dataRuns(chunk: Buffer, offsetBytes: number): Generator<[start: number, end: number]> {
  let runStart: number | undefined;
  for (let start = 0; start < chunk.length; ) {
    const end = Math.min(chunk.length, start + GRANULE_BYTES - ((offsetBytes + start) % GRANULE_BYTES));
    if (!isZero(chunk, start, end)) {
      runStart ??= start;
    } else if (runStart !== undefined) {
      yield [runStart, start];
      runStart = undefined;
    }
    start = end;
  }
  if (runStart !== undefined) yield [runStart, chunk.length];
}

async function openInPlace(path: string, signal: AbortSignal): Promise<FileSink> {
  let fd: number;
  try {
    fd = await waitingCall(signal, () => openDescriptor(path, fs.constants.O_WRONLY));
  } catch (error) {
    throw systemFailure({ verb: 'open', path }, error);
  }
  let opened = true;
  const close = async () => {
    if (!opened) return;
    opened = false;
    await closeDescriptor(fd);
  };
  return {
    ...createFdSink(fd, { name: path, signal }),
    async finish() {
      try {
        await syncDescriptor(fd);
      } catch (error) {
        // Pipes and devices such as /dev/null have nothing to flush.
        if (errnoOf(error) !== 'EINVAL') throw systemFailure({ verb: 'flush', path }, error);
      }
      await close();
    },
    abort: close,
  };
}

function refused(path: string, why: string, hint: string): SnapError {
  return new SnapError('refused', `${path} ${why}`, { path, hint });
}
