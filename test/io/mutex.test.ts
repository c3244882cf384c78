/** The mutex inside the process: one at a time, in order, and a failure stays with its caller. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { Mutex } from '../../core/io/mutex.ts';

test('one at a time, in the order of asking, whoever is quicker', async () => {
  const mutex = new Mutex();
  const log: string[] = [];
  const runs = [3, 0, 2, 1].map((pauses, index) =>
    mutex.run(async () => {
      log.push(`in ${index}`);
      for (let pause = 0; pause < pauses; pause += 1) await setImmediate();
      log.push(`out ${index}`);
      return index * 10;
    }),
  );
  assert.deepEqual(await Promise.all(runs), [0, 10, 20, 30]);
  assert.deepEqual(
    log,
    [0, 1, 2, 3].flatMap((index) => [`in ${index}`, `out ${index}`]),
  );
});

test('a failure reaches its caller and nobody else, thrown at once or later', async () => {
  const mutex = new Mutex();
  const failed = mutex.run(() => {
    throw new Error('first');
  });
  const rejected = mutex.run(async () => {
    await setImmediate();
    throw new Error('second');
  });
  const fine = mutex.run(() => 'third');
  await assert.rejects(failed, /first/);
  await assert.rejects(rejected, /second/);
  assert.equal(await fine, 'third');
});

test('the work does not begin while the caller is still running', async () => {
  let hasBegun = false;
  const running = new Mutex().run(() => {
    hasBegun = true;
  });
  assert.equal(hasBegun, false);
  await running;
  assert.equal(hasBegun, true);
});
