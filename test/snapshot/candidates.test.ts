/**
 * Snapshots of which not every cluster is a candidate: what is not, reads as zeros and is never copied for it; and older and
 * newer snapshots with other candidates get and keep what is theirs.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { getBit } from '../../core/base/bitmap.ts';
import { SnapError } from '../../core/base/errors.ts';
import { type Collection, collectSnapshots } from '../../core/snapshot/collect.ts';
import { compareWithOrigin } from '../../core/snapshot/compare.ts';
import { listImage } from '../../core/snapshot/list.ts';
import { readSnapshot } from '../../core/snapshot/read.ts';
import { verifySnapshots } from '../../core/snapshot/verify.ts';
import { Volume } from '../../core/snapshot/volume.ts';
import { regions } from '../../core/store/layout.ts';
import { MemoryHost } from '../sim/memory-host.ts';
import { systemError } from '../sim/system-error.ts';
import { type TestContext, testContext } from '../support/context.ts';
import {
  CollectingSink,
  candidatesBy,
  create,
  IMAGE,
  limitOf,
  makeImage,
  noise,
  read,
  withFile,
  write,
} from '../support/image.ts';

const CLUSTER_BYTES = 4096;
const COUNT = 8;

interface Scene {
  readonly host: MemoryHost;
  readonly context: TestContext;
  readonly frozen: Buffer;
  /** Takes a snapshot with these candidates, or with all. */
  take(name: string, candidates?: readonly number[]): Promise<unknown>;
  /** Writes into a cluster; returns how many were copied. */
  touch(clusterIndex: number): Promise<number>;
  /** The clusters that the store of a snapshot has. */
  copied(name: string): Promise<number[]>;
  remove(name: string, dryRun?: boolean): Promise<Collection>;
}

async function makeScene(): Promise<Scene> {
  const host = new MemoryHost();
  const context = testContext(host);
  const frozen = noise(1, COUNT * CLUSTER_BYTES - 1000);
  await makeImage(host, frozen);
  let seed = 1;
  return {
    host,
    context,
    frozen,
    take: (name, candidates) =>
      create(context, name, {
        clusterSizeBytes: CLUSTER_BYTES,
        candidates: candidates && candidatesBy((index) => candidates.includes(index)),
      }),
    touch: async (clusterIndex) => {
      seed += 1;
      const { failure, summary } = await write(context, clusterIndex * CLUSTER_BYTES + 5, noise(seed, 10));
      if (failure !== undefined) throw failure;
      return summary.clustersCopied;
    },
    copied: async (name) => {
      const volume = await Volume.open(context, IMAGE, 'look');
      const bits = Buffer.alloc(1);
      await volume.shared(async (hold) => {
        const record = hold?.catalog.snapshots.find((each) => each.name === name);
        assert.ok(hold !== undefined && record !== undefined);
        await hold.readBits(record, bits, 0);
      });
      await volume.close();
      return [...Array(COUNT).keys()].filter((index) => getBit(bits, index));
    },
    remove: (name, dryRun = false) => collectSnapshots(context, IMAGE, { names: [name], dryRun }),
  };
}

/** Of a store with candidates. */
const shapeOf = ({ length: sizeBytes }: Buffer) => ({
  sizeBytes,
  clusterSizeBytes: CLUSTER_BYTES,
  hasCandidates: true,
});

/** `image` with zeros wherever `candidates` have no cluster. */
function onlyOf(image: Buffer, candidates: readonly number[]): Buffer {
  const kept = Buffer.alloc(image.length);
  for (const index of candidates) {
    image.copy(kept, index * CLUSTER_BYTES, index * CLUSTER_BYTES, (index + 1) * CLUSTER_BYTES);
  }
  return kept;
}

test('what is no candidate reads as zeros and is not copied', async () => {
  const { context, frozen, take, touch, copied } = await makeScene();
  await take('a', [1, 2, 7]);
  assert.deepEqual(await read(context, 'a'), onlyOf(frozen, [1, 2, 7]));
  for (const index of [0, 3, 6]) assert.equal(await touch(index), 0, `cluster ${index}`);
  for (const index of [1, 7]) assert.equal(await touch(index), 1, `cluster ${index}`);
  assert.deepEqual(await copied('a'), [1, 7]);
  assert.deepEqual(await read(context, 'a'), onlyOf(frozen, [1, 2, 7]));
  const part = await read(context, 'a', { offsetBytes: 4090, lengthBytes: 9000 });
  assert.deepEqual(part, onlyOf(frozen, [1, 2, 7]).subarray(4090, 13_090));
});

test('an older snapshot gets what the newest does not need, through its store', async () => {
  const { context, frozen, take, touch, copied } = await makeScene();
  await take('a');
  await take('b', [4]);
  await take('c', []);
  assert.equal(await touch(3), 1, 'a needs it');
  assert.equal(await touch(4), 1, 'a and b need it');
  assert.equal(await touch(3), 0);
  assert.deepEqual(await copied('c'), [3, 4]);
  assert.deepEqual(await read(context, 'a'), frozen);
  assert.deepEqual(await read(context, 'b'), onlyOf(frozen, [4]));
  assert.deepEqual(await read(context, 'c'), onlyOf(frozen, []));
});

test('a newer snapshot does not copy what only an older one has copied already', async () => {
  const { context, frozen, take, touch, copied } = await makeScene();
  await take('a', [0, 1]);
  await touch(0);
  await take('b', [2]);
  assert.equal(await touch(0), 0, 'a has it, and it is no candidate of b');
  assert.equal(await touch(1), 1, 'a lacks it');
  assert.deepEqual(await copied('b'), [1]);
  assert.deepEqual(await read(context, 'a'), onlyOf(frozen, [0, 1]));
});

test('a snapshot without candidates after one with them needs all', async () => {
  const { take, touch, copied } = await makeScene();
  await take('a', [0]);
  await take('b');
  for (const index of [0, 5]) assert.equal(await touch(index), 1);
  assert.deepEqual(await copied('b'), [0, 5]);
});

test('nothing is copied for a snapshot that is gone, though the store was to receive it', async () => {
  const { take, touch, remove } = await makeScene();
  await take('a', [0, 1]);
  await take('b', [1, 2]);
  await remove('a');
  assert.equal(await touch(0), 0);
  assert.equal(await touch(1), 1);
});

test('removing hands over what the receiver needs, and a dry run says as much', async () => {
  const { context, frozen, take, touch, copied, remove } = await makeScene();
  await take('a', [0, 1]);
  await take('b');
  for (const index of [0, 2, 3]) await touch(index);
  await take('c');
  const before = await read(context, 'c');
  const planned = await remove('b', true);
  const { bytesFreed } = await remove('b');
  assert.equal(planned.bytesFreed, bytesFreed);
  assert.deepEqual(await copied('a'), [0], 'of what b had');
  assert.deepEqual(await read(context, 'a'), onlyOf(frozen, [0, 1]));
  assert.deepEqual(await read(context, 'c'), before);
});

test('the newest of a chain removed: the store before it goes on with its own needs', async () => {
  const { context, frozen, take, touch, copied, remove } = await makeScene();
  await take('a', [0, 1]);
  await take('b', [1, 2]);
  await take('c');
  await touch(1);
  await remove('c');
  assert.deepEqual(await copied('b'), [1]);
  assert.equal(await touch(0), 1, 'for a');
  assert.equal(await touch(2), 1, 'for b');
  assert.equal(await touch(3), 0);
  assert.deepEqual(await read(context, 'a'), onlyOf(frozen, [0, 1]));
  assert.deepEqual(await read(context, 'b'), onlyOf(frozen, [1, 2]));
});

test('a store that spilled: its parts receive what the snapshot needs, and no more', async () => {
  const { context, frozen, take, touch, remove } = await makeScene();
  await create(context, 'a', {
    clusterSizeBytes: CLUSTER_BYTES,
    candidates: candidatesBy((index) => index < 5),
    spillPaths: ['/', '/', '/'],
    maxStoreFileBytes: regions(shapeOf(frozen)).dataOffsetBytes + 2 * CLUSTER_BYTES,
  });
  for (const index of [0, 1, 2]) assert.equal(await touch(index), 1, `cluster ${index}`);
  assert.ok(context.warnings.some(({ message }) => message.includes('its copies go on in')));
  assert.equal(await touch(5), 0, 'the part needs what its snapshot does');
  await take('b', [6]);
  for (const index of [0, 2, 7]) assert.equal(await touch(index), 0, `a has ${index}, or nobody needs it`);
  assert.equal(await touch(3), 1, 'for a');
  assert.equal(await touch(6), 1, 'for b');
  await remove('b');
  assert.equal(await touch(3), 0, 'it was handed over');
  assert.equal(await touch(4), 1);
  assert.equal(await touch(6), 0);
  assert.deepEqual(await read(context, 'a'), onlyOf(frozen, [0, 1, 2, 3, 4]));
  assert.deepEqual((await verifySnapshots(context, IMAGE, [])).findings, []);
});

test('candidates that are damaged are not made up for by the parts', async () => {
  const scene = await makeScene();
  const { context, frozen, touch } = scene;
  await create(context, 'a', {
    clusterSizeBytes: CLUSTER_BYTES,
    candidates: candidatesBy((index) => index < 5),
    spillPaths: ['/'],
    maxStoreFileBytes: regions(shapeOf(frozen)).dataOffsetBytes + CLUSTER_BYTES,
  });
  for (const index of [0, 1]) await touch(index);
  await spoil(scene, 'a', 'candidateOffsetBytes');
  for (const index of [0, 1, 2, 5]) {
    const range = { offsetBytes: index * CLUSTER_BYTES, lengthBytes: 100 };
    await assert.rejects(read(context, 'a', range), { code: 'damage' }, `cluster ${index}`);
  }
});

test('an image that grows: newer snapshots and their candidates are longer', async () => {
  const { context, frozen, take } = await makeScene();
  await take('a', [0, 7]);
  await write(context, frozen.length + 5000, noise(4, 6000), { extend: true });
  await take('b', [7, 9]);
  const grown = Buffer.alloc(frozen.length + 11_000);
  frozen.copy(grown);
  noise(4, 6000).copy(grown, frozen.length + 5000);
  await write(context, 0, noise(5, grown.length));
  assert.deepEqual(await read(context, 'a'), onlyOf(frozen, [0, 7]));
  assert.deepEqual(await read(context, 'b'), onlyOf(grown, [7, 9]));
});

test('a limit is not touched by what is no candidate', async () => {
  const { context, frozen, touch } = await makeScene();
  const candidates = candidatesBy((index) => index < 2);
  const limit = { maxSizeBytes: limitOf(1, CLUSTER_BYTES), onFull: 'refuse' } as const;
  await create(context, 'a', { clusterSizeBytes: CLUSTER_BYTES, candidates, ...limit });
  for (const index of [2, 3, 4, 0]) await touch(index);
  await assert.rejects(touch(1), { code: 'no-space' });
  assert.deepEqual(await read(context, 'a'), onlyOf(frozen, [0, 1]));
});

test('on a full disk, what nobody needs is written and ends nobody', async () => {
  const { host, context, frozen, take, remove } = await makeScene();
  await take('a', [0, 1]);
  await take('b', [1, 2]);
  await remove('a');
  const { dataOffsetBytes } = regions(shapeOf(frozen));
  const full = host.session(({ kind, path, offsetBytes = 0 }) => {
    if (kind === 'write' && path.endsWith('.cow') && offsetBytes >= dataOffsetBytes)
      throw systemError('ENOSPC');
  });
  const fullContext = testContext(full);
  // 0 was for a alone, and 3 is for nobody.
  for (const index of [0, 3]) {
    const { failure } = await write(fullContext, index * CLUSTER_BYTES, noise(9, 100));
    assert.equal(failure, undefined);
  }
  assert.deepEqual(fullContext.warnings, []);
  assert.deepEqual(await read(context, 'b'), onlyOf(frozen, [1, 2]));
  await write(fullContext, CLUSTER_BYTES, noise(9, 100));
  assert.equal(fullContext.warnings.filter(({ loss }) => loss).length, 1);
  await assert.rejects(read(context, 'b'), { code: 'invalid' });
});

test('a change from outside harms no snapshot whose candidates are all copied', async () => {
  const { host, context, frozen, take, touch } = await makeScene();
  await take('a', [0, 1]);
  await touch(0);
  await touch(1);
  await take('b', [1]);
  await withFile(host, 'update', (file) => file.write(Buffer.from('from outside'), 5 * CLUSTER_BYTES));
  const { snapshots } = await listImage(context, IMAGE);
  assert.deepEqual(
    snapshots.map(({ name, state }) => [name, state]),
    [
      ['a', 'idle'],
      ['b', 'modified'],
    ],
  );
  assert.deepEqual(await read(context, 'a'), onlyOf(frozen, [0, 1]));
});

test('compared with the origin, only candidates count', async () => {
  const { context, take, touch } = await makeScene();
  await take('a', [0, 7]);
  const differs = async () => (await compareWithOrigin(context, IMAGE, ['a']))[0];
  assert.equal((await differs())?.clustersChanged, 0);
  await touch(3);
  assert.equal((await differs())?.clustersChanged, 0);
  await touch(7);
  assert.deepEqual(await differs(), { name: 'a', failure: undefined, clustersChanged: 1, bytesChanged: 10 });
});

test('zeros in long runs are neither read nor written as data', async () => {
  const host = new MemoryHost();
  const context = testContext(host);
  const sizeBytes = 40 << 20;
  await makeImage(host, noise(1, sizeBytes));
  const clusterSizeBytes = 65_536;
  await create(context, 'a', {
    clusterSizeBytes,
    candidates: candidatesBy((index) => index === 5 || index > 600),
  });
  let readBytes = 0;
  const session = host.session(({ kind, path, lengthBytes = 0 }) => {
    if (kind === 'read' && path === IMAGE) readBytes += lengthBytes;
  });
  let zeroBytes = 0;
  const sink = new CollectingSink();
  const writeZeros = async (lengthBytes: number) => {
    zeroBytes += lengthBytes;
    await sink.write(Buffer.alloc(lengthBytes));
  };
  const options = { offsetBytes: 0, allowModifiedOrigin: false, digest: false };
  await readSnapshot(testContext(session), { image: IMAGE, name: 'a' }, options, {
    write: (chunk) => sink.write(chunk),
    writeZeros,
  });
  const expected = noise(1, sizeBytes);
  expected.fill(0, 0, 5 * clusterSizeBytes);
  expected.fill(0, 6 * clusterSizeBytes, 601 * clusterSizeBytes);
  assert.ok(sink.bytes().equals(expected));
  assert.ok(zeroBytes > 35 << 20, `${zeroBytes} bytes of zeros`);
  assert.ok(readBytes < 4 << 20, `${readBytes} bytes of the image were read`);
});

async function spoil(
  scene: Scene,
  name: string,
  which: 'candidateOffsetBytes' | 'neededOffsetBytes',
): Promise<void> {
  const file = (await scene.host.files.list(`${IMAGE}.snap`)).find((each) => each.startsWith(`${name}-`));
  const store = await scene.host.files.open(`${IMAGE}.snap/${file}`, 'update');
  const at = regions(shapeOf(scene.frozen))[which];
  const byte = Buffer.alloc(1);
  await store.read(byte, at);
  await store.write(Buffer.from([(byte[0] ?? 0) ^ 8]), at);
  await store.close();
}

test('candidates that are damaged: that snapshot cannot be read, others can, and it is told', async () => {
  const scene = await makeScene();
  const { context, frozen, take, touch } = scene;
  await take('a', [0, 1]);
  await take('b', [1, 2]);
  await take('c', [2, 4]);
  await spoil(scene, 'b', 'candidateOffsetBytes');
  await assert.rejects(read(context, 'b'), {
    code: 'damage',
    message: /candidate bitmap does not match its hash/,
  });
  const { damaged, snapshots, findings } = await verifySnapshots(context, IMAGE, []);
  assert.ok(damaged);
  assert.deepEqual(
    snapshots.map(({ ok }) => ok),
    [true, false, true],
  );
  assert.deepEqual(
    findings.map(({ name, kind }) => [name, kind]),
    [['b', 'candidate']],
  );
  await touch(0);
  assert.deepEqual(await read(context, 'a'), onlyOf(frozen, [0, 1]));
  assert.deepEqual(await read(context, 'c'), onlyOf(frozen, [2, 4]));
});

test('needs that are damaged: all is copied that any snapshot lacks, and it is told', async () => {
  const scene = await makeScene();
  const { context, frozen, take, touch } = scene;
  await take('a', [0, 1]);
  await take('b', [1, 2]);
  await spoil(scene, 'b', 'neededOffsetBytes');
  for (const index of [0, 2, 3]) await touch(index);
  const { damaged, snapshots, findings } = await verifySnapshots(context, IMAGE, []);
  assert.ok(damaged);
  assert.deepEqual(
    snapshots.map(({ ok }) => ok),
    [true, true],
  );
  assert.deepEqual(
    findings.map(({ name, kind }) => [name, kind]),
    [['b', 'needed']],
  );
  assert.deepEqual(await read(context, 'a'), onlyOf(frozen, [0, 1]));
  assert.deepEqual(await read(context, 'b'), onlyOf(frozen, [1, 2]));
});

test('who looks for candidates may refuse, and then nothing was made', async () => {
  const { host, context, take } = await makeScene();
  const candidates = async () => Promise.reject(new SnapError('refused', 'does not fit'));
  await assert.rejects(create(context, 'a', { candidates }), { code: 'refused' });
  assert.deepEqual(await host.files.list('/'), ['disk.img']);
  await take('a');
  const before = await host.files.list(`${IMAGE}.snap`);
  await assert.rejects(create(context, 'b', { candidates }), { code: 'refused' });
  assert.deepEqual(await host.files.list(`${IMAGE}.snap`), before);
});

test('doubts are told, and the snapshot is made', async () => {
  const { context, frozen } = await makeScene();
  const candidates = async () => ({
    candidates: undefined,
    doubts: ['nothing is known, so all of it is kept'],
  });
  await create(context, 'a', { candidates });
  assert.deepEqual(context.warnings, [{ message: `${IMAGE}: nothing is known, so all of it is kept` }]);
  assert.deepEqual(await read(context, 'a'), frozen);
});
