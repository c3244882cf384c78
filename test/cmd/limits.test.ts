/** Limits as processes: which are refused, what is told of them before and after they are reached, and how that ends. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { KIB, noise, type Workplace, workplace } from '../support/commands.ts';

const CLUSTER = 64 * KIB;

async function listed(work: Workplace) {
  const [{ snapshots }] = JSON.parse((await work.ok('snap-list', ['--json', 'disk.img'])).stdout);
  return snapshots;
}

/** An image whose snapshot `one` ended at cluster 2, under a sound older one. */
async function withEnded(work: Workplace): Promise<Buffer> {
  const content = work.image('disk.img', noise('limits', 4 * CLUSTER));
  await work.ok('snap-create', ['-q', 'disk.img@sound']);
  await work.ok('snap-create', ['-q', 'disk.img@one', '--max-size', '130K']);
  await work.write('disk.img', 0, noise('new', 2 * CLUSTER));
  await work.write('disk.img', 2 * CLUSTER + 5, noise('more', 10));
  return content;
}

test('a limit that cannot hold a cluster and its entry is refused, and the hint names the smallest', async (t) => {
  const work = await workplace(t);
  for (const [size, cluster] of [
    [4 * CLUSTER, undefined],
    [10_000, 4096],
    [0, 16 << 20],
  ] as const) {
    const image = `disk${size}.img`;
    work.image(image, size);
    const options = cluster === undefined ? [] : ['--cluster-size', String(cluster)];
    for (const limit of ['0', '1', String(cluster ?? CLUSTER)]) {
      const before = work.fingerprint();
      const args = [`${image}@one`, ...options, '--max-size', limit];
      const failure = await work.fails('snap-create', args);
      assert.deepEqual([failure.status, failure.code], [1, 'refused'], args.join(' '));
      assert.equal(existsSync(work.path(`${image}.snap`)), false);
      assert.deepEqual(work.fingerprint(), before);
      const smallest = /^the smallest is --max-size (\d+);/.exec(failure.hint ?? '')?.[1] ?? '';
      assert.equal(Number(smallest), (cluster ?? CLUSTER) + 32);
    }
    const smallest = (cluster ?? CLUSTER) + 32;
    const less = await work.fails('snap-create', [
      `${image}@one`,
      ...options,
      '--max-size',
      String(smallest - 1),
    ]);
    assert.equal(less.code, 'refused');
    await work.ok('snap-create', ['-q', `${image}@one`, ...options, '--max-size', String(smallest)]);
  }
  // One cluster is what it holds.
  await work.ok('snap-write', ['-q', 'disk262144.img'], { stdin: 'one cluster' });
  await work.ok('snap-read', ['disk262144.img@one']);
});

test('snap-list shows how much of a limit is used up', async (t) => {
  const work = await workplace(t);
  work.image('disk.img', noise('limits', 20 * CLUSTER));
  await work.ok('snap-create', ['-q', 'disk.img@free']);
  await work.ok('snap-create', ['-q', 'disk.img@one', '--max-size', '1M']);
  await work.write('disk.img', 0, noise('new', 10 * CLUSTER));
  const rows = (await work.ok('snap-list', ['disk.img'])).stdout.trimEnd().split('\n');
  assert.match(rows[0] ?? '', /^NAME +CREATED +STATE +SIZE +USED +DIGEST$/);
  assert.match(rows[1] ?? '', /^disk\.img@free +\S+ +idle +1\.3M +12K +-$/);
  assert.match(rows[2] ?? '', /^disk\.img@one +\S+ +active +1\.3M +640K of 1\.0M +-$/);
  const [free, one] = await listed(work);
  assert.deepEqual([one.maxSize, one.limitUsed, one.bytesCopied], [1024 * KIB, 640 * KIB, 640 * KIB]);
  assert.ok(one.storeBytes >= 640 * KIB);
  assert.ok(!('maxSize' in free) && !('limitUsed' in free));
  // What is handed over takes a slot, and counts against no limit.
  await work.ok('snap-create', ['-q', 'disk.img@two']);
  await work.write('disk.img', 12 * CLUSTER, noise('later', 3 * CLUSTER));
  await work.ok('snap-gc', ['-q', 'disk.img@two']);
  const [, after] = await listed(work);
  assert.deepEqual([after.limitUsed, after.bytesCopied], [640 * KIB, 832 * KIB]);
});

test('a write that leaves less than a tenth of a limit warns, but not with -q', async (t) => {
  const work = await workplace(t);
  work.image('disk.img', noise('limits', 20 * CLUSTER));
  await work.ok('snap-create', ['-q', 'disk.img@one', '--max-size', '1M']);
  const write = (at: number, count: number, ...args: string[]) =>
    work.ok('snap-write', ['disk.img', '--offset', String(at * CLUSTER), ...args], {
      stdin: noise(at, count * CLUSTER),
    });
  assert.doesNotMatch((await write(0, 14)).stderr, /warning/);
  const warned = await write(14, 1);
  assert.match(
    warned.stderr,
    /^snap-write: warning: disk\.img@one: 64K left of its limit of 1\.0M, past which it ends\nsnap-write: hint: .*\nsnap-write: disk\.img: /,
  );
  assert.doesNotMatch((await write(0, 15)).stderr, /warning/);
  assert.equal((await write(15, 1, '-q')).stderr, '');
  // The end itself is a loss.
  assert.match((await write(16, 1, '-q')).stderr, /^snap-write: warning: disk\.img@one: ended at cluster 16/);
});

test('what is invalid says why, when and at which cluster, wherever it is asked for', async (t) => {
  const work = await workplace(t);
  const content = await withEnded(work);
  const why = /its limit was reached \(cluster 2, \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z\)/;
  const table = (await work.ok('snap-list', ['disk.img'])).stdout.trimEnd().split('\n');
  assert.match(table[2] ?? '', new RegExp(`^disk\\.img@one +\\S+ +invalid +256K +\\d+K +- +${why.source}$`));
  assert.doesNotMatch(table[1] ?? '', /limit/);
  const [sound, one] = await listed(work);
  assert.equal(sound.reason, undefined);
  assert.match(one.reason, new RegExp(`^${why.source}$`));
  assert.equal(one.endedCluster, 2);
  // Its store goes on receiving copies for the older one; that is on nobody's limit.
  assert.deepEqual([one.maxSize, one.limitUsed, one.bytesCopied], [130 * KIB, undefined, 3 * CLUSTER]);
  assert.ok(one.reason.includes(one.ended) && Math.abs(Date.parse(one.ended) - Date.now()) < 3_600_000);

  const read = await work.fails('snap-read', ['disk.img@one']);
  assert.deepEqual([read.status, read.code, read.stdout], [5, 'invalid', '']);
  assert.match(read.message, why);
  assert.equal(read.hint, 'snap-gc disk.img removes it');
  const verify = await work.run('snap-verify', ['disk.img@one']);
  assert.equal(verify.status, 5);
  assert.match(verify.stdout, why);
  const { findings } = JSON.parse((await work.run('snap-verify', ['--json', 'disk.img@one'])).stdout);
  assert.deepEqual(
    findings.map(({ kind, cluster }: { kind: string; cluster: number }) => [kind, cluster]),
    [['invalid', 2]],
  );

  assert.match((await work.ok('snap-gc', ['disk.img'])).stdout, /^removed disk\.img@one \(invalid\)$/m);
  assert.equal((await listed(work)).length, 1);
  assert.ok((await work.read('disk.img@sound')).equals(content));
});
