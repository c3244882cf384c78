/**
 * Removes a snapshot that was read to its end and taken by its consumer: a snapshot device of fss can be told to go with
 * its last user the same way. By its UUID, since its name may be another's by now; by the way of every removal, so that
 * another reader of it is not disturbed.
 */
import { type ErrorCode, SnapError } from '../base/errors.ts';
import { type Collection, collectSnapshots } from './collect.ts';
import type { Context } from './context.ts';

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
  { uuid, name }: Delivered,
): Promise<Collection> {
  try {
    return await collectSnapshots(context, image, { uuids: [uuid], dryRun: false });
  } catch (error) {
    if (!(error instanceof SnapError) || error.code === 'interrupted') throw error;
    const code = OF_THE_DATA.has(error.code) ? 'io' : error.code;
    const snapshot = `${image}@${name}`;
    throw new SnapError(code, `${snapshot}: was delivered as a whole, but not removed: ${error.message}`, {
      path: image,
      snapshot,
      errno: error.errno,
      hint: `snap-gc ${snapshot} removes it`,
      cause: error,
    });
  }
}
