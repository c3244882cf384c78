/**
 * The flush of bits at the end of a command fails and loses them; the repair that follows is killed at its own flush;
 * then the power goes. The flush record that was on disk must still be there: without it an older one, and a bitmap that
 * lost its bits, would agree that nothing was copied.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createSnapshot } from '../../core/snapshot/create.ts';
import { writeImage } from '../../core/snapshot/write.ts';
import { testContext } from '../support/context.ts';
import { checkAfterCrash, IMAGE } from './crash-check.ts';
import { CrashContent } from './crash-content.ts';
import { Expectation } from './crash-expectation.ts';
import { CrashVolume } from './crash-volume.ts';
import { MemoryFileSystem } from './memory-file-system.ts';
import { MemoryHost, mulberry32 } from './memory-host.ts';
import { locate } from './name-tree.ts';
import { KilledError, systemError } from './system-error.ts';

const CRASHES = 400;
const DATA = Buffer.alloc(4096, 2);

function loseUnflushed(volume: CrashVolume, path: string): void {
  const { inode } = locate(volume.root, path, 'follow');
  assert.ok(inode?.kind === 'file' && inode.content instanceof CrashContent);
  inode.content.failSync(() => 1);
}

test('a repair that is killed leaves the flush record that was on disk', async (t) => {
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

  let flushes = 0;
  const session = host.session(({ kind, path }) => {
    if (kind !== 'syncData' || !path.endsWith('.cow')) return;
    flushes += 1;
    // The batch's flush, the bits' at the end, the repair's.
    if (flushes === 2) {
      loseUnflushed(volume, path);
      throw systemError('EIO');
    }
    if (flushes === 3) {
      session.kill();
      throw new KilledError();
    }
  });
  let given = false;
  const read = async (target: Buffer) => {
    if (given) return 0;
    given = true;
    return DATA.copy(target);
  };
  const options = { offsetBytes: 0, extend: false, delta: false, sync: true };
  await assert.rejects(writeImage(testContext(session), IMAGE, options, { read }));
  assert.equal(flushes, 3);

  const expected = new Expectation(image);
  expected.touch({ startBytes: 0, endBytes: DATA.length });
  expected.snapshots.set('a', { bytes: image, certain: true });
  for (let seed = 1; seed <= CRASHES; seed += 1) {
    const after = new MemoryHost(seed, new MemoryFileSystem(volume.afterCrash(mulberry32(seed))));
    await assert.doesNotReject(checkAfterCrash(after, expected), `seed ${seed}`);
  }
  t.diagnostic(`${CRASHES} crashes`);
});
