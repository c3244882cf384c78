/** Images with holes: they are not read, and everything reads as if they were. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compareWithOrigin } from '../../core/snapshot/compare.ts';
import { readSnapshot } from '../../core/snapshot/read.ts';
import { verifySnapshots } from '../../core/snapshot/verify.ts';
import { MemoryHost } from '../sim/memory-host.ts';
import { testContext } from '../support/context.ts';
import { CollectingSink, create, IMAGE, makeImage, noise, read, write } from '../support/image.ts';

const MIB = 1 << 20;
const SIZE_BYTES = 300 * MIB;
const PLACES = [0, 70 * MIB + 12_345, 71 * MIB, 200 * MIB, SIZE_BYTES - 5000];

/** Data in a few places, a snapshot, and then other data in some of them and in holes. */
async function sparseImage(): Promise<{ host: MemoryHost; frozen: Buffer; present: Buffer }> {
  const host = new MemoryHost();
  await makeImage(host, SIZE_BYTES);
  const frozen = Buffer.alloc(SIZE_BYTES);
  for (const [index, place] of PLACES.entries()) {
    const data = noise(index, 5000);
    data.copy(frozen, place);
    await write(testContext(host), place, data);
  }
  await create(testContext(host), 'a');
  const present = Buffer.from(frozen);
  for (const place of [70 * MIB, 130 * MIB + 7, 130 * MIB + 100_000, 299 * MIB]) {
    const data = noise(place, 70_000);
    data.copy(present, place);
    await write(testContext(host), place, data);
  }
  return { host, frozen, present };
}

test('a snapshot of an image with holes reads as it was, from anywhere, and so does the image', async () => {
  const { host, frozen, present } = await sparseImage();
  const context = testContext(host);
  assert.ok((await read(context, 'a')).equals(frozen));
  assert.ok((await read(context)).equals(present));
  const ranges = [
    [1, 69 * MIB],
    [5001, 64 * MIB],
    [70 * MIB + 12_344, 100 * MIB],
    [129 * MIB + 3, 2 * MIB],
    [72 * MIB + 1, 1],
    [SIZE_BYTES - 1, 1],
  ] as const;
  for (const [offsetBytes, lengthBytes] of ranges) {
    const [until, options] = [offsetBytes + lengthBytes, { offsetBytes, lengthBytes }];
    assert.ok((await read(context, 'a', options)).equals(frozen.subarray(offsetBytes, until)));
    assert.ok((await read(context, undefined, options)).equals(present.subarray(offsetBytes, until)));
  }
  assert.deepEqual((await verifySnapshots(context, IMAGE, [])).findings, []);
});

test('of a hole nothing is read, and a sink that can leave it out is given it as one', async () => {
  const { host, frozen } = await sparseImage();
  let readBytes = 0;
  host.files.onOperation = ({ kind, lengthBytes = 0 }) => {
    if (kind === 'read') readBytes += lengthBytes;
  };
  const pieces: (Buffer | number)[] = [];
  const sink = {
    write: async (chunk: Buffer) => void pieces.push(Buffer.from(chunk)),
    writeZeros: async (lengthBytes: number) => void pieces.push(lengthBytes),
  };
  const options = { offsetBytes: 0, allowModifiedOrigin: false, digest: true };
  const summary = await readSnapshot(testContext(host), { image: IMAGE, name: 'a' }, options, sink);
  assert.ok(readBytes < 20 * MIB, `${readBytes} bytes were read`);
  const whole = Buffer.concat(
    pieces.map((piece) => (typeof piece === 'number' ? Buffer.alloc(piece) : piece)),
  );
  assert.ok(whole.equals(frozen));
  assert.ok(pieces.filter((piece) => typeof piece === 'number').length >= 4);
  const plain = new CollectingSink();
  const again = await readSnapshot(testContext(host), { image: IMAGE, name: 'a' }, options, plain);
  assert.equal(summary.digest, again.digest);
});

test('a hole that is filled while it is streamed reads as zeros to the end', async () => {
  const { host, frozen } = await sparseImage();
  const sink = new CollectingSink(async (count) => {
    if (count === 2) await write(testContext(host.session()), 0, noise(9, 100 * MIB));
  });
  const options = { offsetBytes: 0, allowModifiedOrigin: false, digest: false };
  await readSnapshot(testContext(host), { image: IMAGE, name: 'a' }, options, sink);
  assert.ok(sink.bytes().equals(frozen));
});

test('what differs from the origin is counted across holes', async () => {
  const { host, frozen, present } = await sparseImage();
  const [difference] = await compareWithOrigin(testContext(host), IMAGE, ['a']);
  let bytes = 0;
  for (let at = 0; at < frozen.length; at += MIB) {
    const [old, now] = [frozen.subarray(at, at + MIB), present.subarray(at, at + MIB)];
    if (!old.equals(now)) for (const [index, byte] of old.entries()) if (byte !== now[index]) bytes += 1;
  }
  assert.equal(difference?.bytesChanged, bytes);
});
