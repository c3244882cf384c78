/**
 * Creating a snapshot flushes the origin twice: before the lock, and under it. What somebody writes in between, without
 * waiting for the disk, is part of the snapshot, and only the second flush puts it there.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IMAGE, rawImage } from './crash-check.ts';
import { newSnapshot } from './crash-expectation.ts';
import {
  type CrashScene,
  freeze,
  frozenScene,
  losePower,
  overwrite,
  plainScene,
  touch,
} from './crash-scene.ts';
import { isChange } from './session.ts';

/** Creates `b` with a write by somebody else after the first flush, and loses the power after every change from there. */
async function createWithWriteBetween({ volume, host, expected }: CrashScene): Promise<number> {
  let points = 0;
  let phase: 'before' | 'flushed' | 'written' = 'before';
  let failure: unknown;
  const session = host.session(async (operation) => {
    if (failure !== undefined) throw failure;
    if (phase === 'before' && operation.kind === 'syncAll' && operation.path === IMAGE) {
      phase = 'flushed';
    } else if (phase === 'flushed') {
      phase = 'written';
      touch(expected, 0);
      await overwrite(host.session(), 0, 7, false);
      expected.image = await rawImage(host.session());
      expected.snapshots.set('b', newSnapshot(expected.image));
    } else if (phase === 'written' && isChange(operation)) {
      points += 1;
      // Core must not take it for an error of the disk.
      await losePower(volume, expected, 0).catch((error: unknown) => {
        failure = error;
        throw error;
      });
    }
  });
  await freeze(session, 'b').catch((error: unknown) => {
    throw failure ?? error;
  });
  return points;
}

test('what was written just before the lock is on disk before a snapshot has it', async () => {
  assert.ok((await createWithWriteBetween(await frozenScene())) > 5);
});

test('the same for the first snapshot of an image', async () => {
  assert.ok((await createWithWriteBetween(await plainScene())) > 5);
});
