/**
 * Several real processes at once on one image: writers, readers, a creator and a remover. Each writer stamps its whole
 * region at a time, which is one batch; so in every snapshot each region has one stamp, however the processes met, and
 * a snapshot reads the same each time.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { KIB, MIB, type Workplace, wordsOf, workplace } from '../support/commands.ts';

const REGION_BYTES = 300 * KIB;
const WRITERS = 3;
const ROUNDS = 12;

/** The stamp of each region. Fails where one has two. */
function stamps(image: Buffer, what: string): number[] {
  return Array.from({ length: WRITERS }, (_, writer) => {
    const region = image.subarray(writer * REGION_BYTES, (writer + 1) * REGION_BYTES);
    const [stamp = -1] = region;
    assert.ok(region.equals(Buffer.alloc(region.length, stamp)), `${what}: region ${writer} is torn`);
    return stamp;
  });
}

async function write(work: Workplace, writer: number): Promise<void> {
  for (let round = 1; round <= ROUNDS; round += 1) {
    await work.write('disk.img', writer * REGION_BYTES, Buffer.alloc(REGION_BYTES, round));
  }
}

async function createAndRemove(work: Workplace, kept: Map<string, number[]>): Promise<void> {
  for (let round = 0; round < ROUNDS; round += 1) {
    const name = `s${round}`;
    await work.ok('snap-create', ['-q', `disk.img@${name}`]);
    kept.set(name, stamps(await work.read(`disk.img@${name}`), name));
    // In the middle of the chain: what older ones need of it is handed over while others write.
    const middle = [...kept.keys()][Math.floor(kept.size / 2)];
    if (round % 3 === 2 && middle !== undefined) {
      kept.delete(middle);
      await work.ok('snap-gc', ['-q', `disk.img@${middle}`]);
    }
  }
}

async function readFirst(work: Workplace, first: Buffer, rest: { done: boolean }): Promise<number> {
  let reads = 0;
  while (!rest.done) {
    assert.ok((await work.read('disk.img@first')).equals(first), 'the first snapshot reads wrong');
    reads += 1;
  }
  return reads;
}

test('writers, readers, a creator and a remover at once: no torn stamp, and every snapshot reads the same again', async (t) => {
  const work = await workplace(t);
  const first = work.image('disk.img', Buffer.alloc(WRITERS * REGION_BYTES + 100, 0));
  await work.ok('snap-create', ['-q', 'disk.img@first']);
  const kept = new Map<string, number[]>();
  const rest = { done: false };
  const readers = [readFirst(work, first, rest), readFirst(work, first, rest)];
  const others = Array.from({ length: WRITERS }, (_, writer) => write(work, writer));
  try {
    await Promise.all([...others, createAndRemove(work, kept)]);
  } finally {
    rest.done = true;
  }
  const reads = await Promise.all(readers);
  t.diagnostic(`${reads.join(' and ')} reads beside the others`);
  assert.ok(Math.min(...reads) > 0);
  for (const [name, expected] of kept) {
    assert.deepEqual(stamps(await work.read(`disk.img@${name}`), name), expected, name);
  }
  assert.deepEqual(stamps(await work.read('disk.img'), 'the image'), Array(WRITERS).fill(ROUNDS));
  const verified = await work.ok('snap-verify', ['disk.img']);
  assert.match(verified.stdout, / 0 findings; /);
});

test('a reader that waits for its consumer holds up nobody', async (t) => {
  const work = await workplace(t);
  const content = work.image('disk.img', 8 * MIB);
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  const [program = '', ...words] = wordsOf('snap-read', ['disk.img@one']);
  const reader = spawn(program, words, { cwd: work.directory, stdio: ['ignore', 'pipe', 'inherit'] });
  // Data has come, and no more is taken: the reader waits in the middle of its snapshot.
  await once(reader.stdout, 'readable');
  await work.write('disk.img', 0, Buffer.alloc(8 * MIB, 1));
  await work.ok('snap-create', ['-q', 'disk.img@two']);
  const chunks: Buffer[] = [];
  for await (const chunk of reader.stdout) chunks.push(chunk);
  assert.ok(Buffer.concat(chunks).equals(content), 'the snapshot reads wrong');
});
