/**
 * A command killed between writing that `state` is opening and the flush of that: whoever comes next must open anew. If
 * it believed what it reads from memory, a power loss would leave a state that says "closed" beside a changed origin.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createSnapshot } from '../../core/snapshot/create.ts';
import { writeImage } from '../../core/snapshot/write.ts';
import { testContext } from '../support/context.ts';
import { checkAfterCrash, IMAGE, rawImage } from './crash-check.ts';
import { Expectation } from './crash-expectation.ts';
import { CrashVolume } from './crash-volume.ts';
import { MemoryFileSystem } from './memory-file-system.ts';
import { MemoryHost } from './memory-host.ts';
import { KilledError } from './system-error.ts';

function write(host: MemoryHost, data: Buffer) {
  let given = 0;
  const read = async (target: Buffer) => {
    const got = data.copy(target, 0, given);
    given += got;
    return got;
  };
  const options = { offsetBytes: 0, extend: false, delta: false, sync: false };
  return writeImage(testContext(host), IMAGE, options, { read });
}

test('killed before the flush that opens: the next one opens anew', async () => {
  const volume = new CrashVolume();
  const host = new MemoryHost(1, new MemoryFileSystem(volume));
  const image = Buffer.alloc(3 * 4096, 1);
  await host.files.makeDirectory('/vm', 0o755);
  const file = await host.files.open(IMAGE, 'create', 0o644);
  await file.write(image, 0);
  await file.syncAll();
  await file.close();
  for (const path of ['/vm', '/']) await host.files.syncDirectory(path);
  await createSnapshot(
    testContext(host),
    { image: IMAGE, name: 'a' },
    { clusterSizeBytes: 4096, onFull: 'refuse' },
  );
  const expected = new Expectation(image);
  expected.snapshots.set('a', { bytes: image, certain: true });

  const first = host.session(({ kind, path }) => {
    if (kind !== 'syncData' || !path.endsWith('/state')) return;
    first.kill();
    throw new KilledError();
  });
  await assert.rejects(write(first, Buffer.alloc(4096, 2)), KilledError);
  const { failure } = await write(host.session(), Buffer.alloc(4096, 3));
  assert.equal(failure, undefined);
  expected.touch({ startBytes: 0, endBytes: 4096 });
  expected.image = await rawImage(host.session());

  // Nothing that was not flushed has reached the disk, but for the origin's time.
  const lost = volume.afterCrash(() => 0);
  await checkAfterCrash(new MemoryHost(2, new MemoryFileSystem(lost)), expected);
});
