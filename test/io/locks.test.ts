/** The contract of byte locks: between open files, not between processes, and gone with the file. */
import assert from 'node:assert/strict';
import { open as openHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  ACTIVE_LOCK_OFFSET_BYTES,
  inUseOffset,
  NEXT_LOCK_OFFSET_BYTES,
  REMOVAL_LOCK_OFFSET_BYTES,
} from '../../core/io/lock-offsets.ts';
import { dropRangeLock, tryRangeLock } from '../../core/io/range-lock.ts';
import { inEachWorld, makeScratch } from './worlds.ts';

const BYTE = ACTIVE_LOCK_OFFSET_BYTES;

inEachWorld('an exclusive lock keeps everyone else out, and only from its byte', async ({ open }) => {
  const [a, b] = [await open('a'), await open('a', 'update')];
  assert.equal(a.tryLock(BYTE, 'exclusive'), true);
  assert.equal(b.tryLock(BYTE, 'exclusive'), false);
  assert.equal(b.tryLock(BYTE, 'shared'), false);
  assert.equal(b.tryLock(BYTE - 1, 'exclusive'), true);
  assert.equal(b.tryLock(BYTE + 1, 'exclusive'), true);
  assert.equal((await open('b')).tryLock(BYTE, 'exclusive'), true, 'another file');
  b.unlock(BYTE);
  assert.equal(b.tryLock(BYTE, 'exclusive'), false, "nobody drops another's lock");
  a.unlock(BYTE);
  a.unlock(BYTE);
  assert.equal(b.tryLock(BYTE, 'exclusive'), true);
});

inEachWorld('shared locks go together, on files opened for reading too', async ({ open }) => {
  const writer = await open('a');
  const [a, b] = [await open('a', 'read'), await open('a', 'read')];
  assert.equal(a.tryLock(BYTE, 'shared'), true);
  assert.equal(b.tryLock(BYTE, 'shared'), true);
  assert.equal(writer.tryLock(BYTE, 'exclusive'), false);
  a.unlock(BYTE);
  assert.equal(writer.tryLock(BYTE, 'exclusive'), false);
  b.unlock(BYTE);
  assert.equal(writer.tryLock(BYTE, 'exclusive'), true);
});

inEachWorld('two locks on one open file do not exclude each other: the last kind holds', async ({ open }) => {
  const [a, b] = [await open('a'), await open('a', 'update')];
  assert.equal(a.tryLock(BYTE, 'exclusive'), true);
  assert.equal(a.tryLock(BYTE, 'shared'), true);
  assert.equal(b.tryLock(BYTE, 'shared'), true);
  assert.equal(a.tryLock(BYTE, 'exclusive'), false);
  assert.equal(b.tryLock(BYTE, 'exclusive'), false);
  b.unlock(BYTE);
  assert.equal(b.tryLock(BYTE, 'exclusive'), false, 'a failed conversion leaves the shared lock');
});

inEachWorld('a close drops the locks of that file and no others', async ({ open }) => {
  const [a, b, c] = [await open('a'), await open('a', 'update'), await open('a', 'update')];
  a.tryLock(BYTE, 'exclusive');
  b.tryLock(BYTE + 1, 'exclusive');
  await a.close();
  assert.equal(c.tryLock(BYTE, 'exclusive'), true);
  assert.equal(c.tryLock(BYTE + 1, 'exclusive'), false);
});

inEachWorld('locks belong to the file, not to its name', async ({ at, files, open }) => {
  const old = await open('a');
  old.tryLock(BYTE, 'exclusive');
  await files.rename(at('a'), at('b'));
  assert.equal((await open('b', 'update')).tryLock(BYTE, 'exclusive'), false);
  assert.equal((await open('a')).tryLock(BYTE, 'exclusive'), true);
});

inEachWorld('an exclusive lock needs a file open for writing', async ({ at, open }) => {
  await open('a');
  const file = await open('a', 'read');
  assert.throws(() => file.tryLock(BYTE, 'exclusive'), {
    code: 'io',
    errno: 'EBADF',
    path: at('a'),
    message: `cannot lock ${at('a')}: an exclusive lock needs a file open for writing (EBADF)`,
  });
});

inEachWorld('an offset that is no whole number locks nothing', async ({ open }) => {
  const [a, b] = [await open('a'), await open('a', 'update')];
  const wrong: unknown[] = [-1, Number.NaN, 0.5, 2 ** 53 - 1, 2 ** 53, undefined, null, '1', 1n, {}];
  for (const value of wrong) {
    assert.throws(() => a.tryLock(value as number, 'exclusive'), { code: 'io' });
    assert.throws(() => a.unlock(value as number), { code: 'io' });
  }
  for (const offsetBytes of [0, 1, BYTE, 2 ** 53 - 2])
    assert.equal(b.tryLock(offsetBytes, 'exclusive'), true);
});

test('a range lock takes nothing but a real descriptor and a known kind', async () => {
  const scratch = await makeScratch();
  const handle = await openHandle(join(scratch.path, 'a'), 'wx+');
  try {
    const wrong: unknown[] = [
      -1,
      Number.NaN,
      0.5,
      2 ** 31,
      undefined,
      null,
      String(handle.fd),
      BigInt(handle.fd),
    ];
    for (const value of wrong) {
      assert.throws(() => tryRangeLock(value as number, BYTE, 'shared', 'a'), { code: 'io', errno: 'EBADF' });
      assert.throws(() => dropRangeLock(value as number, BYTE, 'a'), { code: 'io', errno: 'EBADF' });
    }
    for (const kind of [undefined, null, true, 'Shared'] as unknown[]) {
      assert.throws(() => tryRangeLock(handle.fd, BYTE, kind as 'shared', 'a'), { code: 'io', path: 'a' });
    }
    assert.equal(tryRangeLock(handle.fd, BYTE, 'shared', 'a'), true);
  } finally {
    await handle.close();
    await scratch.remove();
  }
});

test('the offsets of all locks are apart, far out and exact', () => {
  const largest = inUseOffset(2 ** 50 - 1);
  const offsets = [
    NEXT_LOCK_OFFSET_BYTES,
    ACTIVE_LOCK_OFFSET_BYTES,
    REMOVAL_LOCK_OFFSET_BYTES,
    inUseOffset(0),
    inUseOffset(1),
    largest,
  ];
  assert.equal(new Set(offsets).size, offsets.length);
  for (const offsetBytes of offsets)
    assert.ok(offsetBytes >= 2 ** 52 && Number.isSafeInteger(offsetBytes + 1));
  assert.equal(largest - inUseOffset(2 ** 50 - 2), 1);
  for (const value of [-1, 0.5, Number.NaN, 2 ** 50, 1n, '1', undefined] as unknown[]) {
    assert.throws(() => inUseOffset(value as number), RangeError);
  }
});
