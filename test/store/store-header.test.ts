/** Headers that pass their check and cannot be ours all the same: they are damage, and not a failure of the program. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SnapError } from '../../core/base/errors.ts';
import { xxh64 } from '../../core/base/xxh64.ts';
import { STORE_HEADER } from '../../core/store/layout.ts';
import { decodeStoreHeader, encodeStoreHeader } from '../../core/store/store-header.ts';

const { clusterSizeBytes, check } = STORE_HEADER.fields;

for (const sizeBytes of [0, 1, 512, 2048, 4097, 12_288, 2 ** 25, 2 ** 32 - 1]) {
  test(`a header with clusters of ${sizeBytes} bytes is damage`, () => {
    const bytes = encodeStoreHeader({
      sidecarUuid: '01020304-0506-4708-890a-0b0c0d0e0f10',
      storeUuid: 'a1a2a3a4-a5a6-47a8-89aa-abacadaeafb0',
      snapshotNumber: 1,
      sizeBytes: Number.MAX_SAFE_INTEGER,
      clusterSizeBytes: 65_536,
    });
    bytes.writeUInt32LE(sizeBytes, clusterSizeBytes.at);
    bytes.writeBigUInt64LE(xxh64(bytes.subarray(0, check.at)), check.at);
    assert.throws(
      () => decodeStoreHeader(bytes, 'a store'),
      (error) => error instanceof SnapError && error.code === 'damage',
    );
  });
}
