/**
 * The flush of bits at the end of a command fails and loses them; the repair that follows is killed at its own flush;
 * then the power goes. The flush record that was on disk must still be there: without it an older one, and a bitmap that
 * lost its bits, would agree that nothing was copied.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failFile, frozenScene, losePower, overwrite, touch } from './crash-scene.ts';
import { KilledError } from './system-error.ts';

test('a repair that is killed leaves the flush record that was on disk', async () => {
  const { volume, host, expected } = await frozenScene();
  let flushes = 0;
  const session = host.session(({ kind, path }) => {
    if (kind !== 'syncData' || !path.endsWith('.cow')) return;
    flushes += 1;
    // The batch's flush, the bits' at the end, the repair's.
    if (flushes === 2) failFile(volume, path, () => 1);
    if (flushes === 3) {
      session.kill();
      throw new KilledError();
    }
  });
  await assert.rejects(overwrite(session, 0, 2, true));
  assert.equal(flushes, 3);

  touch(expected, 0);
  await losePower(volume, expected, 400);
});
