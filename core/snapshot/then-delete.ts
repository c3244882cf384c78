/**
 * Removes a snapshot that was read to its end and taken by its consumer: a snapshot device of fss can be told to go with
 * its last user the same way. By its UUID, since its name may be another's by now; by the way of every removal, so that
 * another reader of it is not disturbed.
 */
import { type ErrorCode, SnapError } from '../base/errors.ts';
import { REMOVAL_LOCK_OFFSET_BYTES } from '../io/lock-offsets.ts';
import { settleIfOpen } from './closing.ts';
import type { Context } from './context.ts';
import { type Removal, removeSnapshot } from './remove.ts';
import { Volume } from './volume.ts';

/** What would say that what was delivered is wrong. */
const OF_THE_DATA: ReadonlySet<ErrorCode> = new Set(['damage', 'differs', 'invalid', 'modified']);

export interface Delivered {
  readonly uuid: string;
  /** For messages. */
  readonly name: string;
}

/**
 * The caller's own reading has ended, so that it does not count as in use.
 * @throws what removing throws; but no code that would say of the data that it is wrong: that was delivered
 */
export async function removeDelivered(
  context: Context,
  image: string,
  snapshot: Delivered,
): Promise<Removal> {
  try {
    const volume = await Volume.open(context, image, 'change');
    try {
      return await volume.withByteLock(REMOVAL_LOCK_OFFSET_BYTES, async () => {
        const removal = await removeSnapshot(volume, snapshot.uuid);
        await settleIfOpen(volume);
        return removal;
      });
    } finally {
      await volume.close();
    }
  } catch (error) {
    if (!(error instanceof SnapError) || error.code === 'interrupted') throw error;
    const code = OF_THE_DATA.has(error.code) ? 'io' : error.code;
    const { name } = snapshot;
    throw new SnapError(
      code,
      `${image}@${name}: was delivered as a whole, but not removed: ${error.message}`,
      {
        path: image,
        snapshot: `${image}@${name}`,
        errno: error.errno,
        hint: `snap-gc ${image}@${name} removes it`,
        cause: error,
      },
    );
  }
}
