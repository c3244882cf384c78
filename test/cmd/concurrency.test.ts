/**
 * Many real processes on one image at once: as much of the race as every test run can have (`npm run test:race` has
 * more), limited by rounds and not by time, so that a slow machine does the same work.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { Race } from '../race/race.ts';
import { MIB, wordsOf, workplace } from '../support/commands.ts';

const ROUNDS = 5;

test('four writers, four readers, a creator and a remover at once: every read is what its snapshot holds', async (t) => {
  const seed = Number(process.env.IMGSNAP_SEED ?? Math.floor(Math.random() * 2 ** 31));
  t.diagnostic(`IMGSNAP_SEED=${seed}`);
  const { counts } = await new Race(await workplace(t), { seed, rounds: ROUNDS }).run();
  assert.equal(counts.creations, ROUNDS);
  assert.ok(counts.writes > 0 && counts.reads > 0, JSON.stringify(counts));
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
