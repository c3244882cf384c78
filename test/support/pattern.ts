/** What the harness sends, and its digest. */
import { createHash } from 'node:crypto';

/** Bytes in which a lost, doubled or moved piece shows. */
export function patternAt(offsetBytes: number, lengthBytes: number): Buffer {
  const bytes = Buffer.alloc(lengthBytes);
  for (let index = 0; index + 4 <= lengthBytes; index += 4) bytes.writeUInt32LE(offsetBytes + index, index);
  return bytes;
}

export function digestOf(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
