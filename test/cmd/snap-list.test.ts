/** snap-list as a process: the table for people, and the document for programs. */
import assert from 'node:assert/strict';
import { mkdirSync, renameSync, statSync, utimesSync } from 'node:fs';
import { test } from 'node:test';
import { KIB, noise, workplace } from '../support/commands.ts';

const CLUSTER = 64 * KIB;
const TIME = '2026-11-20T07:17:31Z';

test('a table, and nothing at all where there is nothing', async (t) => {
  const work = await workplace(t);
  assert.deepEqual((await work.ok('snap-list', [])).stdout, '');
  assert.equal((await work.ok('snap-list', ['--json'])).stdout, '[]\n');
  work.image('disk.img', noise('list', 3 * CLUSTER));
  assert.deepEqual((await work.ok('snap-list', ['disk.img'])).stdout, '');
  await work.ok('snap-create', ['-q', 'disk.img@older', '--time', '2027-01-01T00:00:00.5Z']);
  await work.write('disk.img', 0, noise('new', 10));
  await work.ok('snap-create', ['-q', 'disk.img@newer', '--time', TIME]);
  const { stderr: digest } = await work.ok('snap-read', ['--digest', 'disk.img@older']);
  const { stdout } = await work.ok('snap-list', ['disk.img']);
  const rows = stdout.trimEnd().split('\n');
  assert.match(rows[0] ?? '', /^NAME +CREATED +STATE +SIZE +USED +DIGEST$/);
  // In order of creation, whatever time was recorded.
  assert.match(rows[1] ?? '', /^disk\.img@older +2027-01-01T00:00:00\.5Z +idle +192K +\d+K +[0-9a-f]{16}$/);
  assert.ok((rows[1] ?? '').endsWith(digest.trim().slice('xxh64:'.length)));
  assert.match(rows[2] ?? '', /^disk\.img@newer +2026-11-20T07:17:31Z +active +192K +\d+K +-$/);
  assert.equal(rows.length, 3);
});

test('the JSON document, to the letter', async (t) => {
  const work = await workplace(t);
  work.image('disk.img', noise('list', 3 * CLUSTER + 1));
  const bare = [{ image: 'disk.img', size: 3 * CLUSTER + 1, clusterSize: null, snapshots: [] }];
  assert.deepEqual(JSON.parse((await work.ok('snap-list', ['--json', 'disk.img'])).stdout), bare);
  const limits = ['--max-size', '1M', '--on-full', 'refuse', '--label', 'l'];
  await work.ok('snap-create', ['-q', 'disk.img@one', '--time', TIME, ...limits]);
  await work.write('disk.img', 2 * CLUSTER, noise('new', CLUSTER + 1));
  await work.ok('snap-create', ['-q', 'disk.img@two', '--time', TIME]);
  const { stderr } = await work.ok('snap-read', ['--digest', 'disk.img@one']);
  const [one, two] = [work.store('disk.img', 'one'), work.store('disk.img', 'two')];
  const common = { created: TIME, size: 3 * CLUSTER + 1, clusterSize: CLUSTER, clusters: 4 };
  const document = JSON.parse((await work.ok('snap-list', ['--json', 'disk.img'])).stdout);
  assert.deepEqual(document, [
    {
      image: 'disk.img',
      size: 3 * CLUSTER + 1,
      clusterSize: CLUSTER,
      snapshots: [
        {
          name: 'one',
          state: 'idle',
          ...common,
          clustersCopied: 2,
          clustersZero: 0,
          bytesCopied: CLUSTER + 1,
          storeBytes: statSync(one).blocks * 512,
          maxSize: 1024 * KIB,
          limitUsed: 2 * CLUSTER,
          onFull: 'refuse',
          digest: stderr.trim(),
          label: 'l',
          files: [one, two, work.path('disk.img')],
        },
        {
          name: 'two',
          state: 'active',
          ...common,
          clustersCopied: 0,
          clustersZero: 0,
          bytesCopied: 0,
          storeBytes: statSync(two).blocks * 512,
          onFull: 'invalidate',
          files: [two, work.path('disk.img')],
        },
      ],
    },
  ]);
  assert.deepEqual(Object.keys(document[0]?.snapshots[0] ?? {}), [
    ...['name', 'created', 'state', 'size', 'clusterSize', 'clusters', 'clustersCopied', 'clustersZero'],
    ...['bytesCopied', 'storeBytes', 'maxSize', 'limitUsed', 'onFull', 'digest', 'label', 'files'],
  ]);
});

test('without IMAGE: every sidecar of the directory, and orphans', async (t) => {
  const work = await workplace(t);
  for (const image of ['b.img', 'a.img', 'c.img', 'none.img']) work.image(image, 1000);
  for (const image of ['b.img', 'a.img', 'c.img'])
    await work.ok('snap-create', ['-q', `${image}@s`, '--time', TIME]);
  mkdirSync(work.path('foreign.snap'));
  work.image('file.snap', 10);
  renameSync(work.path('b.img'), work.path('away'));
  utimesSync(work.path('c.img'), 1, 1);
  const before = work.fingerprint();
  const { stdout } = await work.ok('snap-list', []);
  const words = stdout
    .trimEnd()
    .split('\n')
    .map((line) => line.split(/ +/).filter((_, index) => index !== 1 && index < 3));
  assert.deepEqual(words.slice(1), [
    ['a.img@s', 'active'],
    ['b.img@s', 'orphan'],
    ['c.img@s', 'modified'],
  ]);
  const document = JSON.parse((await work.ok('snap-list', ['--json'])).stdout);
  assert.deepEqual(
    document.map(({ image, originModified }: { image: string; originModified?: boolean }) => [
      image,
      originModified,
    ]),
    [
      ['a.img', undefined],
      ['b.img', undefined],
      ['c.img', true],
    ],
  );
  assert.equal(document[2].snapshots[0].reason, 'the origin was changed outside imgsnap');
  const several = JSON.parse((await work.ok('snap-list', ['--json', 'none.img', 'a.img'])).stdout);
  assert.deepEqual(
    several.map(({ image, snapshots }: { image: string; snapshots: unknown[] }) => [image, snapshots.length]),
    [
      ['none.img', 0],
      ['a.img', 1],
    ],
  );
  const missing = await work.fails('snap-list', ['a.img', 'b.img']);
  assert.deepEqual([missing.status, missing.code, missing.stdout], [1, 'not-found', '']);
  assert.deepEqual(work.fingerprint(), before);
});
