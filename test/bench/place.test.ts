/** The benchmark's processes and directories, with real ones: what it starts ends, and what it makes goes. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Place, ScriptFailure, TooSlow } from '../../bench/harness/place.ts';

function makePlace(t: TestContext): { place: Place; stop: AbortController } {
  const stop = new AbortController();
  const place = new Place({ MIB: 3 }, stop.signal);
  t.after(() => place.remove());
  return { place, stop };
}

/** Waits until the process whose number is in a file of the place has ended; forever if it does not. */
async function untilGone(place: Place, name: string): Promise<void> {
  await untilThere(place.path(name));
  const pid = readFileSync(place.path(name), 'utf8').trim();
  // One that nobody has waited for yet is a zombie.
  const isThere = () => {
    try {
      return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
    } catch {
      return false;
    }
  };
  while (isThere()) await sleep(5);
}

async function untilThere(path: string): Promise<void> {
  while (!existsSync(path) || readFileSync(path, 'utf8') === '') await sleep(5);
}

test('a script finds the commands and its sizes, and stops at the first failure', async (t) => {
  const { place } = makePlace(t);
  await place.bash('snap-create --version | grep -q imgsnap; echo $MIB >size');
  assert.equal(readFileSync(place.path('size'), 'utf8'), '3\n');
  await assert.rejects(place.bash('echo what is wrong >&2; false; touch later'), (error) => {
    assert.ok(error instanceof ScriptFailure);
    assert.match(error.message, /ended with 1: what is wrong/);
    return true;
  });
  assert.ok(!existsSync(place.path('later')));
  await assert.rejects(place.bash('false | true'), ScriptFailure);
  assert.equal(await place.succeeds('command -v no-such-program'), false);
});

test('a script that takes too long is killed with all its children', async (t) => {
  const { place } = makePlace(t);
  await assert.rejects(place.bash('sleep 1000 & echo $! >child; wait', 0.5), TooSlow);
  // On a machine that is slow enough it has not come to that.
  if (existsSync(place.path('child')) && statSync(place.path('child')).size > 0)
    await untilGone(place, 'child');
});

test('an interrupt kills what runs, with all its children, and nothing starts after it', async (t) => {
  const { place, stop } = makePlace(t);
  const running = assert.rejects(place.bash('sleep 1000 & echo $! >child; wait'), /interrupted/);
  await untilThere(place.path('child'));
  stop.abort(new Error('interrupted'));
  await running;
  await untilGone(place, 'child');
  await assert.rejects(place.bash('touch later'), /interrupted/);
  assert.ok(!existsSync(place.path('later')));
});

test('what runs in the background is repeated, and over when the work is over', async (t) => {
  const { place } = makePlace(t);
  const result = await place.during(
    'test -s child || echo $$ >child; echo x >>rounds; sleep 0.01',
    async () => {
      await untilThere(place.path('rounds'));
      while (readFileSync(place.path('rounds'), 'utf8').length < 6) await sleep(5);
      return 'result';
    },
  );
  assert.equal(result, 'result');
  await untilGone(place, 'child');
  const failing = place.during('echo $$ >failed; echo broken >&2; false', async () => {
    await untilGone(place, 'failed');
  });
  await assert.rejects(failing, /background ended: broken/);
});

test('peak memory is that of the largest process of Node in the script, and not of ours', async (t) => {
  const { place } = makePlace(t);
  const small = await place.peakMib('node -e 0', 60);
  const large = await place.peakMib('node -e "Buffer.alloc(300 * 2 ** 20, 1)" | cat; node -e 0', 60);
  assert.ok(small > 10 && small < 150, `${small} MiB for nothing`);
  assert.ok(large > 300 && large < 300 + small + 50, `${large} MiB for 300`);
  await assert.rejects(place.peakMib('true', 60), ScriptFailure);
});

test('nothing is left of a place', async (t) => {
  const { place } = makePlace(t);
  await place.bash('mkdir -p a/b; touch a/b/c; chmod 500 a/b');
  place.remove();
  assert.ok(!existsSync(place.path('.')));
});
