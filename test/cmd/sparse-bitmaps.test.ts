/**
 * Holes of a large copied bitmap are not read to prove it. What was copied far apart is found all the same, by every
 * command that goes through stores; and a bitmap that lost something, or ends in a hole, is told.
 */
import assert from 'node:assert/strict';
import { truncateSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { KIB, makeSparse, noise, type Workplace, workplace, writeBytes } from '../support/commands.ts';

const CLUSTER = 4 * KIB;
/** A bitmap of 512 KiB. */
const CLUSTERS = 2 ** 22;
/** At both ends, and around where windows of the bitmap begin. */
const COPIED = [0, 32_767, 32_768, 2 ** 21 - 1, 2 ** 21, CLUSTERS - 40_000, CLUSTERS - 1];

const content = (cluster: number) => noise(`old ${cluster}`, CLUSTER);

/** Two snapshots; the older one has copied all of `COPIED`, and the newer one the first of them again. */
async function farApart(t: TestContext): Promise<Workplace | undefined> {
  const work = await workplace(t);
  if (!makeSparse(t, work.path('disk.img'), CLUSTERS * CLUSTER)) return undefined;
  for (const cluster of COPIED) writeBytes(work.path('disk.img'), cluster * CLUSTER, content(cluster));
  await work.ok('snap-create', ['-q', 'disk.img@zero', '--cluster-size', String(CLUSTER)]);
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  for (const cluster of COPIED) await work.write('disk.img', cluster * CLUSTER, noise('new', CLUSTER));
  await work.ok('snap-create', ['-q', 'disk.img@two']);
  return work;
}

async function checkContent(work: Workplace, name: string): Promise<void> {
  for (const cluster of COPIED) {
    const range = ['--offset', String(cluster * CLUSTER), '--length', String(CLUSTER)];
    assert.ok((await work.read(`disk.img@${name}`, ...range)).equals(content(cluster)), `cluster ${cluster}`);
  }
}

test('what lies far apart in a bitmap is read, verified, counted and handed over', async (t) => {
  const work = await farApart(t);
  if (work === undefined) return;
  await checkContent(work, 'zero');
  const { stdout } = await work.ok('snap-verify', ['disk.img']);
  assert.match(stdout, new RegExp(`0 findings; 3 of 3 snapshots whole, ${COPIED.length} clusters checked`));
  const before = work.diskBytes('disk.img.snap');
  const plan = JSON.parse((await work.ok('snap-gc', ['--json', '--dry-run', 'disk.img@one'])).stdout);
  await work.ok('snap-gc', ['-q', 'disk.img@one']);
  // Of what it took all is handed over but for its own tables.
  assert.ok(plan.bytesFreed < before && plan.bytesFreed < 40 * CLUSTER, `${plan.bytesFreed} bytes`);
  await checkContent(work, 'zero');
});

test('a bitmap that lost a bit far from the others is told, and made up for from the table', async (t) => {
  const work = await farApart(t);
  if (work === undefined) return;
  const { store, bitmap } = work.places('disk.img', 'one');
  writeBytes(store, bitmap + (CLUSTERS - 40_000) / 8, Buffer.of(0));
  const { status, stdout } = await work.run('snap-verify', ['disk.img']);
  assert.equal(status, 3);
  assert.match(stdout, /its copied bitmap does not come to its figure/);
  await checkContent(work, 'zero');
});

test('a store that ends in a hole of its bitmap is damaged', async (t) => {
  const work = await farApart(t);
  if (work === undefined) return;
  const { store, bitmap } = work.places('disk.img', 'one');
  truncateSync(store, bitmap + 100 * KIB);
  const { status, stdout } = await work.run('snap-verify', ['disk.img']);
  assert.equal(status, 3);
  assert.match(stdout, /the file ends at \d+, inside the/);
});
