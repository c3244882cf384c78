/** The contract of an open file: what is written is read, ends and holes are what they should be. */
import assert from 'node:assert/strict';
import { SnapError } from '../../core/base/errors.ts';
import { inEachWorld } from './worlds.ts';

inEachWorld('what is written is read back, at any offset', async ({ open }) => {
  const file = await open('a');
  const content = Buffer.from(Array.from({ length: 10_000 }, (_, index) => index % 251));
  await file.write(content, 4090);
  const back = Buffer.alloc(content.length);
  assert.equal(await file.read(back, 4090), content.length);
  assert.deepEqual(back, content);
  await file.write(Buffer.from('xyz'), 8191);
  assert.equal(await file.read(back, 8190), content.length - 4100);
  assert.equal(back.toString('latin1', 1, 4), 'xyz');
  assert.equal(back[0], content[4100]);
  assert.equal(back[4], content[4104]);
});

inEachWorld('a read is short only at the end of the file', async ({ open }) => {
  const file = await open('a');
  await file.write(Buffer.from('0123456789'), 0);
  const target = Buffer.alloc(8, '.');
  assert.equal(await file.read(target, 6), 4);
  assert.equal(target.toString(), '6789....');
  assert.equal(await file.read(target, 10), 0);
  assert.equal(await file.read(target, 2 ** 45), 0);
  assert.equal(await file.read(Buffer.alloc(0), 0), 0);
});

inEachWorld('what was never written is zeros and takes no space', async ({ open }) => {
  const file = await open('a');
  await file.truncate(2 ** 40);
  await file.write(Buffer.from('end'), 2 ** 40 - 3);
  const target = Buffer.alloc(8, '.');
  assert.equal(await file.read(target, 2 ** 39), 8);
  assert.deepEqual(target, Buffer.alloc(8));
  assert.equal(await file.read(target, 2 ** 40 - 8), 8);
  assert.equal(target.toString('latin1'), '\0\0\0\0\0end');
  const stat = await file.stat();
  assert.equal(stat.sizeBytes, 2 ** 40);
  assert.ok(stat.allocatedBytes < 2 ** 20);
});

inEachWorld('what a truncation cut off does not come back', async ({ open }) => {
  const file = await open('a');
  await file.write(Buffer.alloc(10_000, 'x'), 0);
  await file.truncate(5000);
  await file.truncate(10_000);
  const target = Buffer.alloc(10_000);
  assert.equal(await file.read(target, 0), 10_000);
  assert.deepEqual(target, Buffer.concat([Buffer.alloc(5000, 'x'), Buffer.alloc(5000)]));
  await file.truncate(0);
  assert.equal((await file.stat()).sizeBytes, 0);
});

inEachWorld('a write of nothing neither fails nor makes the file longer', async ({ open }) => {
  const file = await open('a');
  await file.write(Buffer.alloc(0), 100);
  assert.equal((await file.stat()).sizeBytes, 0);
});

inEachWorld('reads and writes may run at the same time', async ({ open }) => {
  const file = await open('a');
  const parts = Array.from({ length: 50 }, (_, index) => index);
  await Promise.all(parts.map((index) => file.write(Buffer.alloc(5000, index), index * 5000)));
  await Promise.all(
    parts.map(async (index) => {
      const target = Buffer.alloc(5000, 255);
      assert.equal(await file.read(target, index * 5000), 5000);
      assert.deepEqual(target, Buffer.alloc(5000, index));
    }),
  );
});

inEachWorld('flushing succeeds, on a file opened for reading too', async ({ open }) => {
  const file = await open('a');
  await file.syncData();
  await file.syncAll();
  await (await open('a', 'read')).syncAll();
});

inEachWorld(
  'a write to a file opened for reading fails with path, offset and errno',
  async ({ at, open }) => {
    await open('a');
    const file = await open('a', 'read');
    await assert.rejects(file.write(Buffer.from('x'), 4096), {
      code: 'io',
      errno: 'EBADF',
      path: at('a'),
      offsetBytes: 4096,
      message: `cannot write ${at('a')} at offset 4096: bad file descriptor (EBADF)`,
    });
    await assert.rejects(file.truncate(0), { code: 'io', errno: 'EINVAL', path: at('a') });
  },
);

inEachWorld(
  'an offset or size that is no whole number is refused, and nothing is changed',
  async ({ open }) => {
    const file = await open('a');
    await file.write(Buffer.from('kept'), 0);
    const wrong: unknown[] = [
      -1,
      Number.NaN,
      0.5,
      2 ** 53,
      Number.POSITIVE_INFINITY,
      undefined,
      null,
      '1',
      1n,
    ];
    for (const value of wrong) {
      await assert.rejects(() => file.write(Buffer.from('lost'), value as number), SnapError);
      await assert.rejects(() => file.read(Buffer.alloc(4), value as number), SnapError);
      await assert.rejects(() => file.truncate(value as number), SnapError);
    }
    await assert.rejects(() => file.write(Buffer.from('lost'), 2 ** 53 - 2), SnapError);
    const target = Buffer.alloc(10);
    assert.equal(await file.read(target, 0), 4);
    assert.equal(target.toString('latin1', 0, 4), 'kept');
  },
);

inEachWorld('a closed file refuses everything, and may be closed again', async ({ open }) => {
  const file = await open('a');
  await file.close();
  const closed = { code: 'io', errno: 'EBADF' };
  await assert.rejects(file.read(Buffer.alloc(1), 0), closed);
  await assert.rejects(file.write(Buffer.alloc(1), 0), closed);
  await assert.rejects(file.stat(), closed);
  await assert.rejects(file.syncData(), closed);
  assert.throws(() => file.tryLock(0, 'shared'), closed);
  assert.throws(() => file.unlock(0), closed);
  await file.close();
});

inEachWorld('a close waits for what is in flight', async ({ at, files, open }) => {
  const file = await open('a');
  const writes = Array.from({ length: 20 }, (_, index) =>
    file.write(Buffer.alloc(100_000, 1), index * 100_000),
  );
  await file.close();
  // Opened at once, so that it would get the number of a descriptor closed too early.
  const other = await files.open(at('b'), 'create');
  await Promise.all(writes);
  assert.equal((await other.stat()).sizeBytes, 0);
  await other.close();
  assert.equal((await files.stat(at('a')))?.sizeBytes, 2_000_000);
});
