/**
 * A command killed between a rename and the flush of its directory: whoever comes next sees the new name, relies on it,
 * and so must make it durable before anything else.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rawImage } from './crash-check.ts';
import { newSnapshot } from './crash-expectation.ts';
import {
  type CrashScene,
  freeze,
  frozenScene,
  killAt,
  losePower,
  overwrite,
  plainScene,
} from './crash-scene.ts';
import type { Operation } from './session.ts';
import { KilledError } from './system-error.ts';

async function killedThenCarriedOn(
  { volume, host, expected }: CrashScene,
  matches: (operation: Operation) => boolean,
): Promise<void> {
  let isRenamed = false;
  const session = killAt(host, 1, (operation) => {
    if (operation.kind === 'rename') isRenamed = matches(operation);
    return isRenamed && operation.kind === 'syncDirectory';
  });
  const bytes = await rawImage(host.session());
  await assert.rejects(freeze(session, 'b'), KilledError);
  await overwrite(host.session(), 0, 2, true);
  expected.image = await rawImage(host.session());
  expected.flush();
  expected.snapshots.set('b', { ...newSnapshot(bytes), certain: true });
  await losePower(volume, expected, 50);
}

test('a catalog whose name was not flushed is made durable before it is relied on', async () => {
  await killedThenCarriedOn(await frozenScene(), ({ to }) => to?.endsWith('/catalog.json') ?? false);
});

test('so is the name of a first sidecar', async () => {
  await killedThenCarriedOn(await plainScene(), ({ to }) => to?.endsWith('.snap') ?? false);
});
