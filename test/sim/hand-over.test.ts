/**
 * A removal killed when the receiver of a hand-over has just got its bits: the next command repairs that store, and the
 * power is lost on the way. Bits may not outlive their entries, nor be left to nobody.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { collectSnapshots } from '../../core/snapshot/collect.ts';
import { regions } from '../../core/store/layout.ts';
import { testContext } from '../support/context.ts';
import { IMAGE, rawImage } from './crash-check.ts';
import { newSnapshot } from './crash-expectation.ts';
import { freeze, frozenScene, killAt, losePower, overwrite, touch } from './crash-scene.ts';
import { CLUSTER_BYTES } from './crash-steps.ts';
import { isChange } from './session.ts';
import { KilledError } from './system-error.ts';

for (let changes = 1; changes <= 4; changes += 1) {
  test(`killed before change ${changes} after the bits`, async () => {
    const { volume, host, expected } = await frozenScene();
    await overwrite(host.session(), 0, 2, true);
    expected.image = await rawImage(host.session());
    await freeze(host.session(), 'b');
    expected.snapshots.set('b', newSnapshot(expected.image));
    await overwrite(host.session(), 1, 3, true);
    expected.image = await rawImage(host.session());
    expected.flush();

    const sizes = { sizeBytes: expected.image.length, clusterSizeBytes: CLUSTER_BYTES };
    const { bitmapOffsetBytes, dataOffsetBytes } = regions(sizes);
    let phase: 'before' | 'slots' | 'bits' = 'before';
    const session = killAt(host, changes, (operation) => {
      if (phase === 'bits') return isChange(operation);
      if (operation.kind !== 'write' || !/\/a-.*\.cow$/.test(operation.path)) return false;
      if (operation.offsetBytes === bitmapOffsetBytes && phase === 'slots') phase = 'bits';
      if ((operation.offsetBytes ?? 0) >= dataOffsetBytes) phase = 'slots';
      return false;
    });
    const request = { names: ['b'], dryRun: false };
    await assert.rejects(collectSnapshots(testContext(session), IMAGE, request), KilledError);

    touch(expected, 2);
    let failure: unknown;
    const next = host.session(async (operation) => {
      if (failure !== undefined) throw failure;
      if (!isChange(operation)) return;
      // Core must not take it for an error of the disk.
      await losePower(volume, expected, 2).catch((error: unknown) => {
        failure = error;
        throw error;
      });
    });
    await overwrite(next, 2, 4, true).catch((error: unknown) => {
      throw failure ?? error;
    });
    await losePower(volume, expected, 5);
  });
}
