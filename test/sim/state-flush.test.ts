/**
 * A flush of `state` that fails: the disk may have what was written or something older, and so may what is read. So the
 * safe version is written again at once, and nobody takes a phase for durable that is not.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { listImage } from '../../core/snapshot/list.ts';
import { testContext } from '../support/context.ts';
import { IMAGE, rawImage } from './crash-check.ts';
import { failFile, frozenScene, losePower, overwrite, touch } from './crash-scene.ts';

const REACHED_THE_DISK = 0;
const READ_FROM_DISK = 1;
const FORGOTTEN = 2;

test('opening that fails leaves a state that still tells of a change from outside', async () => {
  const { volume, host } = await frozenScene();
  const session = host.session(({ kind, path }) => {
    if (kind === 'syncData' && path.endsWith('/state')) failFile(volume, path, () => FORGOTTEN);
  });
  await assert.rejects(overwrite(session, 0, 2, false), { errno: 'EIO' });

  const file = await host.files.open(IMAGE, 'update');
  await file.write(Buffer.from('from outside'), 0);
  await file.close();
  await overwrite(host.session(), 1, 3, true);
  const { snapshots } = await listImage(testContext(host.session()), IMAGE);
  assert.deepEqual(
    snapshots.map(({ name, state }) => ({ name, state })),
    [{ name: 'a', state: 'modified' }],
  );
});

test('after closing that fails, whoever changes something opens anew, durably', async () => {
  const { volume, host, expected } = await frozenScene();
  let flushes = 0;
  let writes = 0;
  const session = host.session(({ kind, path }) => {
    if (!path.endsWith('/state')) return;
    if (kind === 'write') writes += 1;
    if (kind !== 'syncData') return;
    flushes += 1;
    if (flushes === 1) writes = 0;
    if (flushes === 1) return;
    // "Closed" is the last and is on the disk; what is read is what was written three before, when the write was done.
    let index = 0;
    failFile(volume, path, () => {
      index += 1;
      if (index === writes || index === writes - 3) return REACHED_THE_DISK;
      return index === writes - 2 ? READ_FROM_DISK : FORGOTTEN;
    });
  });
  touch(expected, 0);
  await assert.rejects(overwrite(session, 0, 2, true), { errno: 'EIO' });
  assert.equal(flushes, 2);

  touch(expected, 1);
  await overwrite(host.session(), 1, 3, false);
  expected.image = await rawImage(host.session());
  await losePower(volume, expected, 100);
});
