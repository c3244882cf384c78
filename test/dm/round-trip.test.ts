/**
 * Random images and writes, exported with chunks of every size: an independent reader must read the snapshot from the
 * store and the origin, a merge must bring the origin back, and imported beside a copy of the origin it must be the same
 * snapshot, through later writes too.
 */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { verifySnapshots } from '../../core/snapshot/verify.ts';
import { MemoryHost } from '../sim/memory-host.ts';
import { testContext } from '../support/context.ts';
import { candidatesBy, create, makeImage, noise, rawImage, read, write } from '../support/image.ts';
import { merged, overlay, parseStore } from './exception-store.ts';
import { exported, putFile, STORE } from './scene.ts';

const RUNS = 60;
const seed = Number(process.env.IMGSNAP_SEED ?? randomInt(2 ** 31));

const powers = (from: number, to: number) => fc.integer({ min: from, max: to }).map((power) => 2 ** power);

const plans = fc.record({
  sectors: fc.integer({ min: 1, max: 900 }),
  grownBytes: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 40_000 })),
  clusterBytes: powers(12, 17),
  chunkBytes: powers(9, 19),
  importedClusterBytes: fc.option(powers(12, 17), { nil: undefined }),
  others: fc.integer({ min: 0, max: 2 }),
  /** Clusters that are not kept: none, one in so many, or all from there on. */
  notKept: fc.option(
    fc.record({ how: fc.constantFrom('one in', 'from'), count: fc.integer({ min: 1, max: 40 }) }),
    { nil: undefined },
  ),
  writes: fc.array(
    fc.record({
      at: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
      lengthBytes: fc.integer({ min: 1, max: 60_000 }),
      what: fc.constantFrom('noise', 'noise', 'zeros', 'as it was'),
    }),
    { maxLength: 12 },
  ),
});

type Plan = typeof plans extends fc.Arbitrary<infer P> ? P : never;

async function runPlan(plan: Plan): Promise<void> {
  const sizeBytes = plan.sectors * 512;
  const host = new MemoryHost();
  const context = testContext(host);
  const frozen = noise(1, sizeBytes);
  frozen.fill(0, Math.floor(sizeBytes / 3), Math.floor(sizeBytes / 2));
  await makeImage(host, frozen);
  const { notKept, clusterBytes } = plan;
  const isKept = (index: number) =>
    notKept === undefined || (notKept.how === 'from' ? index < notKept.count : index % notKept.count !== 0);
  const candidates = notKept && candidatesBy(isKept);
  await create(context, 's', { clusterSizeBytes: clusterBytes, candidates });
  for (let index = 0; index * clusterBytes < sizeBytes; index += 1) {
    if (!isKept(index)) frozen.subarray(index * clusterBytes, (index + 1) * clusterBytes).fill(0);
  }
  assert.ok((await read(context, 's')).equals(frozen));
  for (const [index, { at, lengthBytes, what }] of plan.writes.entries()) {
    if (index > 0 && index <= plan.others) await create(context, `other${index}`);
    const offsetBytes = Math.floor(at * sizeBytes);
    const untilBytes = Math.min(sizeBytes, offsetBytes + lengthBytes);
    const data = { noise: noise(index + 2, lengthBytes), zeros: Buffer.alloc(lengthBytes) };
    const given =
      what === 'as it was' ? frozen.subarray(offsetBytes) : data[what === 'zeros' ? 'zeros' : 'noise'];
    await write(context, offsetBytes, given.subarray(0, untilBytes - offsetBytes));
  }
  if (plan.grownBytes > 0) await write(context, sizeBytes, noise(99, plan.grownBytes), { extend: true });
  const origin = await rawImage(host);

  const store = await exported(context, 's', { chunkSizeBytes: plan.chunkBytes });
  const { chunks, chunkBytes } = parseStore(store);
  assert.equal(chunkBytes, plan.chunkBytes);
  assert.ok(overlay(origin, store, sizeBytes).equals(frozen), 'read through the store');
  const back = merged(origin, store);
  assert.ok(back.subarray(0, sizeBytes).equals(frozen), 'merged');
  assert.ok(back.subarray(sizeBytes).equals(origin.subarray(sizeBytes)), 'what the image has grown by stays');
  for (const old of chunks.keys()) {
    const range = [old * chunkBytes, Math.min((old + 1) * chunkBytes, sizeBytes)] as const;
    assert.ok(!origin.subarray(...range).equals(frozen.subarray(...range)), `chunk ${old} does not differ`);
  }
  await importAndWrite(plan, origin.subarray(0, sizeBytes), store, frozen);
}

async function importAndWrite(plan: Plan, origin: Buffer, store: Buffer, frozen: Buffer): Promise<void> {
  const host = new MemoryHost();
  const context = testContext(host);
  await makeImage(host, origin);
  await putFile(host, STORE, store);
  const clusterSizeBytes = plan.importedClusterBytes;
  const created = await create(context, 'imported', { importDmPath: STORE, clusterSizeBytes });
  assert.equal(created.clusterSizeBytes, clusterSizeBytes ?? Math.max(4096, plan.chunkBytes));
  assert.ok((await read(context, 'imported')).equals(frozen), 'imported');
  assert.ok((await rawImage(host)).equals(origin), 'an import changes nothing of the image');
  const { findings } = await verifySnapshots(context, '/disk.img', []);
  assert.deepEqual(findings, []);
  await write(context, 0, noise(50, Math.min(origin.length, 30_000)));
  await create(context, 'next');
  await write(context, 0, noise(51, origin.length));
  assert.ok((await read(context, 'imported')).equals(frozen), 'imported, and written over');
}

test('a store that is exported reads, merges and is imported as the snapshot', async (t) => {
  t.diagnostic(`${RUNS} plans, IMGSNAP_SEED=${seed}`);
  await fc.assert(fc.asyncProperty(plans, runPlan), { numRuns: RUNS, seed });
});

test('areas that are just full, and one chunk less or more', async () => {
  for (const count of [31, 32, 33, 63, 64, 65]) {
    const host = new MemoryHost();
    const context = testContext(host);
    const frozen = noise(1, 100 * 512);
    await makeImage(host, frozen);
    await create(context, 's');
    await write(context, 512, noise(2, count * 512));
    const store = await exported(context, 's', { chunkSizeBytes: 512 });
    assert.equal(parseStore(store).chunks.size, count);
    assert.equal(store.length, (2 + Math.floor(count / 32) + count) * 512);
    await importAndWrite(
      { importedClusterBytes: undefined, chunkBytes: 512 } as Plan,
      await rawImage(host),
      store,
      frozen,
    );
  }
});

test('long parts that are not kept: zeros in the store, where the image has something else', async () => {
  const host = new MemoryHost();
  const context = testContext(host);
  const frozen = noise(1, 6 << 20);
  await makeImage(host, frozen);
  const clusterSizeBytes = 65_536;
  await create(context, 's', {
    clusterSizeBytes,
    candidates: candidatesBy((index) => index < 3 || index > 90),
  });
  await write(context, 2 << 20, Buffer.alloc(2 << 20));
  await write(context, 0, noise(2, 300_000));
  frozen.fill(0, 3 * clusterSizeBytes, 91 * clusterSizeBytes);
  const origin = await rawImage(host);
  const store = await exported(context, 's', { chunkSizeBytes: 16_384 });
  assert.ok(overlay(origin, store, frozen.length).equals(frozen));
  // What was zeroed since is the same in both.
  const first = (2 << 20) / 16_384;
  assert.ok([...parseStore(store).chunks.keys()].every((old) => old < first || old >= 2 * first));
});

test('a large image with holes: many holds, and areas of many chunks', async () => {
  for (const [clusterSizeBytes, chunkSizeBytes] of [
    [65_536, 4096],
    [4096, 65_536],
    [1 << 20, 512],
  ] as const) {
    const host = new MemoryHost();
    const context = testContext(host);
    const sizeBytes = 12 << 20;
    await makeImage(host, sizeBytes);
    await write(context, 5 << 20, noise(1, 1 << 20));
    const frozen = await rawImage(host);
    await create(context, 's', { clusterSizeBytes });
    await write(context, 100_000, noise(2, 700_000));
    for (let index = 0; index < 40; index += 1) await write(context, index * 300_000, noise(index, 10));
    await write(context, sizeBytes - 3_000_000, noise(3, 3_000_000));
    const origin = await rawImage(host);
    const store = await exported(context, 's', { chunkSizeBytes });
    assert.ok(overlay(origin, store, sizeBytes).equals(frozen));
    await importAndWrite(
      { importedClusterBytes: clusterSizeBytes, chunkBytes: chunkSizeBytes } as Plan,
      origin,
      store,
      frozen,
    );
  }
});
