/**
 * What is joined into one call and what is not: adjacent clusters, slots that follow one another, what a write lacks; and
 * a last cluster that is cut.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { collectSnapshots } from '../../core/snapshot/collect.ts';
import { missingClusters } from '../../core/snapshot/cow-writer.ts';
import { FROM_ORIGIN, segments, UNKNOWN_SOURCE } from '../../core/snapshot/run-planner.ts';
import { Volume } from '../../core/snapshot/volume.ts';
import { joinRuns } from '../../core/store/append.ts';
import { EntryCodec } from '../../core/store/entry.ts';
import { ENTRY } from '../../core/store/layout.ts';
import { oneOf, slotRuns } from '../../core/store/slot-runs.ts';
import { MemoryHost } from '../sim/memory-host.ts';
import { testContext } from '../support/context.ts';
import { create, IMAGE, makeImage, noise, read, write } from '../support/image.ts';

const O = FROM_ORIGIN;
const U = UNKNOWN_SOURCE;

test('adjacent clusters of one source are one segment', () => {
  const cases: readonly [sources: number[], expected: string][] = [
    [[], ''],
    [[O], '-1:100+1'],
    [[O, O, O], '-1:100+3'],
    [[0, 0, 1, 1], '0:100+2 1:102+2'],
    [[O, 2, O], '-1:100+1 2:101+1 -1:102+1'],
    [[U, U, O], '-2:100+2 -1:102+1'],
    [[3, O, O, 3, 3], '3:100+1 -1:101+2 3:103+2'],
  ];
  for (const [sources, expected] of cases) {
    const found = [...segments(Int16Array.from(sources), 100)];
    assert.equal(
      found.map(({ source, firstCluster, count }) => `${source}:${firstCluster}+${count}`).join(' '),
      expected,
    );
  }
});

const UUID = '01234567-89ab-cdef-0123-456789abcdef';
/** The first of the clusters that `slotRuns` is asked for, and how many entries stand before its own. */
const FIRST = 100;
const BEFORE = 2;

/** `?` stands for an entry that proves nothing. The hash of each is its cluster's index. */
function tableOf(codec: EntryCodec, slots: readonly (number | '?')[]): Buffer {
  const table = Buffer.alloc((BEFORE + slots.length) * ENTRY.sizeBytes);
  for (const [index, slotIndex] of slots.entries()) {
    if (slotIndex === '?') continue;
    const cluster = FIRST + index;
    const entry = { slotIndex, handedOver: false, hash: BigInt(cluster), batch: 1 };
    codec.encode(entry, cluster, table, (BEFORE + index) * ENTRY.sizeBytes);
  }
  return table;
}

test('slots that follow one another are one run, and so are clusters without a slot; what is not proven is in none', () => {
  const cases: readonly [slots: (number | '?')[], most: number, expected: string][] = [
    [[], 9, ''],
    [[5], 9, '0+1@5'],
    [[5, 6, 7], 9, '0+3@5'],
    [[5, 6, 7], 2, '0+2@5 2+1@7'],
    [[5, 6, 7], 1, '0+1@5 1+1@6 2+1@7'],
    [[5, 7, 8], 9, '0+1@5 1+2@7'],
    [[-1, -1], 9, '0+2@-1'],
    [[-1, -1, -1], 2, '0+2@-1 2+1@-1'],
    [[-1, 0, 1, -1], 9, '0+1@-1 1+2@0 3+1@-1'],
    [[2, 1, 0], 9, '0+1@2 1+1@1 2+1@0'],
    [[4, 4], 9, '0+1@4 1+1@4'],
    [['?'], 9, '0?'],
    [['?', 3, 4, '?', 5, '?'], 9, '1+2@3 4+1@5 0? 3? 5?'],
    [['?', -1, '?', '?', -1], 9, '1+1@-1 4+1@-1 0? 2? 3?'],
  ];
  for (const [slots, most, expected] of cases) {
    const codec = new EntryCodec(UUID);
    const unproven: string[] = [];
    const where = {
      table: tableOf(codec, slots),
      at: BEFORE,
      clusters: { firstCluster: FIRST, count: slots.length },
    };
    const runs = slotRuns(codec, where, most, (cluster) => unproven.push(`${cluster - FIRST}?`));
    const found = runs.map(
      ({ firstCluster, count, slotIndex }) => `${firstCluster - FIRST}+${count}@${slotIndex}`,
    );
    assert.equal([...found, ...unproven].join(' '), expected);
    for (const run of runs) {
      assert.deepEqual(
        [...run.hashes],
        Array.from({ length: run.count }, (_, index) => BigInt(run.firstCluster + index)),
      );
    }
  }
});

test('one cluster of a run', () => {
  const hashes = BigUint64Array.of(7n, 8n, 9n);
  assert.deepEqual(oneOf({ firstCluster: 10, count: 3, slotIndex: 4, hashes }, 2), {
    firstCluster: 12,
    count: 1,
    slotIndex: 6,
    hashes: BigUint64Array.of(9n),
  });
  assert.equal(oneOf({ firstCluster: 10, count: 3, slotIndex: -1, hashes }, 1).slotIndex, -1);
});

test('adjacent indexes are joined up to the most that fits', () => {
  const cases: readonly [indexes: number[], most: number, expected: string][] = [
    [[], 4, ''],
    [[7], 4, '7+1'],
    [[1, 2, 3], 4, '1+3'],
    [[1, 2, 3], 2, '1+2 3+1'],
    [[1, 2, 3], 1, '1+1 2+1 3+1'],
    [[1, 3, 4, 9], 4, '1+1 3+2 9+1'],
    [[0, 1, 2, 3, 4, 5], 3, '0+3 3+3'],
  ];
  for (const [indexes, most, expected] of cases) {
    const found = joinRuns(indexes, most);
    assert.equal(found.map(({ firstCluster, count }) => `${firstCluster}+${count}`).join(' '), expected);
  }
});

test('a write lacks the clusters that it touches, that the newest has not, and that a snapshot covers', async () => {
  const host = new MemoryHost();
  const context = testContext(host);
  // Clusters 0 to 3, the last of them with one byte only.
  await makeImage(host, noise(1, 3 * 4096 + 1));
  await create(context, 'a', { clusterSizeBytes: 4096 });
  await write(context, 4096, noise(2, 1));
  await write(context, 3 * 4096 + 1, noise(2, 8192), { extend: true });
  const cases: readonly [why: string, extents: [offset: number, length: number][], expected: number[]][] = [
    ['nothing', [], []],
    ['no byte', [[0, 0]], []],
    ['one byte', [[0, 1]], [0]],
    ['up to the border', [[0, 4096]], [0]],
    ['what is copied already', [[4096, 4096]], []],
    ['around it', [[4095, 4098]], [0, 2]],
    ['the short last one', [[3 * 4096, 1]], [3]],
    ['only past the snapshot, in the same cluster', [[3 * 4096 + 1, 100]], []],
    ['everything', [[0, 5 * 4096]], [0, 2, 3]],
    [
      'twice the same',
      [
        [10, 10],
        [30, 10],
      ],
      [0],
    ],
  ];
  const volume = await Volume.open(context, IMAGE, 'write');
  await volume.exclusive(async (hold) => {
    const active = await hold?.active();
    assert.ok(hold !== undefined && active !== undefined);
    for (const [why, extents, expected] of cases) {
      const all = extents.map(([offsetBytes, length]) => ({ offsetBytes, data: Buffer.alloc(length) }));
      assert.deepEqual(await missingClusters(hold, active, all), expected, why);
    }
  });
  await volume.close();
});

test('a last cluster that is cut when it is handed over has the hash of what is left', async () => {
  const host = new MemoryHost();
  const context = testContext(host);
  const content = noise(1, 3 * 4096 + 1000);
  await makeImage(host, content);
  await create(context, 'a', { clusterSizeBytes: 4096 });
  await write(context, content.length, noise(2, 8192), { extend: true });
  await create(context, 'b');
  await write(context, 0, noise(3, content.length + 8192));
  await collectSnapshots(context, IMAGE, { names: ['b'], dryRun: false });
  assert.deepEqual(await read(context, 'a'), content);
});
