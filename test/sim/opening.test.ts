/**
 * A command killed between writing that `state` is opening and the flush of that: whoever comes next must open anew. If
 * it believed what it reads from memory, a power loss would leave a state that says "closed" beside a changed origin.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkAfterCrash, rawImage } from './crash-check.ts';
import { frozenScene, overwriteFirst, touchFirst } from './crash-scene.ts';
import { MemoryFileSystem } from './memory-file-system.ts';
import { MemoryHost } from './memory-host.ts';
import { KilledError } from './system-error.ts';

test('killed before the flush that opens: the next one opens anew', async () => {
  const { volume, host, expected } = await frozenScene();
  const first = host.session(({ kind, path }) => {
    if (kind !== 'syncData' || !path.endsWith('/state')) return;
    first.kill();
    throw new KilledError();
  });
  await assert.rejects(overwriteFirst(first, 2, false), KilledError);
  const { failure } = await overwriteFirst(host.session(), 3, false);
  assert.equal(failure, undefined);
  touchFirst(expected);
  expected.image = await rawImage(host.session());

  // Nothing that was not flushed has reached the disk, but for the origin's time.
  const lost = volume.afterCrash(() => 0);
  await checkAfterCrash(new MemoryHost(2, new MemoryFileSystem(lost)), expected);
});
