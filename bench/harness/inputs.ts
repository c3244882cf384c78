/** Inputs of the same shape for us and for the peers: places chosen at random, the same in every run. */
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs';

/** `count` different numbers below `total`, in random order. */
export function choose(count: number, total: number): number[] {
  const random = randomNumbers();
  const chosen = new Set<number>();
  while (chosen.size < Math.min(count, total)) chosen.add(Math.floor(random() * total));
  return [...chosen];
}

/** Numbers in [0, 1) by xorshift32, the same for every call. */
export function randomNumbers(): () => number {
  let state = 0x9e3779b9;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/** Overwrites a file with noise, `lengthBytes` at each place. */
export function scatter(path: string, offsetsBytes: readonly number[], lengthBytes: number): void {
  const fd = openSync(path, 'r+');
  try {
    for (const offsetBytes of offsetsBytes)
      writeSync(fd, randomBytes(lengthBytes), 0, lengthBytes, offsetBytes);
  } finally {
    closeSync(fd);
  }
}

/** The input of `qemu-io` that writes to the same places, with one flush at the end. */
export function writeQemuCommands(path: string, offsetsBytes: readonly number[], lengthBytes: number): void {
  const lines = offsetsBytes.map((offsetBytes) => `write -q -P 90 ${offsetBytes} ${lengthBytes}\n`);
  writeFileSync(path, `${lines.join('')}flush\n`);
}

/** The input of `snap-write --extents` that does: offset, length, data. */
export function writeRecords(path: string, offsetsBytes: readonly number[], lengthBytes: number): void {
  const fd = openSync(path, 'w');
  try {
    for (const offsetBytes of offsetsBytes) {
      const head = Buffer.alloc(16);
      head.writeBigUInt64LE(BigInt(offsetBytes), 0);
      head.writeBigUInt64LE(BigInt(lengthBytes), 8);
      writeSync(fd, Buffer.concat([head, randomBytes(lengthBytes)]));
    }
  } finally {
    closeSync(fd);
  }
}
