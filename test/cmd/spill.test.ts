/** A snapshot whose copies go on in further files: in order, when one is full, and what is left when one is missing. */
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import * as path from 'node:path';
import { test } from 'node:test';
import { KIB, MIB, noise, Workplace, workplace } from '../support/commands.ts';
import { mounted } from '../support/mounted.ts';

interface Entry {
  readonly name: string;
  readonly state: string;
  readonly clustersCopied: number;
  readonly files: readonly string[];
}

async function listed(work: Workplace): Promise<readonly Entry[]> {
  const [image] = JSON.parse((await work.ok('snap-list', ['--json', 'disk.img'])).stdout);
  return image.snapshots;
}

function stores(work: Workplace, directory: string): string[] {
  return readdirSync(work.path(directory)).filter((name) => name.endsWith('.cow'));
}

test('files are filled in order, none becomes longer than was said, and the snapshot reads through all of them', async (t) => {
  const work = await workplace(t);
  const content = work.image('disk.img', noise('spill', 6 * MIB));
  mkdirSync(work.path('a'));
  mkdirSync(work.path('b'));
  const spills = ['--spill', 'a', '--spill', 'b/second.cow', '--spill', 'a'];
  const created = await work.ok('snap-create', [
    '--json',
    'disk.img@s',
    '--max-store-file',
    '1500K',
    ...spills,
  ]);
  const places: string[] = JSON.parse(created.stdout).store;
  assert.deepEqual(
    places.map((each) => path.dirname(each)),
    ['disk.img.snap', 'a', 'b', 'a'].map((each) => work.path(each)),
  );
  const written = await work.ok('snap-write', ['disk.img', '--json', '--offset', '64K'], {
    stdin: noise('new', 4 * MIB),
  });
  const summary = JSON.parse(written.stdout);
  assert.deepEqual(
    [summary.snapshot, summary.clustersCopied, summary.bytesCopied],
    ['disk.img@s', 64, 4 * MIB],
  );
  assert.match(written.stderr, /disk\.img@s: its copies go on in .*second\.cow/);
  const [entry] = await listed(work);
  assert.deepEqual([entry?.state, entry?.clustersCopied], ['active', 64]);
  assert.deepEqual(entry?.files, [...places.slice(0, 3), work.path('disk.img')]);
  for (const each of places.slice(0, 3))
    assert.ok(statSync(each).size <= 1500 * KIB, `${each}: ${statSync(each).size}`);
  assert.ok((await work.read('disk.img@s')).equals(content));
  // What was copied is not copied again, whichever file it is in.
  const again = await work.ok('snap-write', ['disk.img', '--json', '--offset', '64K'], {
    stdin: noise('x', 4 * MIB),
  });
  assert.equal(JSON.parse(again.stdout).clustersCopied, 0);
  await work.ok('snap-verify', ['disk.img']);
});

test('each file names the others; a missing one is told by name, and what is in the others is read', async (t) => {
  const work = await workplace(t);
  const content = work.image('disk.img', noise('spill', 4 * MIB));
  mkdirSync(work.path('a'));
  const spills = ['--max-store-file', '1100K', '--spill', 'a', '--spill', 'a', '--spill', 'a'];
  const created = await work.ok('snap-create', ['--json', 'disk.img@s', ...spills]);
  await work.write('disk.img', 0, noise('new', 3 * MIB));
  const places: string[] = JSON.parse(created.stdout).store.filter((each: string) => existsSync(each));
  assert.equal(places.length, 3);
  for (const [missing, place] of places.entries()) {
    renameSync(place, `${place}.away`);
    const failure = await work.fails('snap-read', ['disk.img@s']);
    assert.equal(failure.status, 3);
    assert.ok(failure.message.includes(place), failure.message);
    let readable = 0;
    for (let at = 0; at < 3 * MIB; at += 64 * KIB) {
      const range = ['--offset', String(at), '--length', '64K'];
      const answer = await work.run('snap-read', ['disk.img@s', ...range]);
      if (answer.status !== 0) continue;
      readable += 1;
      assert.ok(answer.data.equals(content.subarray(at, at + 64 * KIB)), `${at} without ${place}`);
    }
    assert.ok(readable >= 32 && readable < 48, `${readable} clusters without file ${missing}`);
    const refused = await work.fails('snap-write', ['disk.img'], { stdin: noise('more', KIB) });
    assert.deepEqual([refused.status, refused.message.includes(place)], [1, true], refused.message);
    renameSync(`${place}.away`, place);
  }
  assert.ok((await work.read('disk.img@s')).equals(content));
  // Part 1 in the place of part 2 is another file, whatever its name.
  const [, one, two] = places;
  assert.ok(one !== undefined && two !== undefined);
  writeFileSync(two, readFileSync(one));
  assert.match((await work.fails('snap-read', ['disk.img@s'])).message, /store of another snapshot/);
});

test('a snapshot that spilled is removed with all its files; older ones get what they need of each', async (t) => {
  const work = await workplace(t);
  const first = work.image('disk.img', noise('spill', 4 * MIB));
  mkdirSync(work.path('a'));
  await work.ok('snap-create', ['-q', 'disk.img@old']);
  await work.write('disk.img', 0, noise('1', MIB));
  const second = readFileSync(work.path('disk.img'));
  const spills = ['--max-store-file', '1100K', '--spill', 'a', '--spill', 'a', '--spill', 'a'];
  await work.ok('snap-create', ['-q', 'disk.img@s', ...spills]);
  await work.write('disk.img', 512 * KIB, noise('2', 3 * MIB));
  assert.equal(stores(work, 'a').length, 2);
  await work.ok('snap-create', ['-q', 'disk.img@young']);
  const third = readFileSync(work.path('disk.img'));
  await work.write('disk.img', 0, noise('3', 4 * MIB));
  assert.ok((await work.read('disk.img@s')).equals(second));
  const dry = JSON.parse((await work.ok('snap-gc', ['--json', '--dry-run', 'disk.img@s'])).stdout);
  const gone = JSON.parse((await work.ok('snap-gc', ['--json', 'disk.img@s'])).stdout);
  assert.deepEqual(gone.removed, [{ name: 's', reasons: ['named'] }]);
  assert.deepEqual({ ...gone, dryRun: true }, dry);
  assert.deepEqual(stores(work, 'a'), []);
  assert.ok((await work.read('disk.img@old')).equals(first));
  assert.ok((await work.read('disk.img@young')).equals(third));
  await work.ok('snap-verify', ['disk.img']);
});

test('where all files are full, the snapshot ends or the write is refused, as --on-full says', async (t) => {
  for (const onFull of ['invalidate', 'refuse']) {
    const work = await workplace(t);
    const content = work.image('disk.img', noise('spill', 4 * MIB));
    mkdirSync(work.path('a'));
    const options = ['--on-full', onFull, '--max-store-file', '1100K', '--spill', 'a'];
    await work.ok('snap-create', ['-q', 'disk.img@s', ...options]);
    await work.write('disk.img', 0, noise('1', MIB));
    const before = readFileSync(work.path('disk.img'));
    const answer = await work.run('snap-write', ['disk.img', '--offset', '1M'], {
      stdin: noise('2', 3 * MIB),
    });
    if (onFull === 'refuse') {
      assert.equal(answer.status, 1);
      assert.match(answer.stderr, /error: .*may not become longer.*\n.*hint: /);
      assert.ok(readFileSync(work.path('disk.img')).equals(before));
      assert.ok((await work.read('disk.img@s')).equals(content));
    } else {
      assert.equal(answer.status, 0, answer.stderr);
      assert.match(answer.stderr, /warning: disk\.img@s: ended at cluster/);
      assert.equal((await work.run('snap-read', ['disk.img@s'])).status, 5);
      await work.ok('snap-gc', ['-q', 'disk.img']);
      assert.deepEqual([stores(work, 'a'), stores(work, 'disk.img.snap')], [[], []]);
    }
  }
});

test('places are looked at before anything is made', async (t) => {
  const work = await workplace(t);
  work.image('disk.img', noise('spill', MIB));
  mkdirSync(work.path('a'));
  writeFileSync(work.path('there.cow'), 'x');
  const refusals: readonly (readonly [readonly string[], RegExp])[] = [
    [['--spill', 'there.cow'], /exists already/],
    [['--spill', 'nowhere/x.cow'], /no such directory/],
    [['--spill', 'x.cow', '--spill', 'x.cow'], /two files of one snapshot/],
    [['--store', 'x.cow', '--spill', './x.cow'], /two files of one snapshot/],
    [['--spill', 'disk.img.snap/x.cow'], /no such directory|inside a sidecar/],
    [['--spill', 'a', '--max-store-file', '64K'], /could not hold its tables and one cluster/],
  ];
  for (const [args, message] of refusals) {
    const failure = await work.fails('snap-create', ['disk.img@s', ...args]);
    assert.equal(failure.status, 1);
    assert.match(failure.message, message);
    assert.deepEqual(readdirSync(work.directory).sort(), ['a', 'disk.img', 'there.cow']);
  }
});

test('a disk that becomes full in the middle of a batch: all of the batch is copied elsewhere, and written', async (t) => {
  const work = await workplace(t);
  await mounted(t, work, ['-t', 'tmpfs', '-o', 'size=3m', 'tmpfs'], async (there) => {
    const content = work.image('disk.img', noise('spill', 8 * MIB));
    mkdirSync(work.path('elsewhere'));
    const spills = [
      '--store',
      'mounted',
      '--spill',
      'mounted',
      '--spill',
      'elsewhere',
      '--on-full',
      'refuse',
    ];
    await work.ok('snap-create', ['-q', 'disk.img@s', ...spills]);
    const present = noise('new', 7 * MIB);
    const answer = await work.ok('snap-write', ['disk.img'], { stdin: present });
    assert.match(answer.stderr, /its copies go on in .*elsewhere/);
    assert.ok(readFileSync(work.path('disk.img')).subarray(0, present.length).equals(present));
    assert.ok((await work.read('disk.img@s')).equals(content));
    await work.ok('snap-verify', ['disk.img']);
    await work.ok('snap-gc', ['-q', 'disk.img@s']);
    assert.deepEqual([stores(there, '.'), stores(work, 'elsewhere')], [[], []]);
  });
});

test('a whole sidecar on a full disk: copies go on elsewhere', async (t) => {
  const work = await workplace(t);
  await mounted(t, work, ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs'], async (there) => {
    const content = work.image('disk.img', noise('spill', 6 * MIB));
    mkdirSync(work.path('elsewhere'));
    await work.ok('snap-create', ['-q', 'disk.img@first']);
    await work.ok('snap-gc', ['-q', 'disk.img@first']);
    for (const name of readdirSync(work.path('disk.img.snap'))) {
      writeFileSync(there.path(name), readFileSync(work.path(`disk.img.snap/${name}`)));
    }
    rmSync(work.path('disk.img.snap'), { recursive: true });
    symlinkSync(there.directory, work.path('disk.img.snap'));
    await work.ok('snap-create', ['-q', 'disk.img@s', '--spill', 'elsewhere', '--on-full', 'refuse']);
    for (let at = 0; at < 5; at += 1) await work.write('disk.img', at * MIB, noise(`new ${at}`, MIB));
    assert.equal(stores(work, 'elsewhere').length, 1);
    assert.ok((await work.read('disk.img@s')).equals(content));
    await work.ok('snap-verify', ['disk.img']);
  });
});

test('disks that together have room for a batch, and none of them alone: each is filled', async (t) => {
  const work = await workplace(t);
  const content = work.image('disk.img', noise('spill', 8 * MIB));
  await mounted(t, work, ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs'], async () => {
    const second = new Workplace(work.path('second'));
    mkdirSync(second.directory);
    await mounted(t, second, ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs'], async () => {
      const spills = ['--store', 'mounted', '--spill', 'second/mounted', '--on-full', 'refuse'];
      await work.ok('snap-create', ['-q', 'disk.img@s', ...spills]);
      const present = noise('new', 6 * MIB);
      await work.ok('snap-write', ['-q', 'disk.img'], { stdin: present });
      assert.ok(readFileSync(work.path('disk.img')).subarray(0, present.length).equals(present));
      assert.ok((await work.read('disk.img@s')).equals(content));
      await work.ok('snap-verify', ['disk.img']);
    });
  });
});
