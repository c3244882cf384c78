/**
 * The installed commands with a call that fails, reads and writes that do half of what they are asked, and files that
 * become shorter under them. A sample by a seed; `npm run test:faults` tries every call.
 */
import assert from 'node:assert/strict';
import { existsSync, truncateSync } from 'node:fs';
import { test } from 'node:test';
import {
  type CommandName,
  eachOf,
  flipBit,
  KIB,
  noise,
  type Workplace,
  workplace,
} from '../support/commands.ts';
import { startProbed, untilStopped } from '../support/probe.ts';
import { failuresOf } from './bundle-points.ts';
import { Bundles, CASES, titleOf } from './bundles.ts';
import { chooseRandom } from './choose.ts';

/** Failures of each command. */
const EACH = 1;
/** Inside the second cluster; and in a store, where there are flush records. */
const CUT_BYTES = 5000;

test('reads and writes that do half of what they are asked: nobody notices', async (t) => {
  const bundles = await Bundles.make(await workplace(t));
  await eachOf(CASES, async (tried) => {
    const { usual } = await bundles.points(tried);
    await bundles.short(tried, usual, { call: 1, stays: true });
  });
});

test('a call that fails: the message names the file, nothing is harmed, the next try works', async (t) => {
  const random = chooseRandom(t);
  const bundles = await Bundles.make(await workplace(t));
  await eachOf(CASES, async (tried) => {
    const { points } = await bundles.points(tried);
    const failures = failuresOf(tried, points);
    for (let count = 0; count < EACH; count += 1) {
      const failure = failures[random() % failures.length];
      assert.ok(failure);
      await bundles.fail(tried, failure).catch((error: unknown) => {
        const where = `${titleOf(tried)}: ${failure.errno} at ${failure.call}, ${failure.point}`;
        throw new Error(`${where}: ${error instanceof Error ? error.message : error}`, { cause: error });
      });
    }
  });
});

test('damage is told as damage, also where the unfinished file cannot be removed', async (t) => {
  const work = await workplace(t);
  work.image('disk.img', noise('damaged', 40 * KIB));
  await work.ok('snap-create', ['-q', 'disk.img@one', '--cluster-size', '4K']);
  await work.write('disk.img', 0, noise('new', 4 * KIB));
  flipBit(work.store('disk.img', 'one'), work.places('disk.img', 'one').slot(0));
  const probe = { point: 'unlink .out.img.H.tmp', action: 'fail', errno: 'EIO' } as const;
  const { status, stderr } = await startProbed(work, 'snap-read', ['disk.img@one', '-o', 'out.img'], probe)
    .result;
  assert.equal(status, 3, stderr);
  assert.match(stderr, /cluster 0 at offset 0 is damaged/);
  assert.ok(!existsSync(work.path('out.img')));
});

const CUT: readonly [CommandName, string[], point: string, status: number, message: RegExp][] = [
  ['snap-read', ['disk.img@one'], 'read disk.img', 1, /disk\.img: ended at 5000 while it was read/],
  ['snap-read', ['disk.img'], 'read disk.img', 1, /disk\.img: ended at 5000 while it was read/],
  ['snap-write', ['disk.img'], 'read disk.img', 1, /disk\.img: ended at 5000 while it was read/],
  [
    'snap-read',
    ['disk.img@one'],
    'read one-H.cow',
    3,
    /one-[0-9a-f]{8}\.cow: the file ends at 8192, inside the flush records/,
  ],
];

for (const [name, args, point, status, message] of CUT) {
  test(`${name} ${args.join(' ')}, cut at "${point}": ${status}, and no wrong byte`, async (t) => {
    const work = await workplace(t);
    const content = work.image('disk.img', noise('cut', 40 * KIB));
    await work.ok('snap-create', ['-q', 'disk.img@one', '--cluster-size', '4K']);
    await work.write('disk.img', 0, noise('new', 4 * KIB));
    const probe = { point, action: 'stop' } as const;
    const running = startProbed(work, name, args, probe, { stdin: noise('data', 20 * KIB) });
    await untilStopped(running);
    truncateSync(pathOf(work, point), CUT_BYTES);
    running.child.kill('SIGCONT');
    const result = await running.result;
    assert.equal(result.status, status, result.stderr);
    assert.match(result.stderr, message);
    assert.ok(result.stdout.equals(content.subarray(0, result.stdout.length)), 'a wrong byte');
    assert.notEqual((await work.run('snap-read', ['disk.img@one'])).status, 0);
  });
}

function pathOf(work: Workplace, point: string): string {
  return point.endsWith('.cow') ? work.store('disk.img', 'one') : work.path('disk.img');
}
