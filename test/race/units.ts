/**
 * What the racing writers write: units that say who wrote them, in which round, and where. A unit is its stamp again
 * and again, so that a mix of two, a piece of another place, and bytes that nobody wrote are all seen.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';

export const UNIT_BYTES = 16 << 10;
/** Behind the last unit; nobody writes there, and it makes the last cluster a short one. */
const TAIL = Buffer.alloc(4196, 'tail');

const STAMP_BYTES = 32;
const CHECK_AT = 16;
const MAGIC = 0x756e6974;
/** Units that the first image has as zeros: they take no slot when they are copied. */
const ZERO_EVERY = 5;

export interface Stamp {
  /** 0 is the image as it was made. */
  readonly writer: number;
  readonly round: number;
}

export const FIRST: Stamp = { writer: 0, round: 0 };

function stampBytes({ writer, round }: Stamp, unit: number): Buffer {
  const bytes = Buffer.alloc(STAMP_BYTES);
  bytes.writeUInt32LE(MAGIC, 0);
  bytes.writeUInt32LE(writer, 4);
  bytes.writeUInt32LE(round, 8);
  bytes.writeUInt32LE(unit, 12);
  createHash('sha256').update(bytes.subarray(0, CHECK_AT)).digest().copy(bytes, CHECK_AT, 0, 16);
  return bytes;
}

export function renderUnit(stamp: Stamp, unit: number): Buffer {
  if (stamp.writer === 0 && unit % ZERO_EVERY === 0) return Buffer.alloc(UNIT_BYTES);
  return Buffer.alloc(UNIT_BYTES, stampBytes(stamp, unit));
}

export function renderUnits(stamp: Stamp, firstUnit: number, count: number): Buffer {
  return Buffer.concat(Array.from({ length: count }, (_, at) => renderUnit(stamp, firstUnit + at)));
}

export function renderImage(units: number): Buffer {
  return Buffer.concat([renderUnits(FIRST, 0, units), TAIL]);
}

export function imageBytes(units: number): number {
  return units * UNIT_BYTES + TAIL.length;
}

/** Whose unit this is. Fails where it is nobody's, or not whole. */
export function parseUnit(bytes: Buffer, unit: number, what: string): Stamp {
  const stamp =
    bytes.readUInt32LE(0) === 0 ? FIRST : { writer: bytes.readUInt32LE(4), round: bytes.readUInt32LE(8) };
  if (!bytes.equals(renderUnit(stamp, unit))) {
    const head = bytes.subarray(0, STAMP_BYTES).toString('hex');
    assert.fail(`${what}: unit ${unit} is torn, or of another place; it begins with ${head}`);
  }
  return stamp;
}

/** Fails unless what stands behind the last unit is as it was made. */
export function checkTail(bytes: Buffer, what: string): void {
  assert.ok(bytes.equals(TAIL), `${what}: the bytes behind the last unit are others`);
}
