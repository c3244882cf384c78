/** `snap-read -o FILE` on the real file system: whole or not at all, sparse, and never over its own source. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { hasCode } from '../../core/base/errors.ts';
import { NodeFileSystem } from '../../core/io/node-file-system.ts';
import { hasPendingWrite } from '../../core/stream/fd-sink.ts';
import { dataRuns, type FileSinkOptions, openFileSink } from '../../core/stream/file-sink.ts';
import { patternAt } from '../support/pattern.ts';
import { temporaryDirectory } from '../support/temp.ts';

const KIB = 1024;
const files = new NodeFileSystem();

async function setUp(t: TestContext) {
  const directory = await temporaryDirectory(t);
  const at = (name: string) => join(directory, name);
  writeFileSync(at('disk.img'), 'image');
  const open = (path: string, changes: Partial<FileSinkOptions> = {}) =>
    openFileSink(files, {
      path,
      imagePath: at('disk.img'),
      sidecarPath: at('disk.img.snap'),
      like: { mode: 0o640 },
      randomBytes,
      signal: new AbortController().signal,
      ...changes,
    });
  return { directory, at, open };
}

test('appears under its name only when complete, with the mode of the image', async (t) => {
  const { at, open, directory } = await setUp(t);
  const sink = await open(at('out'));
  const data = patternAt(0, 100_000);
  await sink.write(data.subarray(0, 5000));
  await sink.write(data.subarray(5000));
  assert.equal(existsSync(at('out')), false);
  const [temporary = ''] = readdirSync(directory).filter((name) => /^\.out\.[0-9a-f]{12}\.tmp$/.test(name));
  assert.equal(statSync(at(temporary)).mode & 0o777, 0o600);
  await sink.finish();
  await sink.abort();
  assert.deepEqual(readFileSync(at('out')), data);
  assert.equal(statSync(at('out')).mode & 0o777, 0o640);
  assert.deepEqual(readdirSync(directory), ['disk.img', 'out']);
});

test('an aborted one leaves what was there', async (t) => {
  const { at, open, directory } = await setUp(t);
  writeFileSync(at('out'), 'old');
  const sink = await open(at('out'));
  await sink.write(Buffer.from('new'));
  await sink.abort();
  await sink.abort();
  assert.equal(readFileSync(at('out'), 'utf8'), 'old');
  assert.deepEqual(readdirSync(directory), ['disk.img', 'out']);
});

test('an existing file is replaced, through a link too', async (t) => {
  const { at, open } = await setUp(t);
  mkdirSync(at('far'));
  writeFileSync(at('far/out'), 'old and longer');
  symlinkSync('far/out', at('link'));
  const before = openSync(at('far/out'), 'r');
  t.after(() => closeSync(before));
  const sink = await open(at('link'));
  await sink.write(Buffer.from('new'));
  await sink.finish();
  assert.equal(lstatSync(at('link')).isSymbolicLink(), true);
  assert.equal(readFileSync(at('far/out'), 'utf8'), 'new');
  // Whoever has the old one open keeps it.
  assert.equal(readFileSync(before, 'utf8'), 'old and longer');
});

test('an empty result is an empty file', async (t) => {
  const { at, open } = await setUp(t);
  await (await open(at('out'))).finish();
  assert.equal(statSync(at('out')).size, 0);
});

test('zeros are holes, at the end too, whatever the chunks', async (t) => {
  const { at, open } = await setUp(t);
  const data = Buffer.alloc(2048 * KIB + 100);
  data.fill(7, 1000 * KIB, 1004 * KIB);
  data[1500 * KIB + 17] = 1;
  for (const chunkBytes of [1000, 4096, 777_777, data.length]) {
    const sink = await open(at('out'));
    for (let start = 0; start < data.length; start += chunkBytes) {
      await sink.write(data.subarray(start, start + chunkBytes));
    }
    await sink.finish();
    assert.ok(readFileSync(at('out')).equals(data), `chunks of ${chunkBytes}`);
    assert.ok(statSync(at('out')).blocks * 512 <= 64 * KIB, `chunks of ${chunkBytes}`);
  }
});

test('data is cut from zeros at the granules of the file', () => {
  const chunk = Buffer.alloc(3 * 4096);
  assert.deepEqual([...dataRuns(chunk, 0)], []);
  chunk[4096] = 1;
  assert.deepEqual([...dataRuns(chunk, 0)], [[4096, 8192]]);
  assert.deepEqual([...dataRuns(chunk, 4000)], [[96, 4192]]);
  chunk[8192] = 1;
  assert.deepEqual([...dataRuns(chunk, 0)], [[4096, 12288]]);
  chunk[0] = 1;
  assert.deepEqual([...dataRuns(chunk, 0)], [[0, 12288]]);
});

test('neither the image nor its sidecar is written to, by whatever name', async (t) => {
  const { at, open, directory } = await setUp(t);
  const refusal = (error: unknown) =>
    hasCode(error, 'refused') &&
    error.hint?.includes('snap-read IMAGE@NAME | snap-write --delta IMAGE') === true;
  symlinkSync('disk.img', at('link'));
  // Before there is a sidecar, its name is as little to be taken.
  for (const name of ['disk.img', 'link', '../x/../disk.img', 'disk.img.snap']) {
    const path = name.startsWith('..') ? join(directory, 'disk.img') : at(name);
    await assert.rejects(open(path), refusal, name);
  }
  mkdirSync(at('elsewhere'));
  mkdirSync(at('elsewhere/deep'));
  symlinkSync('elsewhere', at('disk.img.snap'));
  for (const name of ['disk.img.snap/new', 'elsewhere/new', 'elsewhere/deep/new']) {
    await assert.rejects(open(at(name)), refusal, name);
  }
  mkdirSync(at('elsewhere-too'));
  await (await open(at('elsewhere-too/new'))).finish();
  assert.equal(readFileSync(at('disk.img'), 'utf8'), 'image');
});

test('what cannot hold a result is refused', async (t) => {
  const { at, open, directory } = await setUp(t);
  symlinkSync('nowhere', at('dangling'));
  for (const path of [directory, `${directory}/new/`, at('dangling')]) {
    await assert.rejects(open(path), (error) => hasCode(error, 'refused') && error.message.startsWith(path));
  }
  await assert.rejects(open(at('missing/out')), (error) => hasCode(error, 'not-found'));
});

test('a device and a FIFO are written in place, zeros included', async (t) => {
  const { at, open, directory } = await setUp(t);
  const nothing = await open('/dev/null');
  await nothing.write(Buffer.alloc(KIB));
  await nothing.finish();
  assert.equal(statSync('/dev/null').isCharacterDevice(), true);

  execFileSync('mkfifo', [at('fifo')]);
  const reader = openSync(at('fifo'), constants.O_RDONLY | constants.O_NONBLOCK);
  t.after(() => closeSync(reader));
  const sink = await open(at('fifo'));
  await sink.write(Buffer.alloc(KIB));
  assert.equal(readSync(reader, Buffer.alloc(2 * KIB), 0, 2 * KIB, null), KIB);
  await sink.finish();
  assert.deepEqual(readdirSync(directory), ['disk.img', 'fifo']);
});

test('a full device is no-space, and names it', async (t) => {
  const { open } = await setUp(t);
  const sink = await open('/dev/full');
  const expected = (error: unknown) => hasCode(error, 'no-space') && error.message.includes('/dev/full');
  await assert.rejects(sink.write(Buffer.alloc(KIB)), expected);
  await sink.abort();
});

test('waiting for the reader of a FIFO can be interrupted', async (t) => {
  const { at, open } = await setUp(t);
  execFileSync('mkfifo', [at('fifo')]);
  const controller = new AbortController();
  const opening = open(at('fifo'), { signal: controller.signal });
  while (!hasPendingWrite()) await setImmediate();
  controller.abort();
  await assert.rejects(opening, (error) => hasCode(error, 'interrupted'));
  // A reader lets the thread go that waits still.
  const reader = openSync(at('fifo'), constants.O_RDONLY | constants.O_NONBLOCK);
  while (hasPendingWrite()) await setImmediate();
  closeSync(reader);
});
