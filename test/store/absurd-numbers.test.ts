/**
 * Records that pass their check and hold numbers that nothing of ours ever reaches: they are as good as torn. Whoever
 * counted on from them would come past what a number can hold.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NIL_UUID } from '../../core/base/uuid.ts';
import { xxh64 } from '../../core/base/xxh64.ts';
import { EMPTY_FIGURE } from '../../core/store/figure.ts';
import { decodeFlushRecord, encodeFlushRecord } from '../../core/store/flush-record.ts';
import { FLUSH_RECORD, MAX_CLUSTER_COUNT, MAX_SEQUENCE, STATE } from '../../core/store/layout.ts';
import { decodeState, encodeState, type State, unknownMark } from '../../core/store/state.ts';

const NEW_STATE: State = {
  sidecarUuid: '01020304-0506-4708-890a-0b0c0d0e0f10',
  bootId: Buffer.alloc(16),
  phase: 'open',
  generation: 1,
  batch: 1,
  repairs: 1,
  originSizeBytes: 1,
  originTimeNs: 1n,
  mark: unknownMark(false),
  bitsDirty: false,
  figureStoreUuid: NIL_UUID,
  figure: EMPTY_FIGURE,
  figureSequence: 1,
};

/** The same bytes with another number at `at`, and a check that holds. */
function withNumber(bytes: Buffer, at: number, value: number): Buffer {
  bytes.writeBigUInt64LE(BigInt(value), at);
  bytes.writeBigUInt64LE(xxh64(bytes.subarray(0, -8)), bytes.length - 8);
  return bytes;
}

/** The numbers of a record have to do with one another: these leave room for each. */
const FIGURE = { ...EMPTY_FIGURE, batch: MAX_SEQUENCE, count: MAX_CLUSTER_COUNT };
const LARGEST = { sequence: 1, known: FIGURE, made: FIGURE, ownSlotCount: 0, zeroCount: 0 };

const RECORD_LIMITS = {
  sequence: MAX_SEQUENCE,
  knownBatch: MAX_SEQUENCE,
  knownCount: MAX_CLUSTER_COUNT,
  madeBatch: MAX_SEQUENCE,
  madeCount: MAX_CLUSTER_COUNT,
  ownSlotCount: MAX_CLUSTER_COUNT,
  zeroCount: MAX_CLUSTER_COUNT,
} as const;

for (const [field, most] of Object.entries(RECORD_LIMITS)) {
  test(`a flush record with ${field} over ${most} is none`, () => {
    const { at } = FLUSH_RECORD.fields[field as keyof typeof RECORD_LIMITS];
    const decoded = (value: number) =>
      decodeFlushRecord(withNumber(encodeFlushRecord(LARGEST, NIL_UUID), at, value), NIL_UUID);
    assert.notEqual(decoded(most), undefined);
    assert.equal(decoded(most + 1), undefined);
    assert.equal(decoded(Number.MAX_SAFE_INTEGER), undefined);
  });
}

const STATE_LIMITS = {
  generation: MAX_SEQUENCE,
  batch: MAX_SEQUENCE,
  repairs: MAX_SEQUENCE,
  markBatch: MAX_SEQUENCE,
  figureBatch: MAX_SEQUENCE,
  figureCount: MAX_CLUSTER_COUNT,
  figureSequence: MAX_SEQUENCE,
} as const;

for (const [field, most] of Object.entries(STATE_LIMITS)) {
  test(`a state with ${field} over ${most} is none`, () => {
    const { at } = STATE.fields[field as keyof typeof STATE_LIMITS];
    const decoded = (value: number) => decodeState(withNumber(encodeState(NEW_STATE), at, value), 'a state');
    assert.notEqual(decoded(most), undefined);
    assert.equal(decoded(most + 1), undefined);
    assert.equal(decoded(Number.MAX_SAFE_INTEGER), undefined);
  });
}
