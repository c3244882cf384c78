/**
 * The end of a command that changed things: everything is put on disk, and `state` says so durably, so that after the
 * next boot the origin's time means something again. If it cannot be said (somebody else is at work) nothing is lost:
 * `state` stays open, and whoever comes last closes it.
 */
import { hasCode } from '../base/errors.ts';
import { persistentRecords } from '../store/catalog.ts';
import type { Hold } from './hold.ts';
import type { Volume } from './volume.ts';

/**
 * In an exclusive hold: flushes the origin, and closes if nobody changed it while that was done. The newest store's
 * bits are flushed with it: they need no flush to be right, and a bitmap that does not count after a clean end would
 * look like damage.
 */
export async function closeState(hold: Hold): Promise<void> {
  if (hold.state.phase === 'closed') return;
  await flushActiveBits(hold);
  await hold.origin.syncAll();
  const after = await hold.origin.stat();
  const { originSizeBytes, originTimeNs } = hold.state;
  if (after.sizeBytes !== originSizeBytes || after.modifiedNs !== originTimeNs) return;
  await hold.markClosed();
}

async function flushActiveBits(hold: Hold): Promise<void> {
  try {
    const isDue = hold.state.bitsDirty && persistentRecords(hold.catalog).length > 0;
    const active = isDue ? await hold.active() : undefined;
    if (active !== undefined) await hold.flushBits(active.store);
  } catch (error) {
    // A store that cannot be read has nothing to flush; whoever needs it says so.
    if (!hasCode(error, 'damage', 'not-found', 'newer-version')) throw error;
  }
}

/** Flushes the origin, and closes unless somebody else is at work. */
export async function settle(volume: Volume): Promise<void> {
  // Most of it without the lock, so that nobody waits for gigabytes to reach the disk.
  await volume.origin.syncAll();
  try {
    await volume.exclusive(async (hold) => {
      if (hold !== undefined) await closeState(hold);
    });
  } catch (error) {
    if (!hasCode(error, 'busy', 'interrupted')) throw error;
  }
}

/** As `settle`, but does nothing where nothing is open. */
export async function settleIfOpen(volume: Volume): Promise<void> {
  const isClosed = await volume.shared(async (hold) => hold?.stateIfReadable?.phase === 'closed');
  if (!isClosed) await settle(volume);
}
