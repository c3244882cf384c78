/** Small things that are done to bytes and to the numbers that place them. */

const ZEROS = Buffer.alloc(1 << 20);

/** `lengthBytes` zeros, in pieces that are not to be written to. */
export function* zeros(lengthBytes: number): Generator<Buffer> {
  for (let leftBytes = lengthBytes; leftBytes > 0; leftBytes -= ZEROS.length) {
    yield ZEROS.subarray(0, Math.min(leftBytes, ZEROS.length));
  }
}

/**
 * Whether every byte in [from, to) is zero. Compared piece by piece with zeros, which runs at the speed of memory; a view of
 * a few KiB would take longer to make.
 */
export function isZero(bytes: Buffer, from = 0, to = bytes.length): boolean {
  for (let start = from; start < to; start += ZEROS.length) {
    const end = Math.min(start + ZEROS.length, to);
    if (ZEROS.compare(bytes, start, end, 0, end - start) !== 0) return false;
  }
  return true;
}

export function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}

/** A u64 that must be a safe integer here; undefined where it is larger, as only damage or a forger makes it. */
export function readSafeU64(bytes: Buffer, offsetBytes: number): number | undefined {
  const value = bytes.readUInt32LE(offsetBytes + 4) * 0x1_0000_0000 + bytes.readUInt32LE(offsetBytes);
  return Number.isSafeInteger(value) ? value : undefined;
}

export function writeU64(bytes: Buffer, value: number, offsetBytes: number): void {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`not a safe size: ${value}`);
  bytes.writeUInt32LE(value % 0x1_0000_0000, offsetBytes);
  bytes.writeUInt32LE(Math.floor(value / 0x1_0000_0000), offsetBytes + 4);
}
