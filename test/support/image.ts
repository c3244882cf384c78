/** One image on a simulated machine, and the operations on it in as few words as a test wants to read. */

import { bitmapBytes, setBit } from '../../core/base/bitmap.ts';
import type { ByteSink, ByteSource } from '../../core/io/byte-stream.ts';
import type { RandomAccessFile } from '../../core/io/file-system.ts';
import type { Context } from '../../core/snapshot/context.ts';
import {
  type CandidateSource,
  type CreatedSnapshot,
  type CreateOptions,
  createSnapshot,
} from '../../core/snapshot/create.ts';
import { type ReadOptions, readSnapshot } from '../../core/snapshot/read.ts';
import { type WriteOptions, type WriteResult, writeImage } from '../../core/snapshot/write.ts';
import { clusterCount, ENTRY } from '../../core/store/layout.ts';
import type { MemoryHost } from '../sim/memory-host.ts';

export const IMAGE = '/disk.img';

/** No multiple of any cluster or buffer, so that what is repeated in a longer image never lies at the same place. */
const NOISE_BYTES = (1 << 20) + 12;
const noisePool = makeNoise();

/** Bytes without a pattern; another `seed` gives others. */
export function noise(seed: number, lengthBytes: number): Buffer {
  const bytes = Buffer.allocUnsafe(lengthBytes);
  // An odd stride, so that neighbouring seeds differ in every byte's place.
  let from = (seed * 7919) % NOISE_BYTES;
  for (let at = 0; at < lengthBytes; from = 0) at += noisePool.copy(bytes, at, from);
  return bytes;
}

function makeNoise(): Buffer {
  const bytes = Buffer.allocUnsafe(NOISE_BYTES);
  let state = 0x2545f491;
  for (let at = 0; at < NOISE_BYTES; at += 4) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes.writeInt32LE(state, at);
  }
  return bytes;
}

/** A limit under which so many clusters are copied, and no more. */
export function limitOf(clusters: number, clusterSizeBytes: number): number {
  return clusters * clusterSizeBytes + ENTRY.sizeBytes;
}

/** Makes the image; a number makes a sparse one of that size. */
export async function makeImage(host: MemoryHost, content: Buffer | number): Promise<void> {
  await withFile(host, 'create', async (file) => {
    if (typeof content === 'number') await file.truncate(content);
    else await file.write(content, 0);
  });
}

/** The image's bytes as they are, past all of core. */
export function rawImage(host: MemoryHost): Promise<Buffer> {
  return withFile(host, 'read', async (file) => {
    const bytes = Buffer.allocUnsafe((await file.stat()).sizeBytes);
    await file.read(bytes, 0);
    return bytes;
  });
}

/** Does something to the image past all of core. */
export async function withFile<T>(
  host: MemoryHost,
  mode: 'read' | 'update' | 'create',
  work: (file: RandomAccessFile) => Promise<T>,
): Promise<T> {
  const file = await host.files.open(IMAGE, mode);
  try {
    return await work(file);
  } finally {
    await file.close();
  }
}

/** Gives `bytes`, at most `pieceBytes` at a time. */
export function sourceOf(bytes: Buffer, pieceBytes = Number.POSITIVE_INFINITY): ByteSource {
  let at = 0;
  return {
    async read(target) {
      const piece = bytes.subarray(at, at + Math.min(target.length, pieceBytes));
      at += piece.copy(target);
      return piece.length;
    },
  };
}

/** Keeps what it is given; `afterChunk` runs while the reader waits for its consumer. */
export class CollectingSink implements ByteSink {
  readonly #chunks: Buffer[] = [];
  readonly #afterChunk: ((count: number) => Promise<void>) | undefined;

  constructor(afterChunk?: (count: number) => Promise<void>) {
    this.#afterChunk = afterChunk;
  }

  async write(chunk: Buffer): Promise<void> {
    this.#chunks.push(Buffer.from(chunk));
    await this.#afterChunk?.(this.#chunks.length);
  }

  bytes(): Buffer {
    return Buffer.concat(this.#chunks);
  }
}

export function create(
  context: Context,
  name?: string,
  options: Partial<CreateOptions> = {},
): Promise<CreatedSnapshot> {
  const reference = name === undefined ? { image: IMAGE } : { image: IMAGE, name };
  return createSnapshot(context, reference, { onFull: 'invalidate', ...options });
}

export function write(
  context: Context,
  offsetBytes: number,
  data: Buffer,
  options: Partial<WriteOptions> = {},
): Promise<WriteResult> {
  const all = { offsetBytes, extend: false, delta: false, sync: true, ...options };
  return writeImage(context, IMAGE, all, sourceOf(data));
}

/** Tells candidates by their index, as a look into the image would. */
export function candidatesBy(isCandidate: (clusterIndex: number) => boolean): CandidateSource {
  return async (_image, geometry) => {
    const count = clusterCount(geometry);
    const candidates = Buffer.alloc(bitmapBytes(count));
    for (let index = 0; index < count; index += 1) if (isCandidate(index)) setBit(candidates, index);
    return { candidates, doubts: [] };
  };
}

/** Reads a snapshot, or the image where no name is given. */
export async function read(
  context: Context,
  name?: string,
  options: Partial<ReadOptions> = {},
  sink = new CollectingSink(),
): Promise<Buffer> {
  const reference = name === undefined ? { image: IMAGE } : { image: IMAGE, name };
  const all = { offsetBytes: 0, allowModifiedOrigin: false, digest: false, ...options };
  await readSnapshot(context, reference, all, sink);
  return sink.bytes();
}
