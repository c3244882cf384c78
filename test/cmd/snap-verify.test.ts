/** snap-verify as a process: what it finds, what it says about it, and that it changes nothing. */
import assert from 'node:assert/strict';
import { readFileSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import {
  flipBit,
  KIB,
  noise,
  readBytes,
  skipWithout,
  type Workplace,
  workplace,
} from '../support/commands.ts';
import { runShell } from '../support/process.ts';

const CLUSTER = 64 * KIB;
const CLUSTERS = 20;

interface Document {
  readonly image: string;
  readonly ok: boolean;
  readonly snapshots: readonly {
    readonly name: string;
    readonly ok: boolean;
    readonly clustersChecked: number;
  }[];
  readonly findings: readonly { snapshot: string | null; kind: string; cluster?: number; message: string }[];
}

/**
 * Three snapshots. Copied: in `one` clusters 1 and 2, in `two` clusters 2 and 5, in `three` cluster 7. So `one` reads
 * clusters 5 and 7 through newer stores.
 */
async function withHistory(work: Workplace): Promise<Buffer> {
  const content = work.image('disk.img', noise('verify', CLUSTERS * CLUSTER));
  const history: [string, number[]][] = [
    ['one', [1, 2]],
    ['two', [2, 5]],
    ['three', [7]],
  ];
  for (const [name, clusters] of history) {
    await work.ok('snap-create', ['-q', `disk.img@${name}`]);
    for (const cluster of clusters) await work.write('disk.img', cluster * CLUSTER, noise(name, 100));
  }
  return content;
}

async function verify(work: Workplace, ...args: string[]): Promise<Document & { status: number }> {
  const { status, stdout, stderr } = await work.run('snap-verify', ['--json', ...args]);
  assert.equal(stderr, '');
  const document = JSON.parse(stdout);
  assert.deepEqual(Object.keys(document), ['image', 'ok', 'snapshots', 'findings']);
  assert.equal(document.ok, status === 0);
  return { status, ...document };
}

const whole = ({ snapshots }: Document) => snapshots.filter(({ ok }) => ok).map(({ name }) => name);

test('a clean one: a count, the JSON document to the letter, and not a byte changed', async (t) => {
  const work = await workplace(t);
  await withHistory(work);
  await work.read('disk.img@two');
  const before = work.fingerprint();
  const digest = (await work.ok('snap-verify', ['--digest', 'disk.img@two'])).stdout.slice(0, 16);
  const text = await work.ok('snap-verify', ['disk.img']);
  assert.deepEqual(
    [text.stdout, text.stderr],
    ['disk.img: 0 findings; 3 of 3 snapshots whole, 5 clusters checked\n', ''],
  );
  const recorded = { digest: `xxh64:${digest}`, recordedDigest: `xxh64:${digest}` };
  assert.deepEqual(await verify(work, 'disk.img'), {
    status: 0,
    image: 'disk.img',
    ok: true,
    snapshots: [
      { name: 'one', ok: true, clustersChecked: 2 },
      { name: 'two', ok: true, clustersChecked: 2, ...recorded },
      { name: 'three', ok: true, clustersChecked: 1 },
    ],
    findings: [],
  });
  for (const args of [['--digest'], ['--origin'], ['--check', '/dev/stdin']]) {
    await work.run('snap-verify', ['disk.img', ...args], { stdin: `${digest}  disk.img@two\n` });
  }
  await work.ok('snap-list', []);
  for (const args of [[], ['--keep-last', '1'], ['--max-total', '1'], ['--accept-origin']]) {
    await work.ok('snap-gc', ['disk.img', '--dry-run', ...args]);
  }
  await work.ok('snap-gc', ['disk.img@one', '--dry-run']);
  assert.deepEqual(work.fingerprint(), before);
  work.image('bare.img', 10);
  const bare = await verify(work, 'bare.img');
  assert.deepEqual([bare.status, bare.snapshots, bare.findings], [0, [], []]);
});

/** Damages a copy, gives what is found to `look`, and puts the sound files back. */
async function damaged(
  work: Workplace,
  paths: readonly string[],
  damage: () => void,
  look: () => Promise<void>,
): Promise<void> {
  const sound = paths.map((path) => readFileSync(path));
  damage();
  const before = work.fingerprint();
  await look();
  assert.deepEqual(work.fingerprint(), before);
  for (const [index, path] of paths.entries()) writeFileSync(path, sound[index] ?? '');
}

test('damaged clusters: all are found in one pass, with the snapshots that read them', async (t) => {
  const work = await workplace(t);
  await withHistory(work);
  const [one, two, three] = ['one', 'two', 'three'].map((name) => work.places('disk.img', name));
  assert.ok(one && two && three);
  const stores = [one.store, two.store, three.store];
  const damage = () => {
    flipBit(one.store, one.slot(1) + 1000, 3);
    flipBit(two.store, two.entry(5) + 9, 7);
  };
  await damaged(work, stores, damage, async () => {
    const found = await verify(work, 'disk.img');
    assert.equal(found.status, 3);
    assert.deepEqual(
      found.findings.map(({ snapshot, kind, cluster }) => [snapshot, kind, cluster]),
      [
        ['disk.img@one', 'slot', 1],
        ['disk.img@two', 'entry', 5],
      ],
    );
    assert.deepEqual(whole(found), ['three']);
    const text = await work.run('snap-verify', ['-q', 'disk.img']);
    assert.equal(text.status, 3);
    assert.match(
      text.stdout,
      /^disk\.img@one: cluster 1: .*\ndisk\.img@two: cluster 5: .*\ndisk\.img: 2 findings; 1 of 3 /,
    );
    assert.equal((await verify(work, 'disk.img@three')).status, 0);
  });
  // Older snapshots that have the cluster themselves are whole.
  await damaged(
    work,
    stores,
    () => flipBit(two.store, two.slot(2)),
    async () => {
      const found = await verify(work, 'disk.img');
      assert.deepEqual([found.status, whole(found)], [3, ['one', 'three']]);
    },
  );
  await damaged(
    work,
    stores,
    () => flipBit(three.store, three.slot(7)),
    async () => {
      const found = await verify(work, 'disk.img@one');
      assert.deepEqual([found.status, whole(found)], [3, []]);
      assert.equal(found.findings[0]?.cluster, 7);
    },
  );
});

test('damaged bitmaps: a bit lost, and one lost while another is gained', async (t) => {
  const work = await workplace(t);
  const content = await withHistory(work);
  for (const name of ['one', 'three']) {
    const { store, bitmap } = work.places('disk.img', name);
    const copied = name === 'one' ? 1 : 7;
    for (const bits of [[copied], [copied, 12]]) {
      const damage = () => {
        for (const bit of bits) flipBit(store, bitmap + (bit >> 3), bit & 7);
      };
      await damaged(work, [store], damage, async () => {
        const found = await verify(work, 'disk.img');
        assert.equal(found.status, 3, `${name} ${bits}`);
        assert.ok(
          found.findings.every(({ snapshot, kind }) => snapshot === `disk.img@${name}` && kind === 'bitmap'),
        );
        assert.ok(found.findings.length > 0);
        // The table makes up for it.
        assert.ok(
          (await work.read('disk.img@one', '--length', '900000')).equals(content.subarray(0, 900_000)),
        );
      });
    }
  }
});

test('stores that are missing, or stand in for each other', async (t) => {
  const work = await workplace(t);
  const content = await withHistory(work);
  const [one, two] = [work.store('disk.img', 'one'), work.store('disk.img', 'two')];
  const swap = () => {
    renameSync(one, work.path('swapped'));
    renameSync(two, one);
    renameSync(work.path('swapped'), two);
  };
  await damaged(work, [one, two], swap, async () => {
    const found = await verify(work, 'disk.img');
    assert.equal(found.status, 3);
    assert.deepEqual(
      found.findings.map(({ snapshot, kind }) => [snapshot, kind]),
      [
        ['disk.img@one', 'store'],
        ['disk.img@two', 'store'],
      ],
    );
    assert.deepEqual(whole(found), ['three']);
    assert.equal((await work.fails('snap-read', ['disk.img@one'])).code, 'damage');
  });
  await damaged(
    work,
    [two],
    () => rmSync(two),
    async () => {
      const found = await verify(work, 'disk.img');
      assert.deepEqual([found.status, found.findings.length, found.findings[0]?.kind], [3, 1, 'missing']);
      assert.ok(found.findings[0]?.message.includes(two));
      assert.deepEqual(whole(found), ['three']);
      // What it has itself can still be read; what may be in the missing one cannot.
      const at = ['--offset', String(CLUSTER), '--length', String(2 * CLUSTER)];
      assert.ok((await work.read('disk.img@one', ...at)).equals(content.subarray(CLUSTER, 3 * CLUSTER)));
      const lost = await work.fails('snap-read', ['disk.img@one', '--length', '1']);
      assert.deepEqual([lost.status, lost.code], [3, 'damage']);
    },
  );
  assert.equal((await verify(work, 'disk.img')).status, 0);
});

test('a damaged catalog, state or header is found; a flipped bit anywhere in them', async (t) => {
  const work = await workplace(t);
  await withHistory(work);
  const catalog = work.path('disk.img.snap/catalog.json');
  for (const offset of [0, 200, readFileSync(catalog).length - 10]) {
    await damaged(
      work,
      [catalog],
      () => flipBit(catalog, offset, 1),
      async () => {
        const failure = await work.fails('snap-verify', ['disk.img']);
        assert.deepEqual([failure.status, failure.code], [3, 'damage'], `catalog ${offset}`);
      },
    );
  }
  const state = work.path('disk.img.snap/state');
  for (const offset of [0, 60, 505]) {
    await damaged(
      work,
      [state],
      () => flipBit(state, offset, 1),
      async () => {
        const found = await verify(work, 'disk.img');
        assert.deepEqual(
          [found.status, found.findings.length, whole(found).length],
          [3, 1, 3],
          `state ${offset}`,
        );
        assert.deepEqual([found.findings[0]?.kind, found.findings[0]?.snapshot], ['state', null]);
      },
    );
  }
  const store = work.store('disk.img', 'two');
  await damaged(
    work,
    [store],
    () => flipBit(store, 40),
    async () => {
      const found = await verify(work, 'disk.img');
      assert.deepEqual([found.status, whole(found)], [3, ['three']]);
    },
  );
  rmSync(state);
  assert.equal((await work.fails('snap-verify', ['disk.img'])).status, 3);
});

test('a change from outside is 5; an invalid snapshot only where it is named', async (t) => {
  const work = await workplace(t);
  await withHistory(work);
  utimesSync(work.path('disk.img'), 1, 1);
  const before = work.fingerprint();
  const touched = await verify(work, 'disk.img');
  assert.deepEqual([touched.status, whole(touched)], [5, []]);
  assert.deepEqual(
    touched.findings.map(({ kind }) => kind),
    ['modified', 'modified', 'modified'],
  );
  assert.deepEqual(work.fingerprint(), before);

  const other = await workplace(t);
  other.image('disk.img', 2 * CLUSTER);
  await other.ok('snap-create', ['-q', 'disk.img@one']);
  await other.ok('snap-create', ['-q', 'disk.img@two', '--max-size', '65K']);
  await other.write('disk.img', 0, noise('full', 2 * CLUSTER));
  const all = await verify(other, 'disk.img');
  assert.deepEqual([all.status, whole(all)], [0, ['one']]);
  assert.equal((await verify(other, 'disk.img@one')).status, 0);
  assert.equal((await verify(other, 'disk.img@two')).status, 5);
  const digest = await other.ok('snap-verify', ['--digest', 'disk.img']);
  assert.match(digest.stdout, /^[0-9a-f]{16} {2}disk\.img@one\n$/);
  assert.equal((await other.run('snap-verify', ['--digest', 'disk.img@two'])).status, 5);
});

test('--digest and --check: the lines of xxhsum -H1', async (t) => {
  const work = await workplace(t);
  await withHistory(work);
  const { stdout: lines, stderr } = await work.ok('snap-verify', ['--digest', 'disk.img']);
  assert.match(
    lines,
    /^[0-9a-f]{16} {2}disk\.img@one\n[0-9a-f]{16} {2}disk\.img@two\n[0-9a-f]{16} {2}disk\.img@three\n$/,
  );
  assert.equal(stderr, '');
  writeFileSync(work.path('list'), `# a remark\n${lines}`);
  const all = await work.ok('snap-verify', ['disk.img', '--check', 'list']);
  assert.equal(all.stdout, 'disk.img@one: OK\ndisk.img@two: OK\ndisk.img@three: OK\n');
  assert.equal((await work.ok('snap-verify', ['-q', 'disk.img', '--check', 'list'])).stdout, '');
  const stdin = (lines.split('\n')[1] ?? '').replace('disk.img', 'elsewhere/other.img');
  assert.equal(
    (await work.ok('snap-verify', ['disk.img', '--check', '-'], { stdin })).stdout,
    'disk.img@two: OK\n',
  );
  const wrong = lines.replace(/^./, (digit) => (digit === '0' ? '1' : '0'));
  const failed = await work.run('snap-verify', ['-q', 'disk.img', '--check', '-'], { stdin: wrong });
  assert.deepEqual([failed.status, failed.stdout], [3, 'disk.img@one: FAILED\n']);
  const json = await work.run('snap-verify', ['--json', 'disk.img', '--check', '-'], { stdin: wrong });
  const document = JSON.parse(json.stdout);
  assert.deepEqual([json.status, document.ok, whole(document)], [3, false, ['two', 'three']]);
  assert.deepEqual([document.findings.length, document.findings[0].snapshot], [1, 'disk.img@one']);
  for (const name of ['one', 'two', 'three'])
    await work.ok('snap-read', [`disk.img@${name}`, '-o', `disk.img@${name}`]);
  if (skipWithout(t, 'xxhsum')) return;
  const peer = await runShell('xxhsum -H1 disk.img@one disk.img@two disk.img@three; xxhsum -c list', [], {
    cwd: work.directory,
  });
  assert.ok(peer.stdout.toString().startsWith(lines), peer.stdout.toString());
  assert.equal(peer.stdout.toString().match(/: OK/g)?.length, 3);
});

test('--check: a snapshot that is gone, or no line about it, is 1', async (t) => {
  const work = await workplace(t);
  await withHistory(work);
  const { stdout: lines } = await work.ok('snap-verify', ['--digest', 'disk.img']);
  const gone = `${lines}${'0'.repeat(16)}  disk.img@gone\n`;
  const answer = await work.run('snap-verify', ['disk.img', '--check', '-'], { stdin: gone });
  assert.equal(answer.status, 1);
  assert.equal(answer.stdout, 'disk.img@one: OK\ndisk.img@two: OK\ndisk.img@three: OK\n');
  assert.match(answer.stderr, /^snap-verify: warning: disk\.img@gone: no such snapshot\n$/);
  for (const stdin of ['', 'no digest at all\n', `${'0'.repeat(15)}  disk.img@one\n`]) {
    const none = await work.fails('snap-verify', ['disk.img', '--check', '-'], { stdin });
    assert.deepEqual([none.status, none.stdout], [1, '']);
  }
  // A snapshot that was named and has no line was not checked, and must not pass for checked.
  const [first = ''] = lines.split('\n');
  const unlisted = await work.run('snap-verify', ['disk.img@one', 'disk.img@two', '--check', '-'], {
    stdin: first,
  });
  assert.deepEqual([unlisted.status, unlisted.stdout], [1, 'disk.img@one: OK\n']);
  assert.match(unlisted.stderr, /^snap-verify: warning: disk\.img@two: no line/);
  assert.equal((await work.fails('snap-verify', ['disk.img', '--check', 'nowhere'])).code, 'not-found');
  assert.equal((await work.fails('snap-verify', ['disk.img@gone'])).status, 1);
});

test('--origin: clusters and bytes that differ, as cmp counts them', async (t) => {
  const work = await workplace(t);
  const content = await withHistory(work);
  const present = readFileSync(work.path('disk.img'));
  let different = 0;
  for (let at = 0; at < content.length; at += 1) if (content[at] !== present[at]) different += 1;
  const text = await work.run('snap-verify', ['--origin', 'disk.img@one']);
  assert.deepEqual([text.status, text.stdout], [3, `disk.img@one: 4 clusters, ${different} bytes differ\n`]);
  const json = await work.run('snap-verify', ['--origin', '--json', 'disk.img']);
  const { snapshots, ok } = JSON.parse(json.stdout);
  assert.deepEqual([json.status, ok, snapshots.length], [3, false, 3]);
  assert.deepEqual(
    [snapshots[0].clustersChanged, snapshots[0].bytesChanged, snapshots[2].clustersChanged],
    [4, different, 1],
  );
  await work.ok('snap-create', ['-q', 'disk.img@now']);
  const same = await work.ok('snap-verify', ['--origin', 'disk.img@now']);
  assert.equal(same.stdout, 'disk.img@now: 0 clusters, 0 bytes differ\n');
  await work.ok('snap-write', ['-q', '--extend', 'disk.img', '--offset', String(content.length)], {
    stdin: 'grown',
  });
  assert.match(
    (await work.run('snap-verify', ['--origin', 'disk.img@now'])).stdout,
    / 1 cluster, 5 bytes differ\n$/,
  );
  assert.ok(readBytes(work.path('disk.img'), content.length, 5).toString() === 'grown');
});

test('--origin of all: one that ended does not hide the others', async (t) => {
  const work = await workplace(t);
  work.image('disk.img', 2 * CLUSTER);
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  await work.ok('snap-create', ['-q', 'disk.img@two', '--max-size', '65K']);
  await work.write('disk.img', 0, noise('full', 2 * CLUSTER));
  const answer = await work.run('snap-verify', ['--origin', 'disk.img']);
  assert.equal(answer.status, 3);
  assert.match(answer.stdout, /^disk\.img@one: 2 clusters, \d+ bytes differ\n$/);
});
