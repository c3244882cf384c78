/** What an import refuses, and that it is complete or not there, whatever ends it. */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { test } from 'node:test';
import { SnapError } from '../../core/base/errors.ts';
import { collectSnapshots } from '../../core/snapshot/collect.ts';
import { listImage } from '../../core/snapshot/list.ts';
import { verifySnapshots } from '../../core/snapshot/verify.ts';
import { STATE } from '../../core/store/layout.ts';
import { decodeState } from '../../core/store/state.ts';
import { Chance } from '../fuzz/chance.ts';
import { MemoryHost } from '../sim/memory-host.ts';
import { isChange } from '../sim/session.ts';
import { systemError } from '../sim/system-error.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { CollectingSink, create, IMAGE, makeImage, noise, rawImage, read, write } from '../support/image.ts';
import { makeStore, overlay } from './exception-store.ts';
import { putFile, STORE } from './scene.ts';

const CHUNK_BYTES = 4096;
/** Twenty chunks and a short one. */
const SIZE_BYTES = 20 * CHUNK_BYTES + 1000;
const EXCEPTIONS = [7, 20, 3, 4, 0].map((old) => ({ old, data: noise(100 + old, CHUNK_BYTES) }));
const WHOLE = makeStore(CHUNK_BYTES, EXCEPTIONS);

async function makeScene(
  store = WHOLE,
  sizeBytes = SIZE_BYTES,
): Promise<{ host: MemoryHost; context: TestContext }> {
  const host = new MemoryHost();
  await makeImage(host, noise(1, sizeBytes));
  await putFile(host, STORE, store);
  return { host, context: testContext(host) };
}

const importing = { importDmPath: STORE };

/** The store with some bytes of it changed. */
function edited(edit: (store: Buffer) => void): Buffer {
  const store = Buffer.from(WHOLE);
  edit(store);
  return store;
}

const AREA = CHUNK_BYTES;
const twice = makeStore(CHUNK_BYTES, [...EXCEPTIONS, { old: 3, data: noise(5, CHUNK_BYTES) }]);
const many = makeStore(
  512,
  Array.from({ length: 64 }, (_, index) => ({ old: index % 32, data: noise(1, 512) })),
);

const MALFORMED: readonly (readonly [what: string, store: Buffer, message: RegExp])[] = [
  ['empty', Buffer.alloc(0), /is no persistent exception store/],
  ['fifteen bytes', WHOLE.subarray(0, 15), /is no persistent exception store/],
  ['zeros', Buffer.alloc(WHOLE.length), /is no persistent exception store/],
  ['ended', edited((store) => store.writeUInt32LE(0, 4)), /has ended/],
  ['no validity', edited((store) => store.writeUInt32LE(2, 4)), /its header is no valid one/],
  ['version 0', edited((store) => store.writeUInt32LE(0, 8)), /its header is no valid one/],
  ['chunks of no size', edited((store) => store.writeUInt32LE(0, 12)), /its header is no valid one/],
  ['chunks of three sectors', edited((store) => store.writeUInt32LE(3, 12)), /its header is no valid one/],
  ['chunks of 32 MiB', edited((store) => store.writeUInt32LE(65_536, 12)), /its header is no valid one/],
  ['chunks of 2 TiB', edited((store) => store.writeUInt32LE(0xffff_ffff, 12)), /its header is no valid one/],
  ['a header alone', WHOLE.subarray(0, CHUNK_BYTES), /ends inside of its list, at offset 4096/],
  ['half an area', WHOLE.subarray(0, AREA + 2000), /ends inside of its list, at offset 6096/],
  ['without its last chunk', WHOLE.subarray(0, -CHUNK_BYTES), /chunk 6, which is no place for data/],
  ['past the image', edited((store) => store.writeBigUInt64LE(21n, AREA)), /chunk 21, past the image's end/],
  ['absurd old', edited((store) => store.writeBigUInt64LE(1n << 60n, AREA)), /no device could have/],
  ['absurd new', edited((store) => store.writeBigUInt64LE(1n << 63n, AREA + 8)), /no device could have/],
  ['large new', edited((store) => store.writeBigUInt64LE(1n << 52n, AREA + 8)), /which is no place for data/],
  ['in the area', edited((store) => store.writeBigUInt64LE(1n, AREA + 8)), /chunk 1, which is no place/],
  [
    'in the second area',
    edited((store) => store.writeBigUInt64LE(258n, AREA + 8)),
    /chunk 258, which is no place/,
  ],
  ['twice', twice, /has chunk 3 of the image twice/],
  ['without end', many, /more exceptions than the image has chunks/],
];

test('what is no whole and valid store of this image is refused, and nothing is made', async () => {
  for (const [what, store, message] of MALFORMED) {
    const { host, context } = await makeScene(store, what === 'without end' ? 32 * 512 : SIZE_BYTES);
    const before = await host.files.list('/');
    await assert.rejects(create(context, 's', importing), { code: 'refused', message }, what);
    assert.deepEqual(await host.files.list('/'), before, what);
  }
  const { context } = await makeScene(edited((store) => store.writeUInt32LE(2, 8)));
  await assert.rejects(create(context, 's', importing), { code: 'newer-version' });
  await assert.rejects(create(context, 's', { importDmPath: '/none' }), { code: 'not-found' });
  await assert.rejects(create(context, 's', { importDmPath: '/' }), { code: 'refused' });
});

test('the short last chunk needs no more of the file than the image has of it', async () => {
  const last = EXCEPTIONS.findIndex(({ old }) => old === 20);
  const store = makeStore(CHUNK_BYTES, [
    ...EXCEPTIONS.toSpliced(last, 1),
    ...EXCEPTIONS.slice(last, last + 1),
  ]);
  const cut = store.subarray(0, store.length - CHUNK_BYTES + 1000);
  const { host, context } = await makeScene(cut);
  await create(context, 's', importing);
  assert.ok((await read(context, 's')).equals(overlay(await rawImage(host), store, SIZE_BYTES)));
  const tooShort = await makeScene(cut.subarray(0, -1));
  await assert.rejects(create(tooShort.context, 's', importing), { code: 'refused' });
});

test('only as the first snapshot, and beside nothing that is hidden', async () => {
  const { host, context } = await makeScene();
  await create(context, 'there', { clusterSizeBytes: 4096 });
  await assert.rejects(create(context, 's', importing), { code: 'refused', message: /has snapshots/ });
  let once = true;
  const hiding = new CollectingSink(async () => {
    if (!once) return;
    once = false;
    const other = testContext(host.session());
    await collectSnapshots(other, IMAGE, { names: ['there'], dryRun: false });
    await assert.rejects(create(other, 's', importing), { code: 'refused', message: /still in use/ });
  });
  await read(context, 'there', {}, hiding);
  await collectSnapshots(context, IMAGE, { dryRun: false });
  await create(context, 's', importing);
  assert.ok((await read(context, 's')).equals(overlay(await rawImage(host), WHOLE, SIZE_BYTES)));
  // Copies that come later have batches of their own.
  await write(context, 0, noise(9, SIZE_BYTES));
  assert.deepEqual((await verifySnapshots(context, IMAGE, [])).findings, []);
});

test('what is taken over counts against the limit, zeros do not', async () => {
  const zeros = makeStore(CHUNK_BYTES, [...EXCEPTIONS, { old: 9, data: Buffer.alloc(CHUNK_BYTES) }]);
  const tooSmall = await makeScene(zeros);
  const limit = EXCEPTIONS.length * CHUNK_BYTES;
  await assert.rejects(create(tooSmall.context, 's', { ...importing, maxSizeBytes: limit - 1 }), {
    code: 'refused',
  });
  assert.deepEqual((await tooSmall.host.files.list('/')).sort(), ['disk.img', 'kernel.cow']);
  const { context } = await makeScene(zeros);
  await create(context, 's', { ...importing, maxSizeBytes: limit });
  const { snapshots } = await listImage(context, IMAGE);
  const { clustersCopied, clustersZero, limitUsedBytes } = snapshots[0] ?? assert.fail('it is not there');
  assert.deepEqual([clustersCopied, clustersZero, limitUsedBytes], [6, 1, limit]);
});

test('killed before any change of the disk: all of it is there, or nothing', async () => {
  for (const hasSidecar of [false, true]) {
    for (let at = 0; ; at += 1) {
      const { host, context } = await makeScene();
      if (hasSidecar) {
        await create(context, 'gone', { clusterSizeBytes: 4096 });
        await collectSnapshots(context, IMAGE, { names: ['gone'], dryRun: false });
      }
      let changes = 0;
      const session = host.session((operation) => {
        if (isChange(operation) && changes++ === at) session.kill();
      });
      const importer = create(testContext(session), 's', importing);
      const ended = await importer.then(() => true).catch(() => false);
      host.files.volume.clock.tick();
      const { snapshots } = await listImage(context, IMAGE);
      const frozen = overlay(await rawImage(host), WHOLE, SIZE_BYTES);
      if (snapshots.length > 0) assert.ok((await read(context, 's')).equals(frozen), `killed at ${at}`);
      else assert.ok(!ended);
      await collectSnapshots(context, IMAGE, { dryRun: false });
      await write(context, 0, noise(9, SIZE_BYTES));
      if (snapshots.length > 0)
        assert.ok((await read(context, 's')).equals(frozen), `killed at ${at}, written`);
      const names = await host.files.list('/');
      assert.ok(
        names.every((name) => !name.endsWith('.tmp')),
        `killed at ${at}: ${names}`,
      );
      if (ended) break;
      assert.ok(at < 200);
    }
  }
});

/** Three batches. */
const LARGE_BYTES = 9000 * CHUNK_BYTES;
const large = () =>
  makeStore(
    CHUNK_BYTES,
    Array.from({ length: 9000 }, (_, old) => ({ old, data: noise(old, CHUNK_BYTES) })),
  );

test('its batches have numbers of their own, and no later one gets them', async () => {
  const { host, context } = await makeScene(large(), LARGE_BYTES);
  await create(context, 'gone', { clusterSizeBytes: CHUNK_BYTES });
  await collectSnapshots(context, IMAGE, { names: ['gone'], dryRun: false });
  const state = async () => {
    const file = await host.files.open(`${IMAGE}.snap/state`, 'read');
    const bytes = Buffer.alloc(STATE.sizeBytes);
    await file.read(bytes, 0);
    await file.close();
    return decodeState(bytes, 'state') ?? assert.fail('no state');
  };
  const before = (await state()).batch;
  await create(context, 's', importing);
  const { batch, figure } = await state();
  assert.equal(figure.batch, before + 3);
  assert.ok(batch > figure.batch);
});

test('interrupted half-way, nothing is there', async () => {
  const { host } = await makeScene(large(), LARGE_BYTES);
  const controller = new AbortController();
  const progress = () => controller.abort();
  const context = testContext(host, { signal: controller.signal, progress });
  await assert.rejects(create(context, 's', importing), { code: 'interrupted' });
  assert.deepEqual((await host.files.list('/')).sort(), ['disk.img', 'kernel.cow']);
});

test('a call that fails is told: the snapshot is whole, or nothing of it stays', async () => {
  for (const errno of ['EIO', 'ENOSPC'] as const) {
    for (let at = 0; ; at += 1) {
      const { host, context } = await makeScene();
      let calls = 0;
      const session = host.session(() => {
        if (calls++ === at) throw systemError(errno);
      });
      await create(testContext(session), 's', importing).catch((error: unknown) => {
        assert.ok(error instanceof SnapError, String(error));
      });
      await collectSnapshots(context, IMAGE, { dryRun: false });
      const names = await host.files.list('/');
      assert.ok(names.length <= 3, `${errno} at ${at}: ${names}`);
      const { snapshots } = await listImage(context, IMAGE);
      const frozen = overlay(await rawImage(host), WHOLE, SIZE_BYTES);
      if (snapshots.length > 0) assert.ok((await read(context, 's')).equals(frozen), `${errno} at ${at}`);
      if (calls <= at) break;
      assert.ok(at < 300);
    }
  }
});

test('bytes of header and list by chance: refused, or read as they say', async (t) => {
  const seed = Number(process.env.IMGSNAP_SEED ?? randomInt(2 ** 31));
  t.diagnostic(`IMGSNAP_SEED=${seed}`);
  const chance = new Chance(seed);
  const answers = { refused: 0, imported: 0 };
  for (let run = 0; run < 400; run += 1) {
    const store = Buffer.from(WHOLE);
    for (let left = 1 + chance.below(3); left > 0; left -= 1) {
      const at = chance.once(4) ? chance.below(16) : AREA + chance.below(16 * 7);
      // Small numbers more often than not: they mean something.
      store[at] = chance.once(3) ? chance.below(256) : chance.below(9);
    }
    const { host, context } = await makeScene(store);
    try {
      await create(context, 's', { importDmPath: STORE, clusterSizeBytes: 4096 });
    } catch (error) {
      assert.ok(error instanceof SnapError && /^(?:refused|newer-version)$/.test(error.code), String(error));
      answers.refused += 1;
      continue;
    }
    const expected = await rawImage(host);
    const size = store.readUInt32LE(12) * 512;
    for (let at = size; store.readBigUInt64LE(at + 8) > 0n; at += 16) {
      const [old = 0, to = 0] = [at, at + 8].map((place) => Number(store.readBigUInt64LE(place)) * size);
      store.copy(expected, old, to, to + size);
    }
    assert.ok((await read(context, 's')).equals(expected), `run ${run}`);
    answers.imported += 1;
  }
  assert.ok(answers.refused > 20 && answers.imported > 20, JSON.stringify(answers));
});
