/**
 * The flush of a batch fails, though all of it has reached the disk; it is given up, and the flush of that fails, too: the
 * system forgets the cleared entries, and shows them as cleared all the same. The next one finds nothing to clear. After a
 * power loss the entries are back, and must be known for what they are.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rawImage } from './crash-check.ts';
import { failFile, frozenScene, losePower, overwrite, touch } from './crash-scene.ts';

const REACHED_THE_DISK = 0;
const FORGOTTEN = 2;

for (const sync of [true, false]) {
  test(`a batch that was given up and comes back is cleared again, ${sync ? 'closed' : 'open'}`, async () => {
    const { volume, host, expected } = await frozenScene();
    let flushes = 0;
    const session = host.session(({ kind, path }) => {
      if (kind !== 'syncData' || !path.endsWith('.cow')) return;
      flushes += 1;
      failFile(volume, path, () => (flushes === 1 ? REACHED_THE_DISK : FORGOTTEN));
    });
    await assert.rejects(overwrite(session, 0, 2, true), { errno: 'EIO' });
    assert.ok(flushes >= 2);

    touch(expected, 1);
    await overwrite(host.session(), 1, 3, sync);
    expected.image = await rawImage(host.session());
    if (sync) expected.flush();
    await losePower(volume, expected, 50);
  });
}
