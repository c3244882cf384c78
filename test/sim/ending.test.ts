/**
 * A snapshot that cannot be kept right is marked, durably, before the write that breaks it: the power is lost after every
 * change that such a write makes, and a snapshot that is still trusted then must read right.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createSnapshot } from '../../core/snapshot/create.ts';
import { testContext } from '../support/context.ts';
import { limitOf } from '../support/image.ts';
import { checkSnapshots, IMAGE, rawImage } from './crash-check.ts';
import { newSnapshot } from './crash-expectation.ts';
import { type CrashScene, losePower, overwrite, plainScene, touch } from './crash-scene.ts';
import { CLUSTER_BYTES } from './crash-steps.ts';
import { isChange } from './session.ts';

async function endBy(scene: CrashScene, maxSizeBytes: number | undefined): Promise<void> {
  const { volume, host, expected } = scene;
  const ends = maxSizeBytes === undefined ? 'full' : 'limit';
  const options = { clusterSizeBytes: CLUSTER_BYTES, maxSizeBytes, onFull: 'invalidate' } as const;
  await createSnapshot(testContext(host), { image: IMAGE, name: 'a' }, options);
  expected.snapshots.set('a', { ...newSnapshot(expected.image, ends), certain: true });
  await overwrite(host.session(), 0, 2, true);
  expected.image = await rawImage(host.session());
  expected.flush();

  touch(expected, 1);
  expected.mayEndByWrite(true);
  let failure: unknown;
  let points = 0;
  const session = host.session(async (operation) => {
    if (failure !== undefined) throw failure;
    if (!isChange(operation)) return;
    points += 1;
    // Core must not take it for an error of the disk.
    await losePower(volume, expected, 0).catch((error: unknown) => {
      failure = error;
      throw error;
    });
  });
  if (maxSizeBytes === undefined) volume.budget.limitPages = volume.budget.usedPages;
  await overwrite(session, 1, 3, true).catch((error: unknown) => {
    throw failure ?? error;
  });
  volume.budget.limitPages = undefined;
  assert.ok(points > 10);
  expected.image = await rawImage(host.session());
  expected.flush();
  const found = await checkSnapshots(host, expected, 'look');
  assert.deepEqual(found.ended, new Set(['a']));
  expected.settle(found);
  await losePower(volume, expected, 10);
}

test('by its limit', async () => {
  await endBy(await plainScene(), limitOf(1, CLUSTER_BYTES));
});

test('by a full disk', async () => {
  await endBy(await plainScene(), undefined);
});
