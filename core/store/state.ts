/**
 * `state`: the small binary file that every command reads under the lock and every change rewrites. It says
 * which catalog and batch are current, so that nobody believes an old cache; what was in flight, so that a killed
 * command's work is repaired; and what the origin's size and time were after our last write, so that a change from
 * outside shows. It is rewritten in place and mostly not flushed: after a power loss it may be old or torn, and
 * repair does not need it. What of it must be durable is flushed where that is said.
 */

import { readSafeU64, writeU64 } from '../base/bytes.ts';
import { SnapError } from '../base/errors.ts';
import { NIL_UUID, uuidBytes, uuidText } from '../base/uuid.ts';
import { xxh64 } from '../base/xxh64.ts';
import { EMPTY_FIGURE, type Figure } from './figure.ts';
import { FORMAT_VERSION, MAX_CLUSTER_COUNT, MAX_SEQUENCE, STATE, STATE_FLAG } from './layout.ts';

/** What is being done to which store. Found by anyone, it means repair is due. */
export interface Mark {
  /** The number of the batch in flight; 0 where only "something" is known. */
  readonly batch: number;
  readonly storeUuid: string;
  readonly firstCluster: number;
  readonly lastCluster: number;
  /** Whether the origin's time may be ours though `state` does not have it yet. */
  readonly writesOrigin: boolean;
}

/** Something was in flight, and no more is known: no entry may be taken for one of an unfinished batch. */
export function unknownMark(writesOrigin: boolean): Mark {
  return { batch: 0, storeUuid: NIL_UUID, firstCluster: 0, lastCluster: 0, writesOrigin };
}

/**
 * - `closed`: all that was changed is on disk, and the origin's time is its last
 * - `opening`: flushed, so this is what a failed flush or a kill may bring back: anything may have happened since
 * - `open`: things are being changed in this boot, and `opening` is durable
 */
export type Phase = 'closed' | 'opening' | 'open';

export interface State {
  readonly sidecarUuid: string;
  /** The boot in which the phase was entered; the mark is of that boot too. */
  readonly bootId: Buffer;
  readonly phase: Phase;
  readonly generation: number;
  readonly batch: number;
  /** Raised by every repair, so that what was proven before it is proven again. */
  readonly repairs: number;
  readonly originSizeBytes: number;
  readonly originTimeNs: bigint;
  readonly mark: Mark | undefined;
  /** Bits of the store that receives copies were set since they were last flushed. */
  readonly bitsDirty: boolean;
  /** What the store that receives copies was known to have, flushed, when this was written. */
  readonly figureStoreUuid: string;
  readonly figure: Figure;
  /** The sequence of that store's flush record that is known to be on disk; 0 where that is not known. */
  readonly figureSequence: number;
}

const F = STATE.fields;

export function encodeState(state: State): Buffer {
  const bytes = Buffer.alloc(STATE.sizeBytes);
  const mark = state.mark ?? unknownMark(false);
  bytes.write(STATE.magicText, F.magic.at, 'latin1');
  bytes.writeUInt32LE(FORMAT_VERSION, F.version.at);
  const flags =
    (state.phase === 'closed' ? 0 : STATE_FLAG.open) |
    (state.phase === 'open' ? STATE_FLAG.confirmed : 0) |
    (state.mark ? STATE_FLAG.mark : 0) |
    (mark.writesOrigin ? STATE_FLAG.markWritesOrigin : 0) |
    (state.bitsDirty ? STATE_FLAG.bitsDirty : 0);
  bytes.writeUInt32LE(flags, F.flags.at);
  uuidBytes(state.sidecarUuid).copy(bytes, F.sidecarUuid.at);
  state.bootId.copy(bytes, F.bootId.at, 0, F.bootId.bytes);
  writeU64(bytes, state.generation, F.generation.at);
  writeU64(bytes, state.batch, F.batch.at);
  writeU64(bytes, state.repairs, F.repairs.at);
  writeU64(bytes, state.originSizeBytes, F.originSizeBytes.at);
  bytes.writeBigInt64LE(state.originTimeNs, F.originTimeNs.at);
  writeU64(bytes, mark.batch, F.markBatch.at);
  uuidBytes(mark.storeUuid).copy(bytes, F.markStoreUuid.at);
  writeU64(bytes, mark.firstCluster, F.markFirstCluster.at);
  writeU64(bytes, mark.lastCluster, F.markLastCluster.at);
  uuidBytes(state.figureStoreUuid).copy(bytes, F.figureStoreUuid.at);
  writeU64(bytes, state.figure.batch, F.figureBatch.at);
  writeU64(bytes, state.figure.count, F.figureCount.at);
  bytes.writeUInt32LE(state.figure.xorLow, F.figureXor.at);
  bytes.writeUInt32LE(state.figure.xorHigh, F.figureXor.at + 4);
  writeU64(bytes, state.figureSequence, F.figureSequence.at);
  bytes.writeBigUInt64LE(xxh64(bytes.subarray(0, F.check.at)), F.check.at);
  return bytes;
}

function phaseOf(flags: number): Phase {
  if ((flags & STATE_FLAG.open) === 0) return 'closed';
  return (flags & STATE_FLAG.confirmed) === 0 ? 'opening' : 'open';
}

/** Whether the last change is known to have ended, or nothing has been changed since. */
export function isSettled(state: State | undefined, bootId: Buffer): state is State {
  if (state === undefined || state.mark !== undefined) return false;
  return state.phase === 'closed' || (state.phase === 'open' && state.bootId.equals(bootId));
}

/**
 * The state, or undefined where the bytes are torn or overwritten: that means repair, not damage.
 * @throws `newer-version`
 */
export function decodeState(bytes: Buffer, path: string): State | undefined {
  if (bytes.length < STATE.sizeBytes || bytes.toString('latin1', 0, 8) !== STATE.magicText) return undefined;
  if (bytes.readBigUInt64LE(F.check.at) !== xxh64(bytes.subarray(0, F.check.at))) return undefined;
  if (bytes.readUInt32LE(F.version.at) > FORMAT_VERSION) {
    throw new SnapError('newer-version', `${path}: made by a newer imgsnap`, {
      path,
      hint: 'use that version',
    });
  }
  const number = (field: { at: number }) => readSafeU64(bytes, field.at) ?? Number.NaN;
  const flags = bytes.readUInt32LE(F.flags.at);
  const mark: Mark = {
    batch: number(F.markBatch),
    storeUuid: uuidText(bytes.subarray(F.markStoreUuid.at)),
    firstCluster: number(F.markFirstCluster),
    lastCluster: number(F.markLastCluster),
    writesOrigin: (flags & STATE_FLAG.markWritesOrigin) !== 0,
  };
  const state: State = {
    sidecarUuid: uuidText(bytes.subarray(F.sidecarUuid.at)),
    bootId: Buffer.from(bytes.subarray(F.bootId.at, F.bootId.at + F.bootId.bytes)),
    phase: phaseOf(flags),
    generation: number(F.generation),
    batch: number(F.batch),
    repairs: number(F.repairs),
    originSizeBytes: number(F.originSizeBytes),
    originTimeNs: bytes.readBigInt64LE(F.originTimeNs.at),
    mark: (flags & STATE_FLAG.mark) !== 0 ? mark : undefined,
    bitsDirty: (flags & STATE_FLAG.bitsDirty) !== 0,
    figureStoreUuid: uuidText(bytes.subarray(F.figureStoreUuid.at)),
    figure: {
      ...EMPTY_FIGURE,
      batch: number(F.figureBatch),
      count: number(F.figureCount),
      xorLow: bytes.readUInt32LE(F.figureXor.at),
      xorHigh: bytes.readUInt32LE(F.figureXor.at + 4),
    },
    figureSequence: number(F.figureSequence),
  };
  const sequences = [state.generation, state.batch, state.repairs, state.figure.batch, state.figureSequence];
  const isSane =
    [state.originSizeBytes, mark.firstCluster, mark.lastCluster].every(Number.isSafeInteger) &&
    // False for what is no number.
    [...sequences, mark.batch].every((sequence) => sequence <= MAX_SEQUENCE) &&
    state.figure.count <= MAX_CLUSTER_COUNT;
  return isSane ? state : undefined;
}
