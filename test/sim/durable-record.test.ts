/**
 * The flush of bits at the end of a command fails and loses them; the repair that follows is killed at its own flush;
 * then the power goes. The flush record that was on disk must still be there: without it an older one, and a bitmap that
 * lost its bits, would agree that nothing was copied.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkAfterCrash } from './crash-check.ts';
import { CrashContent } from './crash-content.ts';
import { frozenScene, overwriteFirst, touchFirst } from './crash-scene.ts';
import type { CrashVolume } from './crash-volume.ts';
import { MemoryFileSystem } from './memory-file-system.ts';
import { MemoryHost, mulberry32 } from './memory-host.ts';
import { locate } from './name-tree.ts';
import { KilledError, systemError } from './system-error.ts';

const CRASHES = 400;

function loseUnflushed(volume: CrashVolume, path: string): void {
  const { inode } = locate(volume.root, path, 'follow');
  assert.ok(inode?.kind === 'file' && inode.content instanceof CrashContent);
  inode.content.failSync(() => 1);
}

test('a repair that is killed leaves the flush record that was on disk', async (t) => {
  const { volume, host, expected } = await frozenScene();
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
  await assert.rejects(overwriteFirst(session, 2, true));
  assert.equal(flushes, 3);

  touchFirst(expected);
  for (let seed = 1; seed <= CRASHES; seed += 1) {
    const after = new MemoryHost(seed, new MemoryFileSystem(volume.afterCrash(mulberry32(seed))));
    await assert.doesNotReject(checkAfterCrash(after, expected), `seed ${seed}`);
  }
  t.diagnostic(`${CRASHES} crashes`);
});
