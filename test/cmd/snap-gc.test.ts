/** snap-gc as a process: what goes and why, what stays right, and what is nobody else's business. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { encodeStoreHeader } from '../../core/store/store-header.ts';
import { KIB, MIB, noise, type Workplace, workplace, writeBytes } from '../support/commands.ts';

const CLUSTER = 64 * KIB;

interface Collection {
  readonly image: string;
  readonly dryRun: boolean;
  readonly kept: readonly { readonly name: string; readonly reasons: readonly string[] }[];
  readonly removed: readonly { readonly name: string; readonly reasons: readonly string[] }[];
  readonly bytesFreed: number;
}

/** Runs in JSON mode: a dry run first, which must change nothing and say what the real run then does. */
async function collect(work: Workplace, ...args: string[]): Promise<Collection> {
  const before = work.fingerprint();
  const dry = JSON.parse((await work.ok('snap-gc', ['--json', '--dry-run', ...args])).stdout);
  assert.deepEqual(work.fingerprint(), before);
  const real = JSON.parse((await work.ok('snap-gc', ['--json', ...args])).stdout);
  assert.deepEqual(Object.keys(real), ['image', 'dryRun', 'kept', 'removed', 'bytesFreed']);
  assert.deepEqual([dry.dryRun, real.dryRun], [true, false]);
  assert.deepEqual([real.kept, real.removed], [dry.kept, dry.removed]);
  return real;
}

const names = (verdicts: Collection['kept']) => verdicts.map(({ name }) => name);
async function listed(work: Workplace): Promise<string[]> {
  const [{ snapshots }] = JSON.parse((await work.ok('snap-list', ['--json', 'disk.img'])).stdout);
  return snapshots.map(({ name }: { name: string }) => name);
}

/** An image and snapshots `s1` to `s<count>`, each before a write to clusters of its own; their contents. */
async function withHistory(work: Workplace, count: number, times: readonly string[] = []): Promise<Buffer[]> {
  work.image('disk.img', noise('gc', 8 * CLUSTER));
  const contents: Buffer[] = [];
  for (let index = 1; index <= count; index += 1) {
    contents.push(await work.read('disk.img'));
    const time = times[index - 1];
    await work.ok('snap-create', [
      '-q',
      `disk.img@s${index}`,
      ...(time === undefined ? [] : ['--time', time]),
    ]);
    await work.write('disk.img', index * CLUSTER, noise(index, 2 * CLUSTER));
  }
  return contents;
}

test('by name, from the middle, the newest and the oldest; the others stay right', async (t) => {
  const work = await workplace(t);
  const contents = await withHistory(work, 5);
  const stillRight = async (...left: number[]) => {
    assert.deepEqual(
      await listed(work),
      left.map((index) => `s${index}`),
    );
    for (const index of left) {
      assert.ok((await work.read(`disk.img@s${index}`)).equals(contents[index - 1] ?? Buffer.alloc(0)));
    }
    await work.ok('snap-verify', ['disk.img']);
  };
  const middle = await collect(work, 'disk.img@s3');
  assert.deepEqual(middle.removed, [{ name: 's3', reasons: ['named'] }]);
  assert.deepEqual(names(middle.kept), ['s1', 's2', 's4', 's5']);
  await stillRight(1, 2, 4, 5);
  const ends = await collect(work, 'disk.img@s5', 'disk.img@s1', 'disk.img@s5');
  assert.deepEqual(names(ends.removed), ['s1', 's5']);
  await stillRight(2, 4);
  const text = await work.ok('snap-gc', ['disk.img@s2', 'disk.img@s4']);
  assert.match(text.stdout, /^removed disk\.img@s2 \(named\)\nremoved disk\.img@s4 \(named\)\n\S+ freed\n$/);
  assert.deepEqual(await listed(work), []);
  assert.deepEqual(
    readdirSync(work.path('disk.img.snap')).filter((name) => name.endsWith('.cow')),
    [],
  );
  assert.equal((await work.ok('snap-list', ['disk.img'])).stdout, '');
});

test('one name that is not there: 1, and nothing is done', async (t) => {
  const work = await workplace(t);
  await withHistory(work, 2);
  const before = work.fingerprint();
  for (const args of [
    ['disk.img@s1', 'disk.img@gone'],
    ['disk.img@gone', '--dry-run'],
  ]) {
    const failure = await work.fails('snap-gc', args);
    assert.deepEqual([failure.status, failure.code, failure.stdout], [1, 'not-found', '']);
    assert.match(failure.message, /^disk\.img@gone: no such snapshot/);
  }
  assert.deepEqual(work.fingerprint(), before);
  work.image('bare.img', 10);
  const nothing = { image: 'bare.img', dryRun: false, kept: [], removed: [], bytesFreed: 0 };
  assert.deepEqual(JSON.parse((await work.ok('snap-gc', ['--json', 'bare.img'])).stdout), nothing);
  assert.equal(existsSync(work.path('bare.img.snap')), false);
});

test('by rules, with the reasons; IMAGE alone removes nothing that is valid', async (t) => {
  const work = await workplace(t);
  const times = [
    '2026-01-01T01:00:00Z',
    '2026-01-01T23:00:00Z',
    '2026-01-02T12:00:00Z',
    '2026-02-01T00:00:00Z',
  ];
  const contents = await withHistory(work, 4, times);
  const alone = await collect(work, 'disk.img');
  assert.deepEqual(
    [names(alone.kept), names(alone.removed), alone.bytesFreed],
    [['s1', 's2', 's3', 's4'], [], 0],
  );
  const unlimited = await collect(work, 'disk.img', '--keep-last', 'unlimited');
  assert.equal(unlimited.kept.length, 4);
  const ruled = await collect(work, 'disk.img', '--keep-daily', '2', '--keep-within', '1h', '--keep-last=1');
  assert.deepEqual(
    ruled.kept.map(({ name, reasons }) => [name, [...reasons].sort()]),
    [
      ['s3', ['keep-daily']],
      ['s4', ['keep-daily', 'keep-last', 'keep-within']],
    ],
  );
  assert.deepEqual(ruled.removed, [
    { name: 's1', reasons: ['no-rule'] },
    { name: 's2', reasons: ['no-rule'] },
  ]);
  assert.ok((await work.read('disk.img@s3')).equals(contents[2] ?? Buffer.alloc(0)));
});

test('--max-total removes the oldest until all fit, never the newest; bytesFreed is what du sees', async (t) => {
  const work = await workplace(t);
  const contents = await withHistory(work, 4);
  const before = work.diskBytes('disk.img.snap');
  const [{ snapshots }] = JSON.parse((await work.ok('snap-list', ['--json', 'disk.img'])).stdout);
  const used = snapshots.map(({ storeBytes }: { storeBytes: number }) => storeBytes);
  const fits = used[2] + used[3];
  const collection = await collect(work, 'disk.img', '--max-total', String(fits));
  assert.deepEqual(collection.removed, [
    { name: 's1', reasons: ['max-total'] },
    { name: 's2', reasons: ['max-total'] },
  ]);
  assert.equal(collection.bytesFreed, used[0] + used[1]);
  const freed = before - work.diskBytes('disk.img.snap');
  assert.ok(Math.abs(freed - collection.bytesFreed) < 16 * KIB, `${freed} ${collection.bytesFreed}`);
  const most = await collect(work, 'disk.img', '--max-total', '1');
  assert.deepEqual([names(most.removed), names(most.kept)], [['s3'], ['s4']]);
  assert.ok((await work.read('disk.img@s4')).equals(contents[3] ?? Buffer.alloc(0)));
});

test('what is handed over is not freed', async (t) => {
  const work = await workplace(t);
  await withHistory(work, 2);
  const [{ snapshots }] = JSON.parse((await work.ok('snap-list', ['--json', 'disk.img'])).stdout);
  // s2 has clusters 2 and 3; s1 has 1 and 2 itself and takes 3.
  const { bytesFreed } = await collect(work, 'disk.img@s2');
  assert.equal(bytesFreed, snapshots[1].storeBytes - CLUSTER);
});

test('a snapshot that is being read is hidden at once, read to its end, and reclaimed later', async (t) => {
  const work = await workplace(t);
  const content = work.image('disk.img', noise('in use', 24 * MIB));
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  const reader = work.start('snap-read', ['disk.img@one', '--no-progress'], { stdout: 'unread' });
  const { stdout } = reader.child;
  assert.ok(stdout);
  const parts: Buffer[] = [];
  // The first bytes say that it has begun; what follows does not fit into the pipe.
  await new Promise((resolve) => stdout.once('readable', resolve));
  const removed = await work.ok('snap-gc', ['disk.img@one']);
  assert.match(removed.stderr, /^snap-gc: warning: disk\.img@one: its name is free, its space is not yet/);
  assert.deepEqual(await listed(work), []);
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  await work.write('disk.img', 0, noise('after', 24 * MIB));
  for await (const chunk of stdout) parts.push(chunk);
  assert.equal((await reader.result).status, 0);
  assert.ok(Buffer.concat(parts).equals(content));
  const stores = () => readdirSync(work.path('disk.img.snap')).filter((name) => name.endsWith('.cow')).length;
  assert.equal(stores(), 2);
  const later = await collect(work, 'disk.img');
  assert.equal(stores(), 1);
  assert.deepEqual(names(later.kept), ['one']);
  assert.ok(later.bytesFreed > 0);
  assert.ok((await work.read('disk.img@one')).equals(content));
});

test('what is invalid goes with every form that names the image', async (t) => {
  const work = await workplace(t);
  const content = work.image('disk.img', noise('full', 4 * CLUSTER));
  await work.ok('snap-create', ['-q', 'disk.img@sound']);
  await work.ok('snap-create', ['-q', 'disk.img@full', '--max-size', '65K']);
  await work.write('disk.img', 0, noise('new', 4 * CLUSTER));
  const named = await collect(work, 'disk.img', '--keep-last', '1');
  assert.deepEqual(named.removed, [{ name: 'full', reasons: ['invalid'] }]);
  assert.deepEqual(names(named.kept), ['sound']);
  assert.ok((await work.read('disk.img@sound')).equals(content));
});

test('what interrupted commands left goes, what is not ours stays', async (t) => {
  const work = await workplace(t);
  await withHistory(work, 1);
  const sidecar = (name: string) => work.path(`disk.img.snap/${name}`);
  const { uuid } = JSON.parse(readFileSync(sidecar('catalog.json'), 'utf8'));
  const identity = { snapshotNumber: 9, sizeBytes: 100, clusterSizeBytes: CLUSTER };
  const storeUuid = '00000000-0000-4000-8000-000000000000';
  const left = ['left-00000000.cow', 'half-00000000.cow.tmp', 'catalog.json.tmp'];
  writeFileSync(sidecar(left[0] ?? ''), encodeStoreHeader({ ...identity, storeUuid, sidecarUuid: uuid }));
  writeFileSync(sidecar(left[1] ?? ''), '');
  writeFileSync(sidecar(left[2] ?? ''), '{');
  const foreign = ['other-00000000.cow', 'notes.txt', 'text.cow'];
  writeFileSync(
    sidecar(foreign[0] ?? ''),
    encodeStoreHeader({ ...identity, storeUuid, sidecarUuid: storeUuid }),
  );
  for (const name of foreign.slice(1)) writeFileSync(sidecar(name), 'not a store at all');
  mkdirSync(sidecar('directory.cow'));
  mkdirSync(work.path('disk.img.snap.0123456789abcdef.tmp'));
  mkdirSync(work.path('disk.img.snap.0123456789abcdee.tmp'));
  writeFileSync(work.path('disk.img.snap.0123456789abcdef.tmp/catalog.json'), '{');
  writeFileSync(work.path('disk.img.snap.0123456789abcdee.tmp/thesis.txt'), 'precious');
  await work.ok('snap-gc', ['-q', 'disk.img@s1', '--dry-run']);
  await collect(work, 'disk.img');
  const present = new Set(readdirSync(work.path('disk.img.snap')));
  for (const name of left) assert.equal(present.has(name), false, name);
  for (const name of [...foreign, 'directory.cow']) assert.equal(present.has(name), true, name);
  assert.equal(existsSync(work.path('disk.img.snap.0123456789abcdef.tmp')), false);
  assert.equal(existsSync(work.path('disk.img.snap.0123456789abcdee.tmp/thesis.txt')), true);
  assert.deepEqual(await listed(work), ['s1']);
});

test('--accept-origin clears the mark where the recorded digest agrees, and only there', async (t) => {
  const work = await workplace(t);
  const contents = await withHistory(work, 3);
  await work.read('disk.img@s1');
  await work.read('disk.img@s3');
  utimesSync(work.path('disk.img'), 1, 1);
  await work.ok('snap-gc', ['-q', 'disk.img']);
  const before = work.fingerprint();
  await work.ok('snap-gc', ['disk.img', '--accept-origin', '--dry-run']);
  assert.deepEqual(work.fingerprint(), before);
  const states = async () => {
    const [{ snapshots }] = JSON.parse((await work.ok('snap-list', ['--json', 'disk.img'])).stdout);
    return snapshots.map(({ state }: { state: string }) => state);
  };
  assert.deepEqual(await states(), ['modified', 'modified', 'modified']);
  const accepted = await work.ok('snap-gc', ['disk.img', '--accept-origin']);
  assert.match(accepted.stderr, /disk\.img@s1: .*trusted again\n/);
  assert.match(accepted.stderr, /warning: disk\.img@s2: stays marked: no digest was recorded/);
  assert.deepEqual(await states(), ['idle', 'modified', 'active']);
  assert.ok((await work.read('disk.img@s1')).equals(contents[0] ?? Buffer.alloc(0)));
  // A real change stays what it is: cluster 0 is read from the image by all of them.
  writeBytes(work.path('disk.img'), 5, Buffer.from('changed'));
  await work.ok('snap-gc', ['-q', 'disk.img', '--accept-origin']);
  assert.deepEqual(await states(), ['modified', 'modified', 'modified']);
  assert.equal((await work.run('snap-read', ['disk.img@s1'])).status, 5);
});
