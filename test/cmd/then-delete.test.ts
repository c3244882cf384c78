/**
 * snap-read --then-delete as a process: the snapshot goes if, and only if, its consumer took all of it. What a pipe's
 * reader has not read was not taken, though every write into the pipe has succeeded.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  constants,
  existsSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  truncateSync,
  utimesSync,
} from 'node:fs';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { REMOVAL_LOCK_OFFSET_BYTES } from '../../core/io/lock-offsets.ts';
import { NodeHost } from '../../core/io/node-host.ts';
import { flipBit, KIB, noise, type Workplace, wordsOf, workplace } from '../support/commands.ts';
import { type RunningProcess, runProcess, runShell, startProcess } from '../support/process.ts';
import { withoutKoffi } from '../support/without-koffi.ts';

const CLUSTER = 64 * KIB;
const SUCCESS = 'snap-read: disk.img@one: was taken as a whole, and removed\n';

/** An image with a snapshot that was overwritten since, in part; what it was before. */
async function scene(work: Workplace, sizeBytes = 5 * CLUSTER + 77): Promise<Buffer> {
  const content = work.image('disk.img', noise('then', sizeBytes));
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  await work.write('disk.img', 10, noise('changed', Math.min(sizeBytes - 10, 2 * CLUSTER)));
  return content;
}

async function listed(work: Workplace) {
  const [{ snapshots }] = JSON.parse((await work.ok('snap-list', ['--json', 'disk.img'])).stdout);
  return snapshots;
}

async function assertKept(work: Workplace, content: Buffer, what: string): Promise<void> {
  assert.equal((await listed(work)).length, 1, `${what}: it is gone`);
  assert.ok((await work.read('disk.img@one')).equals(content), what);
}

/**
 * Waits until a small snapshot lies in the pipe as a whole: its digest was recorded. The catalog is looked at past the
 * lock, since nobody waits for that to record a digest.
 */
async function untilWritten(work: Workplace): Promise<void> {
  while (!readFileSync(work.path('disk.img.snap/catalog.json'), 'utf8').includes('"digest"')) await delay(5);
}

/** Starts a reader into a pipe that nobody reads yet. */
function intoPipe(work: Workplace, ...args: string[]): { reader: RunningProcess; pipe: number } {
  execFileSync('mkfifo', [work.path('pipe')]);
  const pipe = openSync(work.path('pipe'), constants.O_RDONLY | constants.O_NONBLOCK);
  const stdout = openSync(work.path('pipe'), constants.O_WRONLY);
  const reader = work.start('snap-read', ['disk.img@one', '--then-delete', ...args], { stdout });
  closeSync(stdout);
  rmSync(work.path('pipe'));
  return { reader, pipe };
}

test('taken by a program, a file, a device or a pipe by name: it is gone, and that is said', async (t) => {
  const work = await workplace(t);
  const takers = [
    '"$@" | cat >copy',
    '"$@" >copy',
    '"$@" -o copy',
    '"$@" -o - >copy',
    'mkfifo fifo && { cat fifo >copy & } && "$@" -o fifo && wait',
    '"$@" | { sleep 0.2; cat >copy; }',
    '"$@" | tee copy >/dev/null && "$0" -c true',
  ];
  for (const script of takers) {
    const content = await scene(work);
    const words = wordsOf('snap-read', ['disk.img@one', '--then-delete']);
    const result = await runProcess(['bash', '-o', 'pipefail', '-c', script, 'bash', ...words], {
      cwd: work.directory,
    });
    assert.deepEqual([result.status, result.stderr], [0, SUCCESS], script);
    assert.ok(readFileSync(work.path('copy')).equals(content), script);
    assert.deepEqual(await listed(work), [], script);
    rmSync(work.path('copy'));
    rmSync(work.path('disk.img.snap'), { recursive: true });
  }
  await scene(work);
  await work.ok('snap-read', ['-q', 'disk.img@one', '--then-delete', '-o', '/dev/null']);
  assert.deepEqual(await listed(work), []);
});

test('all its files go: those elsewhere, and those that it spilled to', async (t) => {
  const work = await workplace(t);
  const content = work.image('disk.img', noise('spilled', 8 * CLUSTER));
  const places = ['--store', 'first', '--spill', 'second', '--max-store-file', '256K'];
  await work.ok('snap-create', ['-q', 'disk.img@one', ...places]);
  await work.ok('snap-create', ['-q', 'disk.img@two']);
  await work.ok('snap-gc', ['-q', 'disk.img@two']);
  await work.ok('snap-write', ['-q', 'disk.img'], { stdin: noise('new', 4 * CLUSTER) });
  const [{ files }] = await listed(work);
  assert.deepEqual(files, [work.path('first'), work.path('second'), work.path('disk.img')]);
  const answer = await work.ok('snap-read', ['disk.img@one', '--then-delete']);
  assert.ok(answer.data.equals(content));
  for (const name of ['first', 'second']) assert.equal(existsSync(work.path(name)), false, name);
  assert.deepEqual(await listed(work), []);
});

test('what is said: nothing with -q, the digest, and removed and bytesFreed in JSON', async (t) => {
  const work = await workplace(t);
  const content = await scene(work);
  const [{ storeBytes }] = await listed(work);
  const json = await work.ok('snap-read', ['--json', '--digest', 'disk.img@one', '--then-delete']);
  assert.ok(json.data.equals(content));
  const { digest, ...document } = JSON.parse(json.stderr);
  const common = { image: 'disk.img', snapshot: 'disk.img@one', offset: 0, bytes: content.length };
  assert.deepEqual(document, { ...common, removed: true, bytesFreed: storeBytes });
  assert.match(digest, /^xxh64:[0-9a-f]{16}$/);

  await work.ok('snap-create', ['-q', 'disk.img@one']);
  const file = await work.ok('snap-read', ['--json', 'disk.img@one', '--then-delete', '-o', 'out']);
  assert.deepEqual([file.stderr, JSON.parse(file.stdout).removed], ['', true]);
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  const quiet = await work.ok('snap-read', ['-q', 'disk.img@one', '--then-delete']);
  assert.equal(quiet.stderr, '');
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  const kept = await work.ok('snap-read', ['--json', 'disk.img@one']);
  assert.ok(!('removed' in JSON.parse(kept.stderr)));
});

test('a pipe whose reader goes away before it has read all: 141, and it stays', async (t) => {
  const work = await workplace(t);
  for (const readBytes of [0, 1, 29_999]) {
    const content = await scene(work, 30_000);
    const { reader, pipe } = intoPipe(work);
    await untilWritten(work);
    if (readBytes > 0) assert.equal(readSync(pipe, Buffer.alloc(readBytes)), readBytes);
    closeSync(pipe);
    const { status, stderr } = await reader.result;
    assert.deepEqual([status, stderr], [141, ''], `${readBytes} bytes were read`);
    await assertKept(work, content, `${readBytes} bytes were read`);
    rmSync(work.path('disk.img.snap'), { recursive: true });
  }
});

test('a pipe whose reader has read all: it is gone, whether the reader stays or goes', async (t) => {
  const work = await workplace(t);
  for (const stays of [true, false]) {
    const content = await scene(work, 30_000);
    const { reader, pipe } = intoPipe(work);
    await untilWritten(work);
    const bytes = Buffer.alloc(content.length);
    assert.equal(readSync(pipe, bytes), content.length);
    if (!stays) closeSync(pipe);
    const { status, stderr } = await reader.result;
    assert.deepEqual([status, stderr], [0, SUCCESS]);
    assert.ok(bytes.equals(content));
    assert.deepEqual(await listed(work), []);
    if (stays) closeSync(pipe);
    rmSync(work.path('disk.img.snap'), { recursive: true });
  }
});

test('a socket whose other end goes away before it has read all: 141, and it stays', async (t) => {
  const work = await workplace(t);
  // Node reads 64 KiB ahead; the rest fits into the socket.
  const content = await scene(work, 150_000);
  const reader = work.start('snap-read', ['disk.img@one', '--then-delete'], { stdout: 'unread' });
  await untilWritten(work);
  reader.child.stdout?.destroy();
  const { status, stderr } = await reader.result;
  assert.deepEqual([status, stderr], [141, '']);
  await assertKept(work, content, 'a socket');
});

test('interrupted while the reader of the pipe takes its time: 130 or 143, and it stays', async (t) => {
  const work = await workplace(t);
  for (const [signal, status] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    const content = await scene(work, 30_000);
    const { reader, pipe } = intoPipe(work);
    await untilWritten(work);
    reader.child.kill(signal);
    const result = await reader.result;
    assert.equal(result.status, status, result.stderr);
    closeSync(pipe);
    await assertKept(work, content, signal);
    rmSync(work.path('disk.img.snap'), { recursive: true });
  }
});

test('a read that fails keeps it: damage, another digest, a full disk, a refused output, a changed image', async (t) => {
  const work = await workplace(t);
  const failing = async (status: number, ...args: string[]) => {
    const failure = await work.fails('snap-read', ['disk.img@one', '--then-delete', ...args]);
    assert.equal(failure.status, status, failure.message);
    assert.equal((await listed(work)).length, 1);
    return failure.code;
  };
  await scene(work);
  assert.equal(await failing(1, '-o', '/dev/full'), 'no-space');
  assert.equal(await failing(1, '-o', 'nowhere/out'), 'not-found');
  assert.equal(await failing(1, '-o', 'disk.img'), 'refused');
  const { store, slot } = work.places('disk.img', 'one');
  flipBit(store, slot(0) + 5);
  assert.equal(await failing(3, '-o', 'out'), 'damage');
  flipBit(store, slot(0) + 5);
  await work.read('disk.img@one');
  // Nobody wrote to the image as far as its time tells.
  const image = work.path('disk.img');
  execFileSync('touch', ['-r', image, work.path('time')]);
  flipBit(image, 4 * CLUSTER);
  execFileSync('touch', ['-r', work.path('time'), image]);
  const { status } = await work.run('snap-read', ['disk.img@one', '--then-delete']);
  assert.equal(status, 3);
  assert.equal(await failing(3, '-o', 'out'), 'differs');
  utimesSync(image, 1, 1);
  assert.equal(await failing(5, '-o', 'out'), 'modified');
  truncateSync(image, 10);
  assert.equal(await failing(5, '-o', 'out'), 'invalid');
});

test('somebody else is reading it: hidden, and said; both have all of it', async (t) => {
  const work = await workplace(t);
  const content = await scene(work, 24 << 20);
  const other = work.start('snap-read', ['disk.img@one', '--no-progress'], { stdout: 'unread' });
  const { stdout } = other.child;
  assert.ok(stdout);
  await new Promise((resolve) => stdout.once('readable', resolve));
  const answer = await work.ok('snap-read', ['disk.img@one', '--then-delete']);
  assert.ok(answer.data.equals(content));
  assert.match(
    answer.stderr,
    /^snap-read: warning: disk\.img@one: its name is free, its space is not yet: it is being read\n/,
  );
  assert.ok(answer.stderr.endsWith(SUCCESS));
  assert.deepEqual(await listed(work), []);
  const parts: Buffer[] = [];
  for await (const chunk of stdout) parts.push(chunk);
  assert.ok(Buffer.concat(parts).equals(content));
  assert.equal((await other.result).status, 0);
});

test('it cannot be removed: the data is there all the same, and the message says so', async (t) => {
  const work = await workplace(t);
  await scene(work);
  await work.ok('snap-create', ['-q', 'disk.img@two']);
  await work.write('disk.img', 0, noise('more', 4 * CLUSTER));
  const content = await work.read('disk.img@two');
  const state = await new NodeHost().files.open(work.path('disk.img.snap/state'), 'update');
  assert.ok(state.tryLock(REMOVAL_LOCK_OFFSET_BYTES, 'exclusive'));
  const busy = await work.fails('snap-read', ['disk.img@two', '--then-delete', '-o', 'out', '--wait', '0']);
  await state.close();
  assert.deepEqual([busy.status, busy.code], [4, 'busy']);
  assert.match(busy.message, /^disk\.img@two: was delivered as a whole, but not removed: /);
  assert.equal(busy.hint, 'snap-gc disk.img@two removes it');
  assert.ok(readFileSync(work.path('out')).equals(content));
  // What must be handed over has nowhere to go.
  rmSync(work.store('disk.img', 'one'));
  const failure = await work.fails('snap-read', ['disk.img@two', '--then-delete', '-o', 'out']);
  assert.deepEqual([failure.status, failure.code], [1, 'not-found']);
  assert.match(failure.message, /was delivered as a whole, but not removed: .*the store is missing/);
  assert.ok((await work.read('disk.img@two')).equals(content));
});

test('without koffi: a pipe is refused before anything is read, a file is not', async (t) => {
  const work = await workplace(t);
  const content = await scene(work);
  const words = [process.execPath, withoutKoffi(work, 'snap-read'), 'disk.img@one', '--then-delete'];
  const piped = await runShell('"$@" | cat', words, { cwd: work.directory });
  assert.equal(piped.stdout.length, 0);
  assert.match(
    piped.stderr,
    /^snap-read: error: whether the reader of the pipe takes everything cannot be known/,
  );
  assert.match(piped.stderr, /hint: use -o FILE/);
  await assertKept(work, content, 'a pipe');
  const { result } = startProcess([...words, '-q', '-o', 'out'], { cwd: work.directory });
  assert.equal((await result).status, 0);
  assert.ok(readFileSync(work.path('out')).equals(content));
  assert.deepEqual(await listed(work), []);
});
