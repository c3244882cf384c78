/**
 * What snap-list --json tells of a store, against what the writes said that they copied, what stands in the store, and
 * what is on the disk.
 */
import assert from 'node:assert/strict';
import { existsSync, renameSync, rmSync, statSync } from 'node:fs';
import { test } from 'node:test';
import { chooseSeed, KIB, noise, type Workplace, workplace, writeBytes } from '../support/commands.ts';

const CLUSTER = 4 * KIB;
const SIZE = 17 * CLUSTER - 1000;

async function listed(work: Workplace, ...args: string[]) {
  const [{ snapshots }] = JSON.parse((await work.ok('snap-list', ['--json', ...args])).stdout);
  return snapshots;
}

/** Clusters of noise, but every third is zero. */
function content(seed: string, sizeBytes = SIZE): Buffer {
  const bytes = noise(seed, sizeBytes);
  for (let at = 0; at < sizeBytes; at += 3 * CLUSTER) bytes.fill(0, at, Math.min(sizeBytes, at + CLUSTER));
  return bytes;
}

test('clusters, zero clusters and bytes are the sums of what the writes copied', async (t) => {
  const work = await workplace(t);
  const seed = chooseSeed(t);
  const number = (index: number, most: number) => noise(`${seed}/${index}`, 4).readUInt32LE() % most;
  // The last cluster is short, short and zero, or whole.
  for (const size of [SIZE, 16 * CLUSTER - 1000, 17 * CLUSTER]) {
    const image = `disk${size}.img`;
    const bytes = work.image(image, content(seed, size));
    await work.ok('snap-create', ['-q', `${image}@one`, '--cluster-size', String(CLUSTER)]);
    const sums = { clustersCopied: 0, clustersZero: 0, bytesCopied: 0 };
    const seen = new Set<number>();
    for (let round = 0; round < 8; round += 1) {
      // In the end all that is left, the short last cluster too.
      const offset = round === 7 ? 0 : number(round, bytes.length);
      const length = Math.min(bytes.length - offset, round === 7 ? bytes.length : 3 * CLUSTER);
      const args = ['--json', image, '--offset', String(offset)];
      const { stdout } = await work.ok('snap-write', args, { stdin: noise(round, length) });
      const summary = JSON.parse(stdout);
      sums.clustersCopied += summary.clustersCopied;
      sums.bytesCopied += summary.bytesCopied;
      for (let at = Math.floor(offset / CLUSTER); at * CLUSTER < offset + length; at += 1) seen.add(at);
      sums.clustersZero = [...seen].filter((cluster) => cluster % 3 === 0).length;
      const [one] = await listed(work, image);
      const { clustersCopied, clustersZero, bytesCopied } = one;
      assert.deepEqual({ clustersCopied, clustersZero, bytesCopied }, sums, `round ${round}`);
      assert.equal(one.storeBytes, statSync(work.store(image, 'one')).blocks * 512);
    }
    const present = Array.from(bytes).filter((_, at) => Math.floor(at / CLUSTER) % 3 !== 0).length;
    assert.deepEqual([sums.clustersZero, sums.bytesCopied], [6, present]);
  }
});

test('what was handed over is in the store, and told as that', async (t) => {
  const work = await workplace(t);
  work.image('disk.img', content('handed'));
  await work.ok('snap-create', ['-q', 'disk.img@one', '--cluster-size', String(CLUSTER)]);
  await work.ok('snap-create', ['-q', 'disk.img@two']);
  await work.write('disk.img', 0, noise('new', SIZE));
  const [one, two] = await listed(work, 'disk.img');
  assert.deepEqual([one.clustersCopied, one.clustersZero, one.bytesCopied], [0, 0, 0]);
  await work.ok('snap-gc', ['-q', 'disk.img@two']);
  const [after] = await listed(work, 'disk.img');
  assert.deepEqual(
    [after.clustersCopied, after.clustersZero, after.bytesCopied],
    [two.clustersCopied, two.clustersZero, two.bytesCopied],
  );
});

test('a store that is damaged or missing hides neither the others nor what the catalog knows', async (t) => {
  const work = await workplace(t);
  work.image('disk.img', content('damaged'));
  for (const name of ['one', 'two', 'three']) {
    await work.ok('snap-create', ['-q', `disk.img@${name}`, '--cluster-size', String(CLUSTER)]);
    await work.write('disk.img', 0, noise(name, 5 * CLUSTER));
  }
  const before = await listed(work, 'disk.img');
  const { store } = work.places('disk.img', 'one');
  for (const offsetBytes of [4096, 8192]) writeBytes(store, offsetBytes, Buffer.alloc(128));
  rmSync(work.store('disk.img', 'two'));
  const [one, two, three] = await listed(work, 'disk.img');
  for (const each of [one, two]) {
    assert.deepEqual([each.clustersCopied, each.clustersZero, each.bytesCopied], [5, null, null]);
  }
  assert.equal(one.storeBytes, before[0].storeBytes);
  assert.equal(two.storeBytes, 0);
  assert.deepEqual(three, before[2]);
});

test('an orphan tells what its store has, and every file that is needed is named', async (t) => {
  const work = await workplace(t);
  work.image('disk.img', content('orphan'));
  await work.ok('snap-create', ['-q', 'disk.img@one', '--store', 'elsewhere', '--max-size', '1M']);
  await work.write('disk.img', 0, noise('new', 10_000));
  const [active] = await listed(work, 'disk.img');
  assert.deepEqual(active.files, [work.path('elsewhere'), work.path('disk.img')]);
  for (const path of active.files) assert.ok(existsSync(path));
  renameSync(work.path('disk.img'), work.path('away'));
  const [orphan] = await listed(work);
  const { state, reason, files, ...rest } = orphan;
  assert.deepEqual([state, reason, files], ['orphan', 'the image is not there', [work.path('elsewhere')]]);
  const { state: _, files: __, ...known } = active;
  assert.deepEqual(rest, known);
});

test('--help and the contract agree on the names', async (t) => {
  const work = await workplace(t);
  const { stdout } = await work.ok('snap-list', ['--help']);
  for (const key of ['clustersCopied', 'clustersZero', 'bytesCopied', 'limitUsed', 'ended', 'endedCluster']) {
    assert.ok(stdout.includes(key), key);
  }
});
