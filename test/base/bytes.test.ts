/** Zeros are told from anything else, wherever the one byte stands that is none. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isZero } from '../../core/base/bytes.ts';

test('only zeros are zeros, of any length', () => {
  for (const lengthBytes of [0, 1, 100, 4096, 65_536, 1 << 20, (1 << 20) + 1, (1 << 21) + 77]) {
    const bytes = Buffer.alloc(lengthBytes);
    assert.ok(isZero(bytes));
    for (const at of lengthBytes === 0 ? [] : [0, lengthBytes >>> 1, lengthBytes - 1]) {
      bytes[at] = 1;
      assert.ok(!isZero(bytes), `${at} of ${lengthBytes}`);
      bytes[at] = 0;
    }
  }
});
