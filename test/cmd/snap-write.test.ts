/** snap-write as a process: what is written, what is copied before, and when nothing is. */
import assert from 'node:assert/strict';
import { readFileSync, renameSync, statSync } from 'node:fs';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import {
  chooseSeed,
  flipBit,
  KIB,
  MIB,
  noise,
  readBytes,
  type Workplace,
  workplace,
} from '../support/commands.ts';

const CLUSTER = 64 * KIB;

/** Writes in JSON mode; what comes out without the seconds, which must be a number. */
async function written(work: Workplace, stdin: Buffer | string | undefined, ...args: string[]) {
  const answer = await work.ok('snap-write', ['--json', ...args], stdin === undefined ? {} : { stdin });
  assert.equal(answer.stderr, '');
  const { seconds, ...rest } = JSON.parse(answer.stdout);
  assert.ok(typeof seconds === 'number' && seconds >= 0);
  return rest;
}

function overlaid(content: Buffer, offsetBytes: number, data: Buffer): Buffer {
  const result = Buffer.alloc(Math.max(content.length, offsetBytes + data.length));
  content.copy(result);
  data.copy(result, offsetBytes);
  return result;
}

test('without snapshots it just writes', async (t) => {
  const work = await workplace(t);
  const content = work.image('disk.img', 100_000);
  const data = noise('plain', 5000);
  assert.deepEqual(await written(work, data, 'disk.img', '--offset', '95000'), {
    image: 'disk.img',
    offset: 95_000,
    bytesRead: 5000,
    bytesWritten: 5000,
    clustersCopied: 0,
    bytesCopied: 0,
    snapshot: null,
  });
  assert.ok(readFileSync(work.path('disk.img')).equals(overlaid(content, 95_000, data)));
  assert.equal(work.fingerprint().has('disk.img.snap'), false);
  const said = await work.ok('snap-write', ['disk.img', '--offset', '1K'], { stdin: 'abc' });
  assert.deepEqual([said.stdout, said.stderr], ['', 'snap-write: disk.img: 3 bytes written at 1024\n']);
});

test('the numbers of the JSON document, zero clusters and a short last one included', async (t) => {
  const work = await workplace(t);
  // Clusters: noise, zeros, noise, and 1000 bytes of noise.
  const content = Buffer.concat([noise(1, CLUSTER), Buffer.alloc(CLUSTER), noise(2, CLUSTER + 1000)]);
  work.image('disk.img', content);
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  const numbers = async (offset: number, lengthBytes: number) => {
    const given = await written(work, noise('x', lengthBytes), 'disk.img', '--offset', String(offset));
    assert.deepEqual(Object.keys(given), [
      ...['image', 'offset', 'bytesRead', 'bytesWritten', 'clustersCopied', 'bytesCopied', 'snapshot'],
    ]);
    return [given.bytesWritten, given.clustersCopied, given.bytesCopied, given.snapshot];
  };
  assert.deepEqual(await numbers(CLUSTER - 1, 2), [2, 2, CLUSTER, 'disk.img@one']);
  assert.deepEqual(await numbers(CLUSTER - 10, 20), [20, 0, 0, null]);
  assert.deepEqual(await numbers(3 * CLUSTER, 1000), [1000, 1, 1000, 'disk.img@one']);
  assert.deepEqual(await numbers(0, 0), [0, 0, 0, null]);
  assert.ok((await work.read('disk.img@one')).equals(content));
});

test('what does not fit: as much as fits, and how much that was', async (t) => {
  const work = await workplace(t);
  const content = work.image('disk.img', 100_000);
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  const data = noise('long', 20_000);
  const failure = await work.fails('snap-write', ['disk.img', '--offset', '90000'], { stdin: data });
  assert.deepEqual([failure.status, failure.code], [1, 'refused']);
  assert.match(failure.message, /10000 bytes written/);
  const summary = JSON.parse(failure.stdout);
  assert.deepEqual([summary.bytesWritten, summary.clustersCopied], [10_000, 1]);
  const present = overlaid(content, 90_000, data.subarray(0, 10_000));
  assert.ok((await work.read('disk.img')).equals(present));

  const before = work.fingerprint();
  const past = await work.fails('snap-write', ['disk.img', '--offset', '100001'], { stdin: 'x' });
  assert.deepEqual([past.status, past.code], [1, 'refused']);
  assert.match(past.message, /offset 100001 is past the end at 100000; nothing was written/);
  const none = await work.run('snap-write', ['-q', 'disk.img', '--offset', '100000'], { stdin: 'x' });
  assert.equal(none.status, 1);
  assert.match(none.stderr, /^snap-write: error: disk\.img: .* 0 bytes written/);
  assert.deepEqual(work.fingerprint().get('disk.img'), before.get('disk.img'));
  await work.ok('snap-write', ['-q', 'disk.img', '--offset', '100000'], { stdin: '' });
  assert.ok((await work.read('disk.img@one')).equals(content));
});

test('--extend lets the image grow, with zeros in the gap', async (t) => {
  const work = await workplace(t);
  const content = work.image('disk.img', 100_000);
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  const data = noise('far', 100);
  const summary = await written(work, data, 'disk.img', '--extend', '--offset', '1M');
  assert.equal(summary.bytesWritten, 100);
  assert.ok((await work.read('disk.img')).equals(overlaid(content, MIB, data)));
  await work.ok('snap-create', ['-q', 'disk.img@two']);
  await work.write('disk.img', 99_999, noise('across', 10));
  assert.ok((await work.read('disk.img@one')).equals(content));
  assert.ok((await work.read('disk.img@two')).equals(overlaid(content, MIB, data)));
  await work.ok('snap-verify', ['disk.img']);
});

test('--delta copies and writes only clusters that differ', async (t) => {
  const work = await workplace(t);
  const content = work.image('disk.img', 5 * CLUSTER + 17);
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  const same = await written(work, content, '--delta', 'disk.img');
  assert.deepEqual(
    [same.bytesRead, same.bytesWritten, same.clustersCopied, same.snapshot],
    [content.length, 0, 0, null],
  );
  const changed = overlaid(content, 2 * CLUSTER - 1, Buffer.from([1, 2, 3]));
  const summary = await written(work, changed, '--delta', 'disk.img');
  assert.deepEqual([summary.bytesWritten, summary.clustersCopied], [2 * CLUSTER, 2]);
  assert.ok((await work.read('disk.img')).equals(changed));
  // Back again, as the hint of snap-read says.
  const back = await written(work, await work.read('disk.img@one'), '--delta', 'disk.img');
  assert.deepEqual([back.bytesWritten, back.clustersCopied], [2 * CLUSTER, 0]);
  assert.ok((await work.read('disk.img')).equals(content));
});

test('--zero writes zeros without input; --no-sync and empty input are fine', async (t) => {
  const work = await workplace(t);
  const content = work.image('disk.img', 3 * CLUSTER);
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  const zeroed = await written(work, 'not read', 'disk.img', '--zero', '1.5K', '--offset', '65000');
  assert.deepEqual([zeroed.bytesWritten, zeroed.clustersCopied], [1536, 2]);
  let present = overlaid(content, 65_000, Buffer.alloc(1536));
  assert.equal((await written(work, undefined, 'disk.img', '--zero', '0')).bytesWritten, 0);
  assert.equal((await written(work, '', 'disk.img')).bytesWritten, 0);
  assert.equal((await written(work, 'fast', 'disk.img', '--no-sync')).bytesWritten, 4);
  present = overlaid(present, 0, Buffer.from('fast'));
  assert.ok((await work.read('disk.img')).equals(present));
  assert.ok((await work.read('disk.img@one')).equals(content));
  const long = await work.fails('snap-write', ['disk.img', '--zero', '1M']);
  assert.deepEqual([long.status, long.code], [1, 'refused']);
  assert.equal(JSON.parse(long.stdout).bytesWritten, 3 * CLUSTER);
});

test('a slow producer in pieces, and two producers on different regions', async (t) => {
  const work = await workplace(t);
  const seed = chooseSeed(t);
  const content = work.image('disk.img', noise(seed, 24 * CLUSTER));
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  const data = noise(`${seed}/new`, 24 * CLUSTER);
  const half = 12 * CLUSTER;
  async function* pieces(part: Buffer) {
    for (let at = 0; at < part.length; at += 77_777) {
      yield part.subarray(at, at + 77_777);
      await delay(1);
    }
  }
  const produce = (offset: number) =>
    work.ok('snap-write', ['--json', 'disk.img', '--offset', String(offset)], {
      stdin: Readable.from(pieces(data.subarray(offset, offset + half))),
    });
  const summaries = (await Promise.all([produce(0), produce(half)])).map(({ stdout }) => JSON.parse(stdout));
  for (const { bytesWritten, clustersCopied } of summaries) {
    assert.deepEqual([bytesWritten, clustersCopied], [half, 12]);
  }
  assert.ok((await work.read('disk.img')).equals(data));
  assert.ok((await work.read('disk.img@one')).equals(content));
  await work.ok('snap-verify', ['disk.img']);
});

test('a store that is missing or damaged: nothing is written', async (t) => {
  const work = await workplace(t);
  work.image('disk.img', 3 * CLUSTER);
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  await work.write('disk.img', 0, noise(1, 10));
  await work.ok('snap-create', ['-q', 'disk.img@two']);
  const { store } = work.places('disk.img', 'two');
  const untouched = () => work.fingerprint().get('disk.img');
  const before = untouched();
  renameSync(store, work.path('hidden.cow'));
  const missing = await work.fails('snap-write', ['disk.img'], { stdin: 'data' });
  assert.deepEqual([missing.status, missing.code], [1, 'not-found']);
  assert.ok(missing.message.includes(store), missing.message);
  renameSync(work.path('hidden.cow'), store);
  flipBit(store, 30);
  const damaged = await work.fails('snap-write', ['disk.img'], { stdin: 'data' });
  assert.deepEqual([damaged.status, damaged.code], [3, 'damage']);
  assert.equal(untouched(), before);
  flipBit(store, 30);
  await work.write('disk.img', 0, Buffer.from('data'));
});

test('a damaged bitmap is repaired without a word', async (t) => {
  const work = await workplace(t);
  const content = work.image('disk.img', 20 * CLUSTER);
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  await work.write('disk.img', 3 * CLUSTER, noise(1, 10));
  const { store, bitmap } = work.places('disk.img', 'one');
  for (const bits of [[3], [3, 9], [12]]) {
    const sound = readBytes(store, bitmap, 3);
    for (const bit of bits) flipBit(store, bitmap + (bit >> 3), bit & 7);
    const answer = await work.ok('snap-write', ['disk.img', '--offset', '10'], { stdin: 'data' });
    assert.match(answer.stderr, /^snap-write: disk\.img: 4 bytes written at 10[^\n]*\n$/);
    const repaired = readBytes(store, bitmap, 3);
    assert.equal((repaired[0] ?? 0) & ~1, (sound[0] ?? 0) & ~1);
    assert.equal(repaired[1], sound[1]);
    assert.ok((await work.read('disk.img@one')).equals(content));
  }
  await work.ok('snap-verify', ['disk.img']);
  assert.equal(statSync(work.path('disk.img')).size, content.length);
});

/** A record of --extents. */
function record(offsetBytes: number, data: Buffer): Buffer {
  const header = Buffer.alloc(16);
  header.writeBigUInt64LE(BigInt(offsetBytes), 0);
  header.writeBigUInt64LE(BigInt(data.length), 8);
  return Buffer.concat([header, data]);
}

test('--extents writes many places in one run, each through copy-on-write', async (t) => {
  const work = await workplace(t);
  const content = work.image('disk.img', noise(chooseSeed(t), 3 * MIB));
  await work.ok('snap-create', ['disk.img@one']);
  const places = Array.from({ length: 200 }, (_, index) => ({
    offsetBytes: (index * 7_777_777) % (3 * MIB - 600),
    data: noise(index, 1 + ((index * 37) % 600)),
  }));
  const expected = Buffer.from(content);
  for (const { offsetBytes, data } of places) data.copy(expected, offsetBytes);
  const stdin = Buffer.concat(places.map(({ offsetBytes, data }) => record(offsetBytes, data)));
  const summary = JSON.parse(
    (await work.ok('snap-write', ['--json', '--extents', 'disk.img'], { stdin })).stdout,
  );
  assert.equal(
    summary.bytesRead,
    places.reduce((sum, { data }) => sum + data.length, 0),
  );
  assert.ok((await work.read('disk.img')).equals(expected));
  assert.ok((await work.read('disk.img@one')).equals(content));
  // Again, with only what differs: nothing does.
  const again = await work.ok('snap-write', ['--json', '--extents', '--delta', 'disk.img'], { stdin });
  assert.ok((await work.read('disk.img')).equals(expected));
  assert.equal(JSON.parse(again.stdout).clustersCopied, 0);
});

test('--extents past the end of the image, and beside what it does not go with', async (t) => {
  const work = await workplace(t);
  work.image('disk.img', Buffer.alloc(1000, 1));
  const stdin = Buffer.concat([
    record(10, Buffer.from('abc')),
    record(998, Buffer.from('defg')),
    record(0, Buffer.from('x')),
  ]);
  const failure = await work.fails('snap-write', ['--extents', 'disk.img'], { stdin });
  assert.equal(failure.status, 1);
  assert.equal(failure.code, 'refused');
  assert.equal(
    failure.message,
    'disk.img: a record of 4 bytes at 998 goes past the end of the image at 1000: 5 bytes written, the rest refused',
  );
  const expected = Buffer.alloc(1000, 1);
  expected.write('abc', 10);
  expected.write('de', 998);
  assert.ok((await work.read('disk.img')).equals(expected));
  await work.ok('snap-write', ['--extents', '--extend', 'disk.img'], { stdin });
  assert.equal((await work.read('disk.img')).length, 1002);
  for (const other of [
    ['--offset', '1'],
    ['--zero', '1'],
  ]) {
    const usage = await work.fails('snap-write', ['--extents', ...other, 'disk.img'], { stdin });
    assert.equal(usage.status, 2);
  }
});
