/** What is asked of the disk, and how often: seen by a hook on every operation. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { listImage } from '../../core/snapshot/list.ts';
import { readSnapshot } from '../../core/snapshot/read.ts';
import { PACE } from '../../core/store/append.ts';
import { MemoryHost } from '../sim/memory-host.ts';
import type { Operation, OperationKind } from '../sim/session.ts';
import { testContext } from '../support/context.ts';
import { create, IMAGE, makeImage, noise, write } from '../support/image.ts';

const MIB = 1 << 20;

/** Everything that `work` asks of the files. */
async function operationsOf(host: MemoryHost, work: () => Promise<unknown>): Promise<Operation[]> {
  const operations: Operation[] = [];
  host.files.onOperation = (operation) => {
    operations.push(operation);
  };
  try {
    await work();
  } finally {
    host.files.onOperation = undefined;
  }
  return operations;
}

function ofImage(operations: readonly Operation[], kind: OperationKind): Operation[] {
  return operations.filter((operation) => operation.kind === kind && operation.path === IMAGE);
}

function ofStores(operations: readonly Operation[], ...kinds: OperationKind[]): Operation[] {
  return operations.filter(({ kind, path }) => kinds.includes(kind) && path.endsWith('.cow'));
}

test('a large contiguous image is read in large calls, and each byte once', async () => {
  const host = new MemoryHost();
  const context = testContext(host);
  const sizeBytes = 64 * MIB;
  await makeImage(host, noise(1, sizeBytes));
  await create(context, 'a');
  await create(context, 'b');
  for (const name of ['a', undefined]) {
    const reference = name === undefined ? { image: IMAGE } : { image: IMAGE, name };
    const options = { offsetBytes: 0, allowModifiedOrigin: false, digest: false };
    const sink = { write: async () => undefined };
    const operations = await operationsOf(host, () => readSnapshot(context, reference, options, sink));
    const reads = ofImage(operations, 'read').map(({ lengthBytes = 0 }) => lengthBytes);
    assert.ok(Math.min(...reads) >= MIB, `a read of ${Math.min(...reads)} bytes`);
    assert.equal(
      reads.reduce((sum, length) => sum + length, 0),
      sizeBytes,
    );
  }
});

test('adjacent copied clusters are read in few calls', async () => {
  const host = new MemoryHost();
  const context = testContext(host);
  await makeImage(host, noise(1, 4 * MIB));
  await create(context, 'a', { clusterSizeBytes: 4096 });
  await write(context, 0, noise(2, 4 * MIB));
  const sink = { write: async () => undefined };
  const options = { offsetBytes: 0, allowModifiedOrigin: false, digest: false };
  const operations = await operationsOf(host, () =>
    readSnapshot(context, { image: IMAGE, name: 'a' }, options, sink),
  );
  assert.deepEqual(ofImage(operations, 'read'), []);
  const large = ofStores(operations, 'read').filter(({ lengthBytes = 0 }) => lengthBytes >= MIB);
  assert.equal(large.length, 4);
});

test('a write to clusters that were copied already neither reads the image nor touches a store', async () => {
  const host = new MemoryHost();
  const context = testContext(host);
  await makeImage(host, noise(1, MIB));
  await create(context, 'a');
  await write(context, 70_000, noise(2, 200_000));
  const operations = await operationsOf(host, () => write(context, 66_000, noise(3, 250_000)));
  assert.deepEqual(ofImage(operations, 'read'), []);
  assert.deepEqual(ofStores(operations, 'write', 'syncData', 'syncAll', 'truncate'), []);
  assert.equal(ofImage(operations, 'write').length, 1);
});

test('listing reads the catalog and headers, and nothing of images or slots', async () => {
  const host = new MemoryHost();
  const context = testContext(host);
  await makeImage(host, noise(1, MIB));
  await create(context, 'a');
  await write(context, 70_000, noise(2, 200_000));
  await create(context, 'b');
  const operations = await operationsOf(host, () => listImage(context, IMAGE));
  assert.deepEqual(ofImage(operations, 'read'), []);
  const ofEach = ofStores(operations, 'read').map(
    ({ offsetBytes = 0, lengthBytes = 0 }) => offsetBytes + lengthBytes,
  );
  assert.equal(ofEach.length, 6);
  assert.ok(Math.max(...ofEach) <= 3 * 4096, 'only the header and the flush records are read');
  const changes = operations.filter(({ kind }) => /write|sync|create|truncate|remove|rename/i.test(kind));
  assert.deepEqual(changes, []);
});

test('listing reads the last entry too, of an image whose last cluster is short, and no more of the table', async () => {
  const host = new MemoryHost();
  const context = testContext(host);
  const clusterSizeBytes = 4096;
  await makeImage(host, noise(1, 2000 * clusterSizeBytes + 5));
  await create(context, 'a', { clusterSizeBytes });
  await write(context, 1, noise(2, 1000 * clusterSizeBytes));
  await create(context, 'b');
  const operations = await operationsOf(host, () => listImage(context, IMAGE));
  const lengths = ofStores(operations, 'read').map(({ lengthBytes }) => lengthBytes);
  assert.deepEqual(lengths, [512, 128, 128, 32, 512, 128, 128]);
});

/** Without the end of the command, which flushes image and store once more. */
const batchesOnly = { sync: false };

test('a batch flushes the store once, before it writes to the image and after everything but bits', async () => {
  const host = new MemoryHost();
  const context = testContext(host);
  const image = noise(1, 4 * MIB);
  await makeImage(host, image);
  await create(context, 'a');
  const changed = Buffer.from(image);
  // Scattered: several extents, several runs, one batch.
  for (let at = 0; at < changed.length; at += 300_000) changed[at] = (changed[at] ?? 0) ^ 1;
  const operations = await operationsOf(host, () =>
    write(context, 0, changed, { delta: true, ...batchesOnly }),
  );
  assert.ok(ofImage(operations, 'write').length > 5);
  assert.equal(ofStores(operations, 'syncData', 'syncAll').length, 1);
  const flushedAt = operations.findIndex(({ kind, path }) => kind === 'syncData' && path.endsWith('.cow'));
  const writtenAt = operations.findIndex(({ kind, path }) => kind === 'write' && path === IMAGE);
  assert.ok(flushedAt < writtenAt, 'the image is written after the flush');
});

test('two batches flush twice', async () => {
  const host = new MemoryHost();
  const context = testContext(host);
  const sizeBytes = 2 * PACE.batchBytes;
  await makeImage(host, sizeBytes);
  await create(context, 'a');
  const pace = { ...PACE, flushAheadBytes: PACE.batchBytes };
  const operations = await operationsOf(host, () =>
    write(context, 0, noise(1, sizeBytes), { pace, ...batchesOnly }),
  );
  assert.equal(ofStores(operations, 'syncData', 'syncAll').length, 2);
  assert.equal(ofImage(operations, 'write').length, 2);
});

test('creating reads nothing of the image but whether it begins as a store does, and asks as much of a small one as of a huge one', async () => {
  const kinds: string[][] = [];
  const seconds: number[] = [];
  for (const sizeBytes of [MIB, 2 ** 43]) {
    const host = new MemoryHost();
    const context = testContext(host);
    await makeImage(host, sizeBytes);
    const first = await operationsOf(host, () => create(context, 'a'));
    const second = await operationsOf(host, () => create(context, 'b'));
    const reads = [first, second].map((operations) => ofImage(operations, 'read'));
    assert.deepEqual(
      reads.map((each) => each.map(({ lengthBytes }) => lengthBytes)),
      [[8], []],
    );
    assert.ok(
      [...first, ...second].every(({ kind, lengthBytes = 0 }) => kind !== 'write' || lengthBytes < 65_536),
    );
    kinds.push(first.map(({ kind, path }) => `${kind} ${path}`));
    seconds.push(second.length);
  }
  assert.deepEqual(kinds[0], kinds[1]);
  // A store that is sealed is proven first, and so is its successor: their bitmaps are read in large windows.
  const [small = 0, huge = 0] = seconds;
  assert.ok(huge - small <= 16, `${huge} and ${small} operations`);
});
