/**
 * Damage is told to the cluster: around it everything can still be read, what does not pass through it is not concerned,
 * and one verification finds all of it and says what is whole.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, type TestContext, test } from 'node:test';
import {
  chooseSeed,
  copyPlace,
  flipBit,
  KIB,
  noise,
  Workplace,
  workplace,
  writeBytes,
} from '../support/commands.ts';

const CLUSTER = 64 * KIB;
const CLUSTERS = 24;
const NAMES = ['one', 'two', 'three', 'four'] as const;
type Name = (typeof NAMES)[number];

/** What each store has copied; `one` reads the rest of these through the newer ones. */
const COPIED: Readonly<Record<Name, readonly number[]>> = {
  one: [1, 2, 3, 9],
  two: [3, 4, 5, 6, 12],
  three: [6, 7, 8, 20],
  four: [9, 10, 11, 21],
};

async function history(work: Workplace): Promise<Map<Name, Buffer>> {
  work.image('disk.img', noise('around', CLUSTERS * CLUSTER));
  const frozen = new Map<Name, Buffer>();
  for (const name of NAMES) {
    frozen.set(name, readFileSync(work.path('disk.img')));
    await work.ok('snap-create', ['-q', `disk.img@${name}`]);
    const ranges = COPIED[name].map((cluster) => [cluster, COPIED[name].includes(cluster - 1) ? -1 : 1]);
    for (const [cluster = 0, starts] of ranges) {
      if (starts === -1) continue;
      let end = cluster;
      while (COPIED[name].includes(end + 1)) end += 1;
      await work.write(
        'disk.img',
        cluster * CLUSTER + 7,
        noise(`${name} ${cluster}`, (end - cluster) * CLUSTER + 100),
      );
    }
  }
  return frozen;
}

/** Which store each cluster of a snapshot is read from; undefined is the image. */
function sourceOf(name: Name, cluster: number): Name | undefined {
  return NAMES.slice(NAMES.indexOf(name)).find((each) => COPIED[each].includes(cluster));
}

/** The clusters of a snapshot that are damaged where it reads them. */
function lostTo(name: Name, damage: ReadonlySet<string>): number[] {
  const all = Array.from({ length: CLUSTERS }, (_, cluster) => cluster);
  return all.filter((cluster) => damage.has(`${sourceOf(name, cluster)} ${cluster}`));
}

interface Found {
  readonly status: number;
  readonly findings: readonly { snapshot: string; kind: string; cluster?: number; message: string }[];
  readonly whole: readonly string[];
}

async function verify(work: Workplace): Promise<Found> {
  const { status, stdout } = await work.run('snap-verify', ['--json', 'disk.img']);
  const { findings, snapshots } = JSON.parse(stdout);
  const whole = snapshots.filter(({ ok }: { ok: boolean }) => ok);
  return { status, findings, whole: whole.map(({ name }: { name: string }) => name) };
}

/** Reads everything of a snapshot around its damaged clusters, and each of those. */
async function checkReads(
  work: Workplace,
  name: Name,
  what: { readonly frozen: Buffer; readonly lost: readonly number[] },
): Promise<void> {
  const { frozen, lost } = what;
  let from = 0;
  for (const cluster of [...lost, CLUSTERS]) {
    const args = ['--offset', String(from), '--length', String(cluster * CLUSTER - from)];
    const between = await work.read(`disk.img@${name}`, ...args);
    assert.ok(between.equals(frozen.subarray(from, cluster * CLUSTER)), `${name} before cluster ${cluster}`);
    from = (cluster + 1) * CLUSTER;
  }
  for (const cluster of lost.slice(0, 2)) {
    const args = ['--offset', String(cluster * CLUSTER + 1000), '--length', '1'];
    const failure = await work.fails('snap-read', [`disk.img@${name}`, ...args]);
    assert.deepEqual([failure.status, failure.code, failure.stdout], [3, 'damage', '']);
    const source = sourceOf(name, cluster);
    assert.ok(failure.message.startsWith(`disk.img@${name}: cluster ${cluster} `), failure.message);
    assert.ok(source !== undefined && failure.message.includes(work.store('disk.img', source)));
    assert.match(failure.message, new RegExp(`at offset ${cluster * CLUSTER}\\b`));
    assert.match(failure.hint ?? '', /--offset and --length/);
  }
}

/** Four snapshots, made once for all tests of this file. */
const made = (async () => {
  const directory = mkdtempSync(join(tmpdir(), 'imgsnap-'));
  after(() => rmSync(directory, { recursive: true, force: true }));
  const work = new Workplace(directory);
  return { work, frozen: await history(work) };
})();

async function copyOfHistory(t: TestContext): Promise<{ work: Workplace; frozen: Map<Name, Buffer> }> {
  const { work, frozen } = await made;
  const place = await workplace(t);
  return { work: copyPlace(work, place.path('copy')), frozen };
}

test('slots, entries and the end of a file damaged at once: each cluster is told, everything else is read', async (t) => {
  const { work, frozen } = await copyOfHistory(t);
  const seed = chooseSeed(t);
  const chance = noise(seed, 16);
  const damage = new Set<string>();
  for (const [index, name] of NAMES.entries()) {
    if (name === 'three') continue;
    const { store, slot, entry } = work.places('disk.img', name);
    const copied = COPIED[name];
    const first = copied[(chance[index] ?? 0) % 2] ?? 0;
    const second = copied[2 + ((chance[index + 4] ?? 0) % 2)] ?? 0;
    flipBit(store, slot(first) + (chance[index + 8] ?? 0) * 7, 3);
    damage.add(`${name} ${first}`);
    if (name === 'four') {
      // The last slot is cut off with the end of the file.
      truncateSync(store, slot(21) + 10);
      damage.add('four 21');
    } else {
      writeBytes(store, entry(second) + 8, Buffer.alloc(8));
      damage.add(`${name} ${second}`);
    }
  }
  const found = await verify(work);
  assert.equal(found.status, 3);
  assert.deepEqual(
    found.findings.map(({ snapshot, cluster }) => `${snapshot.slice('disk.img@'.length)} ${cluster}`).sort(),
    [...damage].sort(),
  );
  const whole = NAMES.filter((name) => lostTo(name, damage).length === 0);
  assert.deepEqual(found.whole, whole);
  const text = await work.run('snap-verify', ['disk.img']);
  for (const name of NAMES) {
    const says = text.stdout.includes(`disk.img@${name}: whole\n`);
    assert.equal(says, whole.includes(name), `${name}: ${text.stdout}`);
  }
  // The first reads through all the others.
  for (const name of ['one', 'three'] as const) {
    await checkReads(work, name, { frozen: frozen.get(name) ?? Buffer.alloc(0), lost: lostTo(name, damage) });
  }
});

test('a missing store: what other stores have is read, and what it might hold is not guessed', async (t) => {
  const { work, frozen } = await copyOfHistory(t);
  rmSync(work.store('disk.img', 'two'));
  const found = await verify(work);
  assert.deepEqual([found.status, found.whole, found.findings.length], [3, ['three', 'four'], 1]);
  for (const name of ['three', 'four'] as const) {
    assert.ok((await work.read(`disk.img@${name}`)).equals(frozen.get(name) ?? Buffer.alloc(0)));
  }
  const own = await work.read('disk.img@one', '--offset', String(CLUSTER), '--length', String(3 * CLUSTER));
  assert.ok(own.equals((frozen.get('one') ?? own).subarray(CLUSTER, 4 * CLUSTER)));
  const failure = await work.fails('snap-read', [
    'disk.img@one',
    '--offset',
    String(7 * CLUSTER),
    '--length',
    '1',
  ]);
  assert.deepEqual([failure.status, failure.code], [3, 'damage']);
  assert.match(
    failure.message,
    /^disk\.img@one: cluster 7 at offset 458752 cannot be told: .*two-[0-9a-f]{8}\.cow/,
  );
});

test('a page of a bitmap lost: nobody reads anything wrong, and verify tells it', async (t) => {
  const { work, frozen } = await copyOfHistory(t);
  for (const name of ['two', 'four'] as const) {
    const { store, bitmap } = work.places('disk.img', name);
    writeBytes(store, bitmap, Buffer.alloc(CLUSTERS / 8));
  }
  const found = await verify(work);
  assert.deepEqual([found.status, found.whole], [3, NAMES]);
  assert.deepEqual(
    found.findings.map(({ snapshot, kind }) => [snapshot, kind]),
    [
      ['disk.img@two', 'bitmap'],
      ['disk.img@four', 'bitmap'],
    ],
  );
  for (const name of NAMES) {
    assert.ok((await work.read(`disk.img@${name}`)).equals(frozen.get(name) ?? Buffer.alloc(0)), name);
  }
});
