/**
 * Memory is bounded by constants (invariant 8): with the most clusters that a default image can have, with a damaged
 * table for all of them, and with a catalog as large as one may be.
 */
import assert from 'node:assert/strict';
import { closeSync, openSync, readFileSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { SetSum } from '../../core/base/bitmap.ts';
import { PACE } from '../../core/store/append.ts';
import { decodeCatalog, encodeCatalog } from '../../core/store/catalog-codec.ts';
import { figureOf } from '../../core/store/figure.ts';
import { EMPTY_STORE_RECORD, encodeFlushRecord, recordOffsetBytes } from '../../core/store/flush-record.ts';
import { DEFAULT_MAX_CLUSTER_COUNT } from '../../core/store/layout.ts';
import { decodeState, encodeState } from '../../core/store/state.ts';
import { runBounded } from '../support/bounded.ts';
import {
  type CommandName,
  KIB,
  MIB,
  makeSparse,
  noise,
  type Workplace,
  workplace,
} from '../support/commands.ts';

/** Node alone takes about 50 MiB. */
const PEAK_BYTES = 256 * MIB;
const CLUSTER = 4 * KIB;
const EVERYTHING = process.env.IMGSNAP_ALL_BITS === '1';
/** A lost table of the largest takes its time; this is large enough to show what is kept for each entry. */
const LOST_COUNT = EVERYTHING ? DEFAULT_MAX_CLUSTER_COUNT : 2 ** 21;
/** Findings that are told of one store. */
const MOST_TOLD = 10_000;

/** An image of holes with so many clusters, and two snapshots of it. */
async function holes(t: TestContext, clusterCount: number): Promise<Workplace | undefined> {
  const work = await workplace(t);
  const sizeBytes = clusterCount * CLUSTER;
  if (!makeSparse(t, work.path('disk.img'), sizeBytes)) return undefined;
  const size = ['--cluster-size', String(CLUSTER)];
  await work.ok('snap-create', ['-q', 'disk.img@one', ...size]);
  await work.write('disk.img', sizeBytes / 2, noise('middle', MIB));
  await work.ok('snap-create', ['-q', 'disk.img@two']);
  return work;
}

/** Runs a command that must end with `status`, in bounded memory. */
async function checkPeak(
  t: TestContext,
  work: Workplace,
  words: readonly [CommandName, ...string[]],
  expected: { readonly status?: number; readonly stdin?: Buffer } = {},
): Promise<string> {
  const [name, ...args] = words;
  const { stdin, status = 0 } = expected;
  const answer = await runBounded(work, name, args, stdin === undefined ? {} : { stdin });
  assert.equal(answer.status, status, `${words.join(' ')}: ${answer.stderr}`);
  t.diagnostic(`${words.join(' ')}: ${Math.round(answer.peakBytes / MIB)} MiB`);
  assert.ok(answer.peakBytes < PEAK_BYTES, `${words.join(' ')}: ${answer.peakBytes} bytes`);
  return answer.stdout;
}

test('2^24 clusters: every command stays below 256 MiB', async (t) => {
  const work = await holes(t, DEFAULT_MAX_CLUSTER_COUNT);
  if (work === undefined) return;
  const stdin = noise('three batches', 3 * PACE.batchBytes);
  await checkPeak(t, work, ['snap-write', 'disk.img', '--offset', '1M'], { stdin });
  await checkPeak(t, work, ['snap-verify', 'disk.img']);
  await checkPeak(t, work, ['snap-list', '--json', 'disk.img']);
  const middle = [
    '--offset',
    String((DEFAULT_MAX_CLUSTER_COUNT / 2) * CLUSTER - 30 * MIB),
    '--length',
    '60M',
  ];
  await checkPeak(t, work, ['snap-read', 'disk.img@one', '-o', 'out', ...middle]);
  await checkPeak(t, work, ['snap-gc', 'disk.img', '--dry-run', '--max-total', '1']);
  await checkPeak(t, work, ['snap-gc', 'disk.img@two']);
});

/** Says that the newest store has copied every cluster, in all places that know, while its table is empty. */
function pretendAllCopied(work: Workplace): void {
  const { store, bitmap } = work.places('disk.img', 'two');
  const state = decodeState(readFileSync(work.path('disk.img.snap/state')), 'state');
  assert.ok(state !== undefined);
  const sum = new SetSum();
  for (let index = 0; index < LOST_COUNT; index += 1) sum.add(index);
  const made = figureOf(sum, state.batch);
  const record = { ...EMPTY_STORE_RECORD, sequence: 3, made, known: made };
  const fd = openSync(store, 'r+');
  writeSync(fd, encodeFlushRecord(record, state.figureStoreUuid), 0, 128, recordOffsetBytes(3));
  writeSync(fd, Buffer.alloc(LOST_COUNT / 8, 0xff), 0, LOST_COUNT / 8, bitmap);
  closeSync(fd);
  writeFileSync(work.path('disk.img.snap/state'), encodeState({ ...state, figure: made, figureSequence: 3 }));
}

test(`a table of ${LOST_COUNT} entries that is lost: told, in bounded memory`, async (t) => {
  const work = await holes(t, LOST_COUNT);
  if (work === undefined) return;
  pretendAllCopied(work);
  const said = await checkPeak(t, work, ['snap-verify', 'disk.img'], { status: 3 });
  assert.match(said, /^disk\.img@two: cluster 0: copied by its bit, and has no entry$/m);
  assert.ok(said.includes(`\ndisk.img@two: ${LOST_COUNT - MOST_TOLD} more findings like these\n`));
  assert.match(said, /0 of 2 snapshots whole/);
  await checkPeak(t, work, ['snap-read', 'disk.img@two', '--length', '1'], { status: 3 });
  await checkPeak(t, work, ['snap-write', 'disk.img'], { stdin: Buffer.from('x') });
});

test('a store of dm-snapshot with more exceptions than are gathered at a time', async (t) => {
  const work = await workplace(t);
  const chunk = 512;
  const count = EVERYTHING ? 2 ** 22 : 2 ** 20 + 2 ** 18;
  if (!makeSparse(t, work.path('disk.img'), count * chunk)) return;
  // All zeros but for its areas, and in an order that leads everywhere.
  const inArea = chunk / 16;
  const fd = openSync(work.path('kernel.cow'), 'w');
  writeSync(fd, Buffer.from(new Uint32Array([0x70416e53, 1, 1, 1]).buffer), 0, 16, 0);
  for (let area = 0; area * inArea < count; area += 1) {
    const entries = new BigUint64Array(chunk / 8);
    for (let index = 0; index < inArea; index += 1) {
      const at = area * inArea + index;
      entries.set([BigInt((at * 7919) % count), BigInt(2 + area + at)], index * 2);
    }
    writeSync(fd, Buffer.from(entries.buffer), 0, chunk, (1 + area * (inArea + 1)) * chunk);
  }
  closeSync(fd);
  truncateSync(work.path('kernel.cow'), (2 + count / inArea + count) * chunk);
  await checkPeak(t, work, ['snap-create', 'disk.img@s', '--import-dm', 'kernel.cow']);
  const [listed] = JSON.parse((await work.ok('snap-list', ['--json', 'disk.img'])).stdout);
  assert.equal(listed.snapshots[0].clustersCopied, (count * chunk) / CLUSTER);
  await work.write('disk.img', 0, noise('new', 40 * MIB));
  const export512 = ['disk.img@s', '--format', 'dm', '--chunk-size', '512', '-o', 'out.cow'];
  await checkPeak(t, work, ['snap-read', ...export512]);
});

test('a catalog of 10,000 snapshots, or of noise, in bounded memory', async (t) => {
  const work = await workplace(t);
  work.image('disk.img', noise('many', 100 * KIB));
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  const path = work.path('disk.img.snap/catalog.json');
  const sound = readFileSync(path);
  const catalog = decodeCatalog(sound, path);
  const [record] = catalog.snapshots;
  assert.ok(record !== undefined);
  const newest = 10_000;
  const snapshots = Array.from({ length: newest }, (_, index) => ({
    ...record,
    name: `s${index}`,
    uuid: record.uuid.replace(/.{12}$/, String(index).padStart(12, '0')),
    number: index + 1,
    label: 'x'.repeat(800),
    storePath: `s${index}.cow`,
    sealed: index === newest - 1 ? undefined : { batch: 0, count: 0, xorLow: 0, xorHigh: 0 },
  }));
  writeFileSync(path, encodeCatalog({ ...catalog, nextNumber: newest + 1, snapshots }));
  await checkPeak(t, work, ['snap-list', 'disk.img']);
  await checkPeak(t, work, ['snap-verify', 'disk.img'], { status: 3 });
  const junk: readonly [string, Buffer][] = [
    ['noise', noise('junk', 17 * MIB)],
    ['brackets', Buffer.alloc(15 * MIB, '[')],
    ['objects', Buffer.alloc(15 * MIB, '{},')],
  ];
  for (const [what, bytes] of junk) {
    writeFileSync(path, bytes);
    await checkPeak(t, work, ['snap-list', 'disk.img'], { status: 3 });
    if (what !== 'noise') continue;
    truncateSync(path, 2 ** 40);
    await checkPeak(t, work, ['snap-read', 'disk.img@one'], { status: 3 });
  }
});
