/** What an export must not do: give a store that fits no state of the image, or one that no device can have. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SnapError } from '../../core/base/errors.ts';
import { collectSnapshots } from '../../core/snapshot/collect.ts';
import { regions } from '../../core/store/layout.ts';
import { MemoryHost } from '../sim/memory-host.ts';
import { systemError } from '../sim/system-error.ts';
import { type TestContext, testContext } from '../support/context.ts';
import {
  CollectingSink,
  create,
  IMAGE,
  makeImage,
  noise,
  rawImage,
  read,
  withFile,
  write,
} from '../support/image.ts';
import { overlay, parseStore } from './exception-store.ts';
import { exported } from './scene.ts';

const CLUSTER_BYTES = 4096;
const SIZE_BYTES = 3 << 20;

async function makeScene(
  sizeBytes = SIZE_BYTES,
): Promise<{ host: MemoryHost; context: TestContext; frozen: Buffer }> {
  const host = new MemoryHost();
  const context = testContext(host);
  const frozen = noise(1, sizeBytes);
  await makeImage(host, frozen);
  await create(context, 's', { clusterSizeBytes: CLUSTER_BYTES });
  await write(context, 0, noise(2, sizeBytes));
  return { host, context, frozen };
}

const MEANWHILE: Readonly<Record<string, (host: MemoryHost) => Promise<unknown>>> = {
  'a write of what is copied already': (host) => write(testContext(host.session()), 5000, noise(3, 10)),
  'a write from outside': (host) => withFile(host, 'update', (file) => file.write(noise(3, 10), 2_000_000)),
  'another snapshot': (host) => create(testContext(host.session()), 'later'),
};

/** Its last area is empty, or is not. */
const SIZES = [SIZE_BYTES, 700 * CLUSTER_BYTES];

for (const [what, work] of Object.entries(MEANWHILE)) {
  test(`${what}, at any moment: no store comes to its end`, async () => {
    for (const sizeBytes of SIZES) {
      const { context } = await makeScene(sizeBytes);
      let pieces = 0;
      const counting = new CollectingSink(async (count) => {
        pieces = count;
      });
      const store = await exported(context, 's', {}, counting);
      assert.ok(pieces > 5);
      // The first piece is the header, which is the same for every state of the image.
      for (let moment = 2; moment < pieces; moment += 1) {
        const { host, context: reader } = await makeScene(sizeBytes);
        const sink = new CollectingSink(async (count) => {
          if (count === moment) await work(host);
        });
        // What came from outside ends the trust in snapshots that read the image, which this one does not.
        await assert.rejects(exported(reader, 's', {}, sink), { code: 'io', message: /was written to/ });
        assert.ok(sink.bytes().length < store.length, `moment ${moment}`);
      }
    }
  });
}

test('a snapshot that loses its trust, or is removed, ends the export', async () => {
  const host = new MemoryHost();
  const context = testContext(host);
  await makeImage(host, noise(1, SIZE_BYTES));
  await create(context, 's', { clusterSizeBytes: CLUSTER_BYTES });
  await write(context, 0, noise(2, SIZE_BYTES / 2));
  let once = 0;
  const sink = new CollectingSink(async () => {
    if (once++ === 0) await withFile(host, 'update', (file) => file.write(noise(3, 10), SIZE_BYTES - 10));
  });
  await assert.rejects(exported(context, 's', {}, sink), { code: 'modified' });
  const scene = await makeScene();
  const remover = new CollectingSink(async (count) => {
    if (count === 2)
      await collectSnapshots(testContext(scene.host.session()), IMAGE, { names: ['s'], dryRun: false });
  });
  // It is in use: it is hidden, and the catalog is another one.
  await assert.rejects(exported(scene.context, 's', {}, remover), { code: 'io' });
});

test('a change from outside before it began is not trusted, and can be read all the same', async () => {
  const host = new MemoryHost();
  const context = testContext(host);
  await makeImage(host, noise(1, SIZE_BYTES));
  await create(context, 's', { clusterSizeBytes: CLUSTER_BYTES });
  await write(context, 0, noise(2, 100_000));
  await withFile(host, 'update', (file) => file.write(noise(3, 10), SIZE_BYTES - 10));
  await assert.rejects(exported(context, 's'), { code: 'modified' });
  const store = await exported(context, 's', { allowModifiedOrigin: true });
  const readAs = await read(context, 's', { allowModifiedOrigin: true });
  assert.ok(overlay(await rawImage(host), store, SIZE_BYTES).equals(readAs));
});

test('a write from outside during any call: a store that fits the image, or none', async () => {
  const size = 700 * CLUSTER_BYTES;
  let ended = 0;
  for (let at = 0; ; at += 1) {
    const { host, context, frozen } = await makeScene(size);
    // There it does not differ, so that it is not in the store.
    await write(context, 900_000, frozen.subarray(900_000, 1_100_000));
    let calls = 0;
    let lastRead = 0;
    const session = host.session(async ({ kind, path }) => {
      // The two that do not wait.
      if (kind === 'tryLock' || kind === 'unlock' || kind === 'dataFrom') return;
      if (kind === 'read' && path === IMAGE) lastRead = calls;
      if (calls++ === at) await withFile(host, 'update', (file) => file.write(noise(3, 10), 1_000_000));
    });
    const store = await exported(testContext(session), 's').catch((error: unknown) => {
      assert.ok(error instanceof SnapError && error.code === 'io', String(error));
      ended += 1;
    });
    const origin = await rawImage(host);
    // What comes after the image was read for the last time is a later change, as tomorrow's would be.
    if (store !== undefined && at > lastRead) break;
    if (store !== undefined) assert.ok(overlay(origin, store, size).equals(frozen), `call ${at}`);
    assert.ok(at < 1000);
  }
  assert.ok(ended > 10);
});

test('a store that is damaged after it was compared is noticed', async () => {
  const { host, context } = await makeScene();
  const name = (await host.files.list(`${IMAGE}.snap`)).find((each) => each.endsWith('.cow')) ?? '';
  const sink = new CollectingSink(async (count) => {
    if (count !== 2) return;
    const file = await host.files.open(`${IMAGE}.snap/${name}`, 'update');
    // What was found to differ, and is read again.
    const { dataOffsetBytes } = regions({ sizeBytes: SIZE_BYTES, clusterSizeBytes: CLUSTER_BYTES });
    await file.write(Buffer.alloc(10), dataOffsetBytes + 50 * CLUSTER_BYTES);
    await file.close();
  });
  await assert.rejects(exported(context, 's', {}, sink), { code: 'damage' });
});

test('a damaged cluster, a missing store and a missing snapshot are told', async () => {
  const { host, context } = await makeScene();
  const name = (await host.files.list(`${IMAGE}.snap`)).find((each) => each.endsWith('.cow')) ?? '';
  const file = await host.files.open(`${IMAGE}.snap/${name}`, 'update');
  await file.write(Buffer.from([1, 2, 3]), (await file.stat()).sizeBytes - 7);
  await file.close();
  await assert.rejects(exported(context, 's'), { code: 'damage' });
  await assert.rejects(exported(context, 'none'), { code: 'not-found' });
  await host.files.remove(`${IMAGE}.snap/${name}`);
  await assert.rejects(exported(context, 's'), { code: 'damage' });
});

test('no store for a size that no device has', async () => {
  for (const sizeBytes of [0, 1, 511, 513, 4096 + 100]) {
    const { context } = await makeScene(sizeBytes);
    await assert.rejects(exported(context, 's'), { code: 'refused' });
  }
});

test('one that does not differ at all has a header and an empty area', async () => {
  const host = new MemoryHost();
  const context = testContext(host);
  await makeImage(host, noise(1, 100 * 512));
  await create(context, 's');
  const store = await exported(context, 's');
  assert.equal(store.length, 2 * 65_536);
  assert.equal(parseStore(store).chunks.size, 0);
});

test('chunks are as large as clusters, and at most 512 KiB', async () => {
  for (const [clusterSizeBytes, chunkBytes] of [
    [4096, 4096],
    [1 << 20, 512 * 1024],
  ] as const) {
    const host = new MemoryHost();
    const context = testContext(host);
    await makeImage(host, noise(1, SIZE_BYTES));
    await create(context, 's', { clusterSizeBytes });
    await write(context, 0, noise(2, 10));
    assert.equal(parseStore(await exported(context, 's')).chunkBytes, chunkBytes);
  }
});

test('an export changes nothing', async () => {
  const { host } = await makeScene();
  const kinds = new Set<string>();
  const looking = host.session(({ kind }) => void kinds.add(kind));
  await exported(testContext(looking), 's');
  for (const kind of ['write', 'create', 'rename', 'remove', 'truncate', 'syncData', 'syncAll']) {
    assert.ok(!kinds.has(kind), kind);
  }
});

test('a call that fails is told: nothing else than the whole store is given', async () => {
  const { host } = await makeScene(300 * 512);
  const whole = await exported(testContext(host.session()), 's', { chunkSizeBytes: 512 });
  for (let at = 0; ; at += 1) {
    let calls = 0;
    const session = host.session(() => {
      if (calls++ === at) throw systemError('EIO');
    });
    const store = await exported(testContext(session), 's', { chunkSizeBytes: 512 }).catch(
      (error: unknown) => {
        assert.ok(error instanceof SnapError, String(error));
      },
    );
    if (store !== undefined) assert.ok(store.equals(whole));
    if (calls <= at) break;
    assert.ok(at < 1000);
  }
});

test('a clone is exported too, whatever was written past it; not against an image that is shorter', async () => {
  const host = new MemoryHost();
  const context = testContext(host);
  const frozen = noise(1, SIZE_BYTES);
  await makeImage(host, frozen);
  await create(context, 's', { clone: true, clusterSizeBytes: CLUSTER_BYTES });
  await withFile(host, 'update', (file) => file.write(noise(2, 500_000), 700_000));
  const store = await exported(context, 's');
  assert.ok(overlay(await rawImage(host), store, SIZE_BYTES).equals(frozen));
  assert.ok(store.length < 600_000);
  await withFile(host, 'update', (file) => file.truncate(SIZE_BYTES - 512));
  await assert.rejects(exported(context, 's'), { code: 'refused', message: /is shorter than/ });
});
