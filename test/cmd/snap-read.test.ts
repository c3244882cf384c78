/** snap-read as a process: the bytes, where they go, and that nothing wrong is passed off as right. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { test } from 'node:test';
import {
  type Answer,
  chooseSeed,
  eachOf,
  flipBit,
  KIB,
  MIB,
  noise,
  skipWithout,
  type Workplace,
  wordsOf,
  workplace,
  writeBytes,
} from '../support/commands.ts';
import { runProcess, runShell } from '../support/process.ts';

const CLUSTER = 64 * KIB;

/** An image whose clusters 1, 3 and the short last one were written to since `one`; returns what it was before. */
async function withHistory(work: Workplace, seed = 'history'): Promise<Buffer> {
  const content = work.image('disk.img', noise(seed, 5 * CLUSTER + 1234));
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  for (const offset of [CLUSTER, 3 * CLUSTER + 100, 5 * CLUSTER]) {
    await work.write('disk.img', offset, noise(`${seed}/${offset}`, 1000));
  }
  return content;
}

async function listed(work: Workplace, name: string) {
  const [{ snapshots }] = JSON.parse((await work.ok('snap-list', ['--json', 'disk.img'])).stdout);
  return snapshots.find((each: { name: string }) => each.name === name);
}

/** Changes the image so that its time does not tell. */
function changeUnseen(work: Workplace, offsetBytes: number): void {
  const image = work.path('disk.img');
  spawnSync('touch', ['-r', image, work.path('time')]);
  writeBytes(image, offsetBytes, Buffer.from('unseen'));
  spawnSync('touch', ['-r', work.path('time'), image]);
}

test('the whole, and ranges at any byte', async (t) => {
  const work = await workplace(t);
  const seed = chooseSeed(t);
  const content = await withHistory(work, seed);
  const present = readFileSync(work.path('disk.img'));
  const at = (index: number) => noise(`${seed}/range`, 64).readUInt32LE(index * 4) % content.length;
  const ranges = [
    [0, content.length],
    [CLUSTER - 1, 2],
    [content.length - 1, 1],
    [content.length, 0],
    [0, 0],
    ...[0, 2, 4, 6].map((index) => [at(index), Math.min(at(index + 1), content.length - at(index))]),
  ] as [number, number][];
  await eachOf(ranges, async ([offset, length]) => {
    const args = ['--offset', String(offset), '--length', String(length)];
    const expected = [offset, offset + length] as const;
    assert.ok(
      (await work.read('disk.img@one', ...args)).equals(content.subarray(...expected)),
      args.join(' '),
    );
    assert.ok((await work.read('disk.img', ...args)).equals(present.subarray(...expected)), args.join(' '));
  });
  assert.ok((await work.read('disk.img@one', '--offset', '70000')).equals(content.subarray(70_000)));
});

test('past the end is an error, and nothing comes out', async (t) => {
  const work = await workplace(t);
  const { length } = await withHistory(work);
  const cases = [
    ['--offset', String(length + 1)],
    ['--offset', String(length), '--length', '1'],
    ['--length', String(length + 1)],
    ['--offset', '8P', '--length', '8P'],
  ];
  for (const reference of ['disk.img', 'disk.img@one']) {
    await eachOf(cases, async (args) => {
      const failure = await work.fails('snap-read', [reference, ...args, '-o', `out${args.join('')}`]);
      assert.deepEqual([failure.status, failure.code, failure.stdout], [1, 'refused', ''], args.join(' '));
      assert.match(failure.message, /past the end at/);
    });
  }
  assert.deepEqual(readdirSync(work.directory).sort(), ['disk.img', 'disk.img.snap']);
});

test('-o FILE: sparse, with the mode of the image, and in place of what was there', async (t) => {
  const work = await workplace(t);
  const content = work.image('disk.img', Buffer.concat([noise(1, MIB), Buffer.alloc(8 * MIB), noise(2, 1)]));
  chmodSync(work.path('disk.img'), 0o640);
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  writeFileSync(work.path('out'), 'longer ago');
  const answer = await work.ok('snap-read', ['disk.img@one', '-o', 'out']);
  assert.deepEqual([answer.stdout, answer.stderr], ['', '']);
  assert.ok(readFileSync(work.path('out')).equals(content));
  const { mode, blocks } = statSync(work.path('out'));
  assert.equal(mode & 0o777, 0o640);
  assert.ok(blocks * 512 < 2 * MIB, String(blocks));
  symlinkSync('out', work.path('link'));
  await work.ok('snap-read', ['disk.img@one', '--length', '10', '--output=link']);
  assert.ok(readFileSync(work.path('out')).equals(content.subarray(0, 10)));
  // The letter of the contract: only when complete. One that fails leaves what was there.
  await work.write('disk.img', 3, Buffer.from('changed'));
  flipBit(work.places('disk.img', 'one').store, work.places('disk.img', 'one').slot(0) + 5);
  assert.equal((await work.fails('snap-read', ['disk.img@one', '-o', 'out'])).status, 3);
  assert.ok(readFileSync(work.path('out')).equals(content.subarray(0, 10)));
  assert.deepEqual(readdirSync(work.directory).sort(), ['disk.img', 'disk.img.snap', 'link', 'out']);
});

test('-o refuses its own source, and writes devices and pipes in place', async (t) => {
  const work = await workplace(t);
  const content = await withHistory(work);
  mkdirSync(work.path('directory'));
  symlinkSync('disk.img', work.path('link'));
  const before = work.fingerprint();
  const refused = ['disk.img', 'link', './disk.img.snap/../disk.img', 'disk.img.snap/new', 'directory'];
  await eachOf([...refused, 'disk.img.snap/state', 'disk.img.snap', 'directory/'], async (path) => {
    const failure = await work.fails('snap-read', ['disk.img@one', '-o', path]);
    assert.deepEqual([failure.status, failure.code], [1, 'refused'], path);
    if (!path.startsWith('directory') && path !== 'disk.img.snap') {
      assert.match(failure.hint ?? '', /snap-read IMAGE@NAME \| snap-write --delta IMAGE/);
    }
  });
  assert.deepEqual(work.fingerprint(), before);
  await work.ok('snap-read', ['disk.img@one', '-o', '/dev/null']);
  const full = await work.fails('snap-read', ['disk.img@one', '-o', '/dev/full']);
  assert.deepEqual([full.status, full.code], [1, 'no-space']);
  const script = 'mkfifo fifo && { cat fifo >copy & } && "$@" -o fifo && wait';
  const piped = await runShell(script, wordsOf('snap-read', ['disk.img@one']), { cwd: work.directory });
  assert.deepEqual([piped.status, piped.stderr], [0, '']);
  assert.ok(readFileSync(work.path('copy')).equals(content));
});

test('a terminal is refused unless -o - insists', async (t) => {
  if (skipWithout(t, 'script')) return;
  const work = await workplace(t);
  work.image('disk.img', Buffer.from('some text'));
  const onTerminal = async (...args: string[]): Promise<Answer> => {
    const command = wordsOf('snap-read', args).join(' ');
    const result = await runProcess(['script', '-qec', command, '/dev/null'], { cwd: work.directory });
    return { ...result, stdout: result.stdout.toString(), data: result.stdout };
  };
  const refused = await onTerminal('disk.img');
  assert.equal(refused.status, 1);
  assert.match(
    refused.stdout,
    /snap-read: error: standard output is a terminal.*\r\nsnap-read: hint: .*-o -\r\n$/,
  );
  const insisted = await onTerminal('disk.img', '-o', '-');
  assert.deepEqual([insisted.status, insisted.stdout], [0, 'some text']);
  assert.equal((await work.read('disk.img', '-o', '-')).toString(), 'some text');
});

test('--digest is what xxhsum says, and JSON goes where data does not', async (t) => {
  const work = await workplace(t);
  await withHistory(work);
  for (const args of [
    ['disk.img@one'],
    ['disk.img'],
    ['disk.img@one', '--offset', '99999', '--length', '70001'],
  ]) {
    const answer = await work.ok('snap-read', ['-q', '--digest', ...args]);
    assert.match(answer.stderr, /^xxh64:[0-9a-f]{16}\n$/);
    const json = await work.ok('snap-read', ['--json', '--digest', ...args]);
    const intoFile = await work.ok('snap-read', ['--json', '--digest', ...args, '-o', 'out']);
    assert.deepEqual([intoFile.stdout, intoFile.stderr], [json.stderr, '']);
    assert.ok(json.data.equals(answer.data));
    assert.deepEqual(JSON.parse(json.stderr), {
      image: 'disk.img',
      snapshot: args[0] === 'disk.img' ? null : 'disk.img@one',
      offset: args.length > 1 ? 99_999 : 0,
      bytes: answer.data.length,
      digest: answer.stderr.trim(),
    });
    if (spawnSync('xxhsum', ['--version']).status !== 0) {
      t.diagnostic('xxhsum is not on this machine: digests were not compared with it');
      continue;
    }
    const peer = spawnSync('xxhsum', ['-H1', '-'], { input: answer.data });
    assert.equal(`xxh64:${peer.stdout.toString().slice(0, 16)}\n`, answer.stderr);
  }
  const plain = JSON.parse((await work.ok('snap-read', ['--json', 'disk.img@one'])).stderr);
  assert.deepEqual(Object.keys(plain), ['image', 'snapshot', 'offset', 'bytes']);
});

test('the first complete read records the digest, and later ones are held to it', async (t) => {
  const work = await workplace(t);
  const content = await withHistory(work);
  await work.read('disk.img@one', '--length', '100');
  await work.read('disk.img@one', '--offset', '1');
  assert.equal((await listed(work, 'one')).digest, undefined);
  const digest = (await work.ok('snap-read', ['disk.img@one', '--digest'])).stderr.trim();
  assert.equal((await listed(work, 'one')).digest, digest);
  const before = work.fingerprint();
  await work.read('disk.img@one');
  assert.deepEqual(work.fingerprint(), before);
  changeUnseen(work, 10);
  const failure = await work.run('snap-read', ['--json', 'disk.img@one']);
  assert.deepEqual([failure.status, JSON.parse(failure.stderr).error.code], [3, 'differs']);
  assert.equal(failure.data.length, content.length);
  const intoFile = await work.fails('snap-read', ['disk.img@one', '-o', 'out']);
  assert.deepEqual([intoFile.status, intoFile.code], [3, 'differs']);
  assert.equal(existsSync(work.path('out')), false);
});

test('a damaged cluster is 3, not a wrong byte comes out, and all around it can be read', async (t) => {
  const work = await workplace(t);
  const content = await withHistory(work);
  const { store, slot } = work.places('disk.img', 'one');
  flipBit(store, slot(3) + 4321, 6);
  const failure = await work.run('snap-read', ['disk.img@one', '--digest']);
  assert.equal(failure.status, 3);
  assert.match(
    failure.stderr,
    /^snap-read: error: disk\.img@one: cluster 3 at offset 196608 is damaged in \S+one-\w+\.cow: .*\n.*hint: /,
  );
  assert.doesNotMatch(failure.stderr, /xxh64:/);
  assert.ok(failure.data.equals(content.subarray(0, failure.data.length)));
  assert.ok(failure.data.length <= 3 * CLUSTER);
  const around = [
    ['--length', String(3 * CLUSTER)],
    ['--offset', String(4 * CLUSTER)],
  ];
  const parts = await Promise.all(around.map((args) => work.read('disk.img@one', ...args)));
  assert.ok(
    Buffer.concat(parts).equals(
      Buffer.concat([content.subarray(0, 3 * CLUSTER), content.subarray(4 * CLUSTER)]),
    ),
  );
  assert.equal(
    (await work.fails('snap-read', ['disk.img@one', '--offset', String(4 * CLUSTER - 1)])).code,
    'damage',
  );
  assert.equal((await listed(work, 'one')).digest, undefined);
});

test('--allow-modified-origin reads what is marked, and records nothing', async (t) => {
  const work = await workplace(t);
  const content = await withHistory(work);
  utimesSync(work.path('disk.img'), 1, 1);
  const refused = await work.fails('snap-read', ['disk.img@one']);
  assert.deepEqual([refused.status, refused.code, refused.stdout], [5, 'modified', '']);
  const before = work.fingerprint();
  assert.ok((await work.read('disk.img@one', '--allow-modified-origin')).equals(content));
  // The image as it is now is never 5.
  assert.ok((await work.read('disk.img')).equals(readFileSync(work.path('disk.img'))));
  assert.deepEqual(work.fingerprint(), before);
});
