/**
 * Images that grow: each snapshot keeps the size that the image had when it was taken, and every byte of it; also while
 * others, smaller and larger ones, are removed. A growth past snap-write is a change from outside.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statSync, truncateSync } from 'node:fs';
import { test } from 'node:test';
import { chooseSeed, eachOf, KIB, noise, type Workplace, workplace } from '../support/commands.ts';

const CLUSTER = 4 * KIB;
/** What the image measures for one snapshot after the other: within a cluster, across some, on a border, by one byte. */
const SIZES = [
  3 * CLUSTER + 100,
  3 * CLUSTER + 101,
  4 * CLUSTER,
  9 * CLUSTER - 1,
  9 * CLUSTER,
  20 * CLUSTER + 7,
];

interface Chance {
  below(limit: number): number;
}

function chanceFrom(seed: string): Chance {
  let drawn = 0;
  return {
    below: (limit) => {
      drawn += 1;
      return noise(`${seed}/${drawn}`, 4).readUInt32LE() % limit;
    },
  };
}

async function written(work: Workplace, offset: number, data: Buffer, ...args: string[]) {
  const all = ['--json', 'disk.img', '--offset', String(offset), ...args];
  return JSON.parse((await work.ok('snap-write', all, { stdin: data })).stdout);
}

/** A snapshot at each size, with writes to old and new parts in between; what each of them must read as. */
async function grown(work: Workplace, chance: Chance): Promise<Map<string, Buffer>> {
  const contents = new Map<string, Buffer>();
  work.image('disk.img', noise('grow', SIZES[0] ?? 0));
  for (const [index, size] of SIZES.entries()) {
    const present = statSync(work.path('disk.img')).size;
    if (size > present) {
      // A gap first, where there is room for one.
      const from = present + chance.below(size - present);
      await written(work, from, noise(`tail ${index}`, size - from), '--extend');
    }
    contents.set(`s${index}`, readFileSync(work.path('disk.img')));
    await work.ok('snap-create', ['-q', `disk.img@s${index}`, '--cluster-size', String(CLUSTER)]);
    for (let round = 0; round < 2; round += 1) {
      const at = chance.below(size);
      await work.write('disk.img', at, noise(`in ${index} ${round}`, Math.min(size - at, 5000)));
    }
  }
  return contents;
}

async function assertAll(
  work: Workplace,
  contents: ReadonlyMap<string, Buffer>,
  what: string,
): Promise<void> {
  const [{ snapshots }] = JSON.parse((await work.ok('snap-list', ['--json', 'disk.img'])).stdout);
  assert.deepEqual(
    snapshots.map(({ name, size, clusters }: { name: string; size: number; clusters: number }) => [
      name,
      size,
      clusters,
    ]),
    [...contents].map(([name, { length }]) => [name, length, Math.ceil(length / CLUSTER)]),
    what,
  );
  for (const [name, bytes] of contents) {
    assert.ok((await work.read(`disk.img@${name}`)).equals(bytes), `${what}: ${name} reads wrong`);
  }
}

test('snapshots of an image that grows keep their sizes and bytes, whichever are removed', async (t) => {
  const work = await workplace(t);
  const chance = chanceFrom(chooseSeed(t));
  const contents = await grown(work, chance);
  await assertAll(work, contents, 'all');
  await work.ok('snap-verify', ['disk.img']);
  while (contents.size > 1) {
    // Never the newest only: one in the middle hands its clusters to one that is smaller.
    const names = [...contents.keys()];
    const name = names[chance.below(names.length)] ?? '';
    await work.ok('snap-gc', ['-q', `disk.img@${name}`]);
    contents.delete(name);
    await assertAll(work, contents, `without ${name}`);
    await written(work, chance.below(SIZES[0] ?? 1), noise(name, 3 * CLUSTER));
    await assertAll(work, contents, `without ${name}, written to`);
  }
  await work.ok('snap-verify', ['disk.img']);
});

test('what is written past the end of a snapshot is not copied for it', async (t) => {
  const work = await workplace(t);
  const content = work.image('disk.img', noise('past', 3 * CLUSTER + 100));
  await work.ok('snap-create', ['-q', 'disk.img@one', '--cluster-size', String(CLUSTER)]);
  const none = { clustersCopied: 0, bytesCopied: 0, snapshot: null };
  const copiedBy = async (offset: number, length: number, ...args: string[]) => {
    const { clustersCopied, bytesCopied, snapshot } = await written(
      work,
      offset,
      noise('x', length),
      ...args,
    );
    return { clustersCopied, bytesCopied, snapshot };
  };
  // The last cluster is copied as far as the snapshot goes, and by whom changes that part only.
  assert.deepEqual(await copiedBy(content.length, 10, '--extend'), none);
  assert.deepEqual(await copiedBy(8 * CLUSTER, 10 * CLUSTER, '--extend'), none);
  assert.deepEqual(await copiedBy(5 * CLUSTER, CLUSTER), none);
  assert.deepEqual(await copiedBy(content.length - 1, 2), {
    clustersCopied: 1,
    bytesCopied: 100,
    snapshot: 'disk.img@one',
  });
  assert.deepEqual(await copiedBy(content.length - 1, 10_000), none);
  assert.ok((await work.read('disk.img@one')).equals(content));
});

test('any bytes of each snapshot, up to its own end; past that nothing is written, wherever the image ends', async (t) => {
  const work = await workplace(t);
  const chance = chanceFrom(chooseSeed(t));
  const contents = await grown(work, chance);
  await eachOf([...contents], async ([name, bytes]) => {
    const ranges = [
      [bytes.length - 1, 1],
      [bytes.length, 0],
      [0, bytes.length],
      ...[0, 1, 2, 3].map(() => {
        const offset = chance.below(bytes.length);
        return [offset, chance.below(bytes.length - offset + 1)];
      }),
    ] as [number, number][];
    for (const [offset, length] of ranges) {
      const args = ['--offset', String(offset), '--length', String(length)];
      const got = await work.read(`disk.img@${name}`, ...args);
      assert.ok(got.equals(bytes.subarray(offset, offset + length)), `${name} ${args.join(' ')}`);
    }
    const past = [
      ['--offset', String(bytes.length + 1)],
      ['--offset', String(bytes.length), '--length', '1'],
      ['--offset', '1', '--length', String(bytes.length)],
      ['--length', '8P'],
    ];
    for (const args of past) {
      const failure = await work.fails('snap-read', [`disk.img@${name}`, ...args]);
      assert.deepEqual([failure.status, failure.code, failure.stdout], [1, 'refused', ''], args.join(' '));
      const intoFile = await work.fails('snap-read', [`disk.img@${name}`, ...args, '-o', `out-${name}`]);
      assert.equal(intoFile.code, 'refused');
      assert.equal(existsSync(work.path(`out-${name}`)), false);
    }
    await work.ok('snap-read', [`disk.img@${name}`, '-o', `whole-${name}`]);
    assert.equal(statSync(work.path(`whole-${name}`)).size, bytes.length);
  });
});

test('grown by truncate, with its time put back: changed outside, 5; what is complete in stores stays', async (t) => {
  for (const sizeBytes of [3 * CLUSTER + 101, 12 * CLUSTER]) {
    const work = await workplace(t);
    const content = work.image('disk.img', noise('outside', 3 * CLUSTER + 100));
    await work.ok('snap-create', ['-q', 'disk.img@complete', '--cluster-size', String(CLUSTER)]);
    await work.write('disk.img', 0, noise('all of it', content.length));
    await work.ok('snap-create', ['-q', 'disk.img@reaching']);
    const image = work.path('disk.img');
    execFileSync('touch', ['-r', image, work.path('time')]);
    truncateSync(image, sizeBytes);
    execFileSync('touch', ['-r', work.path('time'), image]);

    const refused = await work.fails('snap-read', ['disk.img@reaching']);
    assert.deepEqual([refused.status, refused.code, refused.stdout], [5, 'modified', '']);
    assert.equal((await work.run('snap-verify', ['disk.img'])).status, 5);
    assert.ok((await work.read('disk.img@complete')).equals(content));
    const warned = await work.ok('snap-write', ['-q', 'disk.img'], { stdin: 'later' });
    assert.match(warned.stderr, /was changed outside imgsnap; no longer trusted: reaching\n/);
    await work.ok('snap-create', ['-q', 'disk.img@later']);
    const [{ snapshots }] = JSON.parse((await work.ok('snap-list', ['--json', 'disk.img'])).stdout);
    assert.deepEqual(
      snapshots.map(({ name, state, size }: { name: string; state: string; size: number }) => [
        name,
        state,
        size,
      ]),
      [
        ['complete', 'idle', content.length],
        ['reaching', 'modified', content.length],
        ['later', 'active', sizeBytes],
      ],
    );
    assert.equal((await work.read('disk.img@later')).length, sizeBytes);
  }
});
