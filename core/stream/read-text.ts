/** Reading a small text, such as a list of digests, from a file or a stream, whole. */
import { SnapError } from '../base/errors.ts';
import type { ByteSource } from '../io/byte-stream.ts';
import type { FileSystem } from '../io/file-system.ts';

const MAX_TEXT_BYTES = 16 << 20;

/** @param source read instead of the file where given. @throws `not-found`, `io`, `refused` for what is no small text */
export async function readText(files: FileSystem, path: string, source?: ByteSource): Promise<string> {
  const buffer = Buffer.alloc(MAX_TEXT_BYTES);
  const filled =
    source === undefined ? await readFile(files, path, buffer) : await readSource(source, buffer);
  if (filled === MAX_TEXT_BYTES) throw new SnapError('refused', `${path}: is larger than 16 MiB`, { path });
  return buffer.toString('utf8', 0, filled);
}

async function readFile(files: FileSystem, path: string, buffer: Buffer): Promise<number> {
  const file = await files.open(path, 'read');
  try {
    return await file.read(buffer, 0);
  } finally {
    await file.close();
  }
}

async function readSource(source: ByteSource, buffer: Buffer): Promise<number> {
  let filled = 0;
  while (filled < buffer.length) {
    const got = await source.read(buffer.subarray(filled));
    if (got === 0) break;
    filled += got;
  }
  return filled;
}
