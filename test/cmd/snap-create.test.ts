/** snap-create as a process: names, cluster sizes, places for stores, and what a snapshot costs. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { eachOf, KIB, MIB, makeSparse, noise, type Workplace, workplace } from '../support/commands.ts';

const TIME = '2026-11-20T07:17:31Z';
const created = async (work: Workplace, ...args: string[]) =>
  JSON.parse((await work.ok('snap-create', ['--json', ...args])).stdout);

test('prints the name, which is the recorded time where none is given, with -2 where taken', async (t) => {
  const work = await workplace(t);
  work.image('disk.img', 1000);
  const given = await work.ok('snap-create', ['disk.img@before-upgrade']);
  assert.deepEqual([given.stdout, given.stderr], ['disk.img@before-upgrade\n', '']);
  assert.match((await work.ok('snap-create', ['disk.img'])).stdout, /^disk\.img@\d{8}T\d{6}Z\n$/);
  for (const suffix of ['', '-2', '-3']) {
    const answer = await work.ok('snap-create', ['disk.img', '--time', TIME]);
    assert.equal(answer.stdout, `disk.img@20261120T071731Z${suffix}\n`);
  }
});

test('the JSON document, to the letter', async (t) => {
  const work = await workplace(t);
  work.image('disk.img', 100_000);
  const document = await created(work, 'disk.img@a.b:c+d-e_F', '--time', TIME, '--cluster-size', '4K');
  const { store, ...rest } = document;
  assert.deepEqual(rest, {
    snapshot: 'disk.img@a.b:c+d-e_F',
    image: 'disk.img',
    name: 'a.b:c+d-e_F',
    created: TIME,
    size: 100_000,
    clusterSize: 4096,
    clusters: 25,
  });
  assert.ok(store.length === 1 && existsSync(store[0]));
  const keys = ['snapshot', 'image', 'name', 'created', 'size', 'clusterSize', 'clusters', 'store'];
  assert.deepEqual(Object.keys(document), keys);
});

test('a name that exists, a bad name and a bad time are refused, and nothing is made', async (t) => {
  const work = await workplace(t);
  work.image('disk.img', 1000);
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  const before = work.fingerprint();
  const exists = await work.fails('snap-create', ['disk.img@one']);
  assert.deepEqual([exists.status, exists.code], [1, 'exists']);
  const bad = ['.x', 'a b', 'ü', 'x'.repeat(129)].map((name) => [`disk.img@${name}`]);
  const times = ['2026-02-30T00:00:00Z', '2026-11-20T24:00:00Z', '2026-11-20T07:17:31'].map((time) => [
    'disk.img',
    '--time',
    time,
  ]);
  await eachOf([...bad, ...times, ['disk.img', '--cluster-size', '2K']], async (args) => {
    const failure = await work.fails('snap-create', args);
    assert.deepEqual([failure.status, failure.code], [2, 'usage'], args.join(' '));
  });
  assert.deepEqual(work.fingerprint(), before);
});

test('--time and --label are kept', async (t) => {
  const work = await workplace(t);
  work.image('disk.img', 1000);
  const times: [string, string, string][] = [
    ['2026-11-20T08:17:31.250+01:00', '2026-11-20T07:17:31.250Z', '20261120T071731Z'],
    ['2024-02-29t23:59:59z', '2024-02-29T23:59:59Z', '20240229T235959Z'],
  ];
  for (const [given, recorded, name] of times) {
    const document = await created(work, 'disk.img', '--time', given, '--label', 'ein "Wort": ü\n');
    assert.deepEqual([document.created, document.name], [recorded, name]);
  }
  const [{ snapshots }] = JSON.parse((await work.ok('snap-list', ['--json', 'disk.img'])).stdout);
  assert.deepEqual(
    snapshots.map((each: { created: string; label: string }) => [each.created, each.label]),
    times.map(([, recorded]) => [recorded, 'ein "Wort": ü\n']),
  );
});

test('cluster sizes: powers of two, one for all snapshots, free again when none is left', async (t) => {
  const work = await workplace(t);
  work.image('disk.img', 300 * KIB);
  await eachOf(['0', '3M', '32M', '65537'], async (size) => {
    assert.equal((await work.fails('snap-create', ['disk.img', '--cluster-size', size])).status, 2, size);
  });
  assert.equal((await created(work, 'disk.img@one', '--cluster-size', '16M')).clusters, 1);
  const other = await work.fails('snap-create', ['disk.img@two', '--cluster-size', '4K']);
  assert.deepEqual([other.status, other.code], [1, 'refused']);
  assert.match(other.message, /16M/);
  assert.equal((await created(work, 'disk.img@two')).clusterSize, 16 * MIB);
  assert.equal((await created(work, 'disk.img@three', '--cluster-size', '16M')).clusterSize, 16 * MIB);
  await work.ok('snap-gc', ['-q', 'disk.img@one', 'disk.img@two', 'disk.img@three']);
  assert.equal((await created(work, 'disk.img@four', '--cluster-size', '4K')).clusterSize, 4096);
});

test('images of 0 and 1 bytes', async (t) => {
  const work = await workplace(t);
  for (const [size, clusters] of [
    [0, 0],
    [1, 1],
  ] as const) {
    const image = `disk${size}.img`;
    const content = work.image(image, noise(size, size));
    const document = await created(work, `${image}@one`);
    assert.deepEqual([document.size, document.clusters], [size, clusters]);
    await work.ok('snap-write', ['-q', '--extend', image], { stdin: 'longer' });
    assert.deepEqual(await work.read(`${image}@one`), content);
    assert.deepEqual((await work.read(image)).toString(), 'longer');
    await work.ok('snap-verify', [image]);
  }
});

test('an image of 8 TiB costs what one of 1 MiB does', async (t) => {
  const work = await workplace(t);
  if (!makeSparse(t, work.path('huge.img'), 8 * 2 ** 40)) return;
  const refused = await work.fails('snap-create', ['huge.img', '--cluster-size', '64K']);
  assert.deepEqual([refused.status, refused.code], [1, 'refused']);
  assert.match(`${refused.message} ${refused.hint}`, /--cluster-size 512K/);
  assert.equal(existsSync(work.path('huge.img.snap')), false);
  makeSparse(t, work.path('small.img'), MIB);
  assert.equal((await created(work, 'huge.img@s0')).clusterSize, 512 * KIB);
  assert.equal((await created(work, 'small.img@s0')).clusterSize, 64 * KIB);
  assert.equal(work.diskBytes('huge.img.snap'), work.diskBytes('small.img.snap'));
  for (let count = 1; count < 6; count += 1) {
    const far = String(count * 2 ** 40 + 12345);
    await work.ok('snap-write', ['-q', 'huge.img', '--offset', far], { stdin: `written ${count}` });
    await created(work, `huge.img@s${count}`);
  }
  assert.ok(work.diskBytes('huge.img.snap') < 8 * MIB, String(work.diskBytes('huge.img.snap')));
  const at = ['--offset', String(3 * 2 ** 40 + 12345), '--length', '9'];
  assert.deepEqual(await work.read('huge.img@s2', ...at), Buffer.alloc(9));
  assert.equal((await work.read('huge.img@s3', ...at)).toString(), 'written 3');
});

test('--store: a directory or a new file; the store is used, and removed, there', async (t) => {
  const work = await workplace(t);
  const content = work.image('disk.img', 200 * KIB);
  mkdirSync(work.path('spare'));
  const inDirectory = await created(work, 'disk.img@one', '--store', 'spare');
  assert.match(inDirectory.store[0], /\/spare\/one-[0-9a-f]{8}\.cow$/);
  const inFile = await created(work, 'disk.img@two', '--store', 'spare/two.store');
  assert.deepEqual(inFile.store, [work.path('spare/two.store')]);
  await work.write('disk.img', 0, noise('new', 100_000));
  for (const name of ['one', 'two']) assert.ok((await work.read(`disk.img@${name}`)).equals(content));
  const [{ snapshots }] = JSON.parse((await work.ok('snap-list', ['--json', 'disk.img'])).stdout);
  assert.deepEqual(snapshots[0].files, [...inDirectory.store, ...inFile.store, work.path('disk.img')]);
  await work.ok('snap-gc', ['-q', 'disk.img@two', 'disk.img@one']);
  assert.deepEqual(readdirSync(work.path('spare')), []);
});

test('--store refuses what would overwrite something, or sits in a sidecar', async (t) => {
  const work = await workplace(t);
  work.image('disk.img', 1000);
  work.image('other.img', 1000);
  await work.ok('snap-create', ['-q', 'other.img@one']);
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  writeFileSync(work.path('precious'), 'precious');
  symlinkSync('nowhere', work.path('dangling'));
  const before = work.fingerprint();
  const cases: [string, string][] = [
    ['precious', 'exists'],
    ['disk.img', 'exists'],
    ['dangling', 'exists'],
    ['disk.img.snap', 'refused'],
    ['disk.img.snap/x.cow', 'refused'],
    ['other.img.snap', 'refused'],
    ['other.img.snap/x.cow', 'refused'],
    ['nowhere/x.cow', 'not-found'],
    ['/dev/null', 'refused'],
  ];
  await eachOf(cases, async ([path, code]) => {
    const failure = await work.fails('snap-create', ['disk.img@two', '--store', path]);
    assert.deepEqual([failure.status, failure.code], [1, code], path);
  });
  assert.deepEqual(work.fingerprint(), before);
});

test('past --max-size the snapshot ends, or the write fails', async (t) => {
  const work = await workplace(t);
  const content = work.image('disk.img', 512 * KIB);
  await work.ok('snap-create', ['-q', 'disk.img@keep', '--max-size', '65K', '--on-full', 'refuse']);
  const refused = await work.fails('snap-write', ['disk.img'], { stdin: noise(1, 128 * KIB) });
  assert.deepEqual([refused.status, refused.code], [1, 'no-space']);
  assert.match(refused.message, /disk\.img@keep/);
  assert.ok((await work.read('disk.img')).equals(content));
  assert.ok((await work.read('disk.img@keep')).equals(content));

  work.image('other.img', content);
  await work.ok('snap-create', ['-q', 'other.img@older']);
  await work.ok('snap-create', ['-q', 'other.img@end', '--max-size', '65K']);
  const written = await work.ok('snap-write', ['-q', 'other.img'], { stdin: noise(1, 128 * KIB) });
  assert.match(written.stderr, /^snap-write: warning: other\.img@end: ended at cluster \d+: its limit/);
  const [{ snapshots }] = JSON.parse((await work.ok('snap-list', ['--json', 'other.img'])).stdout);
  const [older, end] = snapshots;
  assert.deepEqual([older.maxSize, end.maxSize, end.onFull], [undefined, 65 * KIB, 'invalidate']);
  assert.equal(end.state, 'invalid');
  assert.match(end.reason, /^its limit was reached \(cluster 0, /);
  const lost = await work.fails('snap-read', ['other.img@end']);
  assert.deepEqual([lost.status, lost.code, lost.stdout], [5, 'invalid', '']);
  // Copied all the same, on the older one's account.
  assert.ok((await work.read('other.img@older')).equals(content));
});

test('two first creations at once with one --store: the loser leaves the winner alone', async (t) => {
  const work = await workplace(t);
  for (let round = 0; round < 6; round += 1) {
    const images = [`a${round}.img`, `b${round}.img`];
    for (const image of images) work.image(image, 1000);
    const answers = await Promise.all(
      images.map((image) => work.run('snap-create', [`${image}@one`, '--store', `store${round}`])),
    );
    assert.deepEqual(answers.map(({ status }) => status).sort(), [0, 1]);
    assert.ok(existsSync(work.path(`store${round}`)), `round ${round}: the store is gone`);
  }
});
