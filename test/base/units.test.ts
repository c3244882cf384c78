/** Sizes, counts and seconds: every accepted form with its exact value, and what must be refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { hasCode } from '../../core/base/errors.ts';
import { formatSize, parseCount, parseSeconds, parseSize } from '../../core/base/units.ts';

const SIZES: readonly (readonly [string, number])[] = [
  ['0', 0],
  ['1', 1],
  ['007', 7],
  ['512', 512],
  ['4k', 4096],
  ['64K', 65536],
  ['64KiB', 65536],
  ['64kib', 65536],
  ['64KB', 64000],
  ['64kB', 64000],
  ['1M', 1048576],
  ['1MiB', 1048576],
  ['1mb', 1000000],
  ['1.5G', 1610612736],
  ['1.50G', 1610612736],
  ['1.5GB', 1500000000],
  ['2T', 2199023255552],
  ['2TB', 2000000000000],
  ['1P', 1125899906842624],
  ['1PB', 1000000000000000],
  ['0.5K', 512],
  ['0.0009765625K', 1],
  ['1.0', 1],
  // 1.001 * 1000 and 4.35 * 1000000 are no whole numbers in floating point.
  ['1.001KB', 1001],
  ['4.35MB', 4350000],
  ['9007199254740992', 2 ** 53],
  ['9007199254740991', 2 ** 53 - 1],
  ['8P', 2 ** 53],
  ['7.99999999999999911182158029987476766109466552734375P', 2 ** 53 - 1],
];

const BAD_SIZES = [
  ...[
    '',
    ' ',
    '12Q',
    'K',
    '-1',
    '+1',
    ' 1',
    '1 ',
    '1 K',
    '1\n',
    '1e3',
    '1E',
    '0x10',
    '1_000',
    '1,5G',
    '.5G',
    '1.G',
  ],
  ...['1.5', '1.3K', '0.1K', '1.0005KB', '1B', '1Ki', '1KK', '1.2.3K', '٣', 'NaN', 'Infinity', 'unlimited'],
  ...['9007199254740993', '8.1P', '9P', '9007199254740.993KB', '99999999999999999999999999'],
];

test('parseSize takes every form of the contract exactly', () => {
  for (const [text, sizeBytes] of SIZES) assert.equal(parseSize(text), sizeBytes, text);
});

test('parseSize refuses everything else as usage, naming it, with the forms as the hint', () => {
  for (const text of BAD_SIZES) {
    assert.throws(
      () => parseSize(text),
      (error) =>
        hasCode(error, 'usage') && error.message.startsWith(JSON.stringify(text)) && error.hint !== undefined,
      text,
    );
  }
  assert.throws(() => parseSize('12Q'), { message: '"12Q" is not a size' });
  assert.throws(() => parseSize('1.3K'), { message: '"1.3K" is not a whole number of bytes' });
  assert.throws(() => parseSize('9P'), { message: '"9P" is too large for a size' });
});

test('a number of bytes means itself, and any size shifted by its unit means the same', () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), (sizeBytes) => {
      assert.equal(parseSize(String(sizeBytes)), sizeBytes);
      const digits = String(sizeBytes).padStart(4, '0');
      assert.equal(parseSize(`${digits.slice(0, -3)}.${digits.slice(-3)}KB`), sizeBytes);
    }),
  );
});

test('formatSize reads as du -h does, rounded up', () => {
  const cases: readonly (readonly [number, string])[] = [
    [0, '0'],
    [1, '1'],
    [1000, '1000'],
    [1023, '1023'],
    [1024, '1.0K'],
    [1025, '1.1K'],
    [4096, '4.0K'],
    [10138, '10K'],
    [10240, '10K'],
    [10241, '11K'],
    [65536, '64K'],
    [1023 * 1024, '1023K'],
    [1024 ** 2 - 1, '1.0M'],
    [1024 ** 2, '1.0M'],
    [1.5 * 1024 ** 3, '1.5G'],
    [3 * 1024 ** 4, '3.0T'],
    [2 ** 53, '8.0P'],
  ];
  for (const [bytes, text] of cases) assert.equal(formatSize(bytes), text, String(bytes));
});

test('what formatSize shows is never less than the size, and at most a tenth more', () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), (bytes) => {
      const [, digits = '', letter = ''] = /^([\d.]+)([KMGTP]?)$/.exec(formatSize(bytes)) ?? [];
      const shownBytes = Number(digits) * 1024 ** ('KMGTP'.indexOf(letter || '-') + 1);
      // Tenths are not exact in floating point: one part in 2^50 is let pass.
      assert.ok(
        shownBytes * (1 + 2 ** -50) >= bytes && shownBytes <= bytes * 1.1,
        `${bytes}: ${digits}${letter}`,
      );
    }),
  );
});

test('parseCount takes whole numbers from 1 and unlimited', () => {
  assert.equal(parseCount('1'), 1);
  assert.equal(parseCount('007'), 7);
  assert.equal(parseCount('unlimited'), Number.POSITIVE_INFINITY);
  for (const text of ['', '0', '00', '-1', '+1', '1.5', '1e3', ' 1', '0x1', 'all', 'Unlimited', 'Infinity']) {
    assert.throws(
      () => parseCount(text),
      { code: 'usage', message: `${JSON.stringify(text)} is not a count` },
      text,
    );
  }
});

test('parseSeconds gives milliseconds', () => {
  const cases: readonly (readonly [string, number])[] = [
    ['0', 0],
    ['60', 60000],
    ['0.5', 500],
    ['0.07', 70],
    ['1.001', 1001],
    ['0.0001', 0.1],
  ];
  for (const [text, milliseconds] of cases) assert.equal(parseSeconds(text), milliseconds, text);
  for (const text of ['', '-1', '+1', '1e3', '.5', '1.', ' 1', '1s', 'Infinity', 'NaN', '0x1']) {
    assert.throws(() => parseSeconds(text), { code: 'usage' }, text);
  }
});
