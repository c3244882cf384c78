/**
 * A command killed between writing that `state` is opening and the flush of that: whoever comes next must open anew. If
 * it believed what it reads from memory, a power loss would leave a state that says "closed" beside a changed origin.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rawImage } from './crash-check.ts';
import { frozenScene, killAt, losePower, overwrite, touch } from './crash-scene.ts';
import { KilledError } from './system-error.ts';

test('killed before the flush that opens: the next one opens anew', async () => {
  const { volume, host, expected } = await frozenScene();
  const first = killAt(host, 1, ({ kind, path }) => kind === 'syncData' && path.endsWith('/state'));
  await assert.rejects(overwrite(first, 0, 2, false), KilledError);
  await overwrite(host.session(), 0, 3, false);
  touch(expected, 0);
  expected.image = await rawImage(host.session());

  // With that, the state in which only the origin's time has reached the disk.
  await losePower(volume, expected, 50);
});
