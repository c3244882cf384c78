/** Records that say where each piece goes: however they overlap and are batched, as if each were written by itself. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { addExtent, type Extent, endOf, leadingExtents } from '../../core/snapshot/extents.ts';
import { type InputBatch, recordBatches } from '../../core/snapshot/write-input.ts';
import { PACE } from '../../core/store/append.ts';
import { noise } from '../support/image.ts';

const signal = new AbortController().signal;

function encode(records: readonly Extent[]): Buffer {
  return Buffer.concat(
    records.flatMap(({ offsetBytes, data }) => {
      const header = Buffer.alloc(16);
      header.writeBigUInt64LE(BigInt(offsetBytes), 0);
      header.writeBigUInt64LE(BigInt(data.length), 8);
      return [header, data];
    }),
  );
}

/** Gives at most `pieceBytes` at a time. */
function sourceOf(input: Buffer, pieceBytes = input.length) {
  let at = 0;
  const read = async (target: Buffer) => {
    const got = input.copy(target, 0, at, Math.min(input.length, at + pieceBytes));
    at += got;
    return got;
  };
  return { read };
}

function isAscending(extents: readonly Extent[]): boolean {
  return extents.every(
    (extent, index) => index === 0 || endOf(extents[index - 1] ?? extent) <= extent.offsetBytes,
  );
}

const RECORDS = fc.array(fc.record({ offsetBytes: fc.nat(60), lengthBytes: fc.nat(30) }), { maxLength: 12 });

test('of pieces that overlap the later one counts, and they end up ascending', () => {
  fc.assert(
    fc.property(RECORDS, (records) => {
      const image = Buffer.alloc(100);
      const extents: Extent[] = [];
      records.forEach(({ offsetBytes, lengthBytes }, index) => {
        image.fill(index + 1, offsetBytes, offsetBytes + lengthBytes);
        addExtent(extents, { offsetBytes, data: Buffer.alloc(lengthBytes, index + 1) });
      });
      assert.ok(isAscending(extents));
      assert.ok(extents.every(({ data }) => data.length > 0));
      const written = Buffer.alloc(100);
      for (const { offsetBytes, data } of extents) data.copy(written, offsetBytes);
      assert.ok(written.equals(image));
    }),
    { numRuns: 3000 },
  );
});

test('records longer than a batch, many in one, and pieces of input that end anywhere', async () => {
  const long = noise(1, PACE.batchBytes + 5000);
  const records: Extent[] = [
    { offsetBytes: 100, data: long },
    { offsetBytes: 7, data: Buffer.alloc(0) },
    ...Array.from({ length: 9000 }, (_, index) => ({
      offsetBytes: (index * 7919) % 40_000,
      data: noise(index, 3),
    })),
    { offsetBytes: 50, data: noise(2, 600) },
  ];
  const expected = Buffer.alloc(PACE.batchBytes + 60_000);
  for (const { offsetBytes, data } of records) data.copy(expected, offsetBytes);
  const written = Buffer.alloc(expected.length);
  const range = { offsetBytes: 0, endBytes: expected.length, batchBytes: PACE.batchBytes, signal };
  let readBytes = 0;
  for await (const batch of recordBatches(sourceOf(encode(records), 4001), range)) {
    assert.ok(isAscending(batch.extents));
    for (const { offsetBytes, data } of batch.extents) data.copy(written, offsetBytes);
    readBytes += batch.readBytes;
  }
  assert.ok(written.equals(expected));
  assert.equal(
    readBytes,
    records.reduce((sum, { data }) => sum + data.length, 0),
  );
});

test('input that ends inside of a record, or whose header says nonsense, is refused after what was whole', async () => {
  const whole = { offsetBytes: 10, data: Buffer.from('abc') };
  const two = encode([whole, { offsetBytes: 20, data: Buffer.from('defg') }]);
  const huge = Buffer.concat([encode([whole]), Buffer.alloc(16, 0xff), Buffer.alloc(100)]);
  for (const [input, message] of [
    [two.subarray(0, -1), /ends inside of record 1$/],
    [two.subarray(0, 25), /ends inside of record 1$/],
    [huge, /^record 1 of the input would be 18446744073709551615 bytes at/],
  ] as const) {
    const batches: InputBatch[] = [];
    await assert.rejects(
      async () => {
        const range = { offsetBytes: 0, endBytes: 1000, batchBytes: PACE.batchBytes, signal };
        for await (const batch of recordBatches(sourceOf(input), range)) batches.push(batch);
      },
      { code: 'refused', message },
    );
    assert.deepEqual(
      batches.flatMap(({ extents }) => extents),
      [whole],
    );
  }
});

test('a commit takes as many pieces as its clusters allow, and at least one', () => {
  const at = (offsetBytes: number, lengthBytes: number) => ({ offsetBytes, data: Buffer.alloc(lengthBytes) });
  const cases: readonly [extents: Extent[], mostBytes: number, taken: number][] = [
    [[at(0, 10), at(100, 10), at(200, 10)], 200, 2],
    [[at(0, 10), at(20, 10), at(90, 20)], 200, 3],
    [[at(0, 10), at(20, 10), at(90, 20)], 100, 2],
    [[at(0, 1000), at(2000, 1)], 200, 1],
    [[at(0, 1)], 1, 1],
    [[], 100, 0],
  ];
  for (const [extents, mostBytes, taken] of cases) {
    assert.equal(leadingExtents(extents, 100, mostBytes).length, taken);
  }
});
