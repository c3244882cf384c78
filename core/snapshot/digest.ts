/**
 * A snapshot's digest in the catalog: recorded only where nothing could have been otherwise, since a later read and a
 * verification believe it.
 */
import { SnapError } from '../base/errors.ts';
import { findByUuid, isAlive, type Trust, withRecord } from '../store/catalog.ts';
import { closeState } from './closing.ts';
import type { Context } from './context.ts';
import type { Hold } from './hold.ts';
import { Volume } from './volume.ts';

/** What a reader found in its first hold. */
export interface TrustedSince {
  readonly uuid: string;
  readonly trust: Trust;
  readonly originSizeBytes: number;
  readonly originTimeNs: bigint;
  /** Whether the origin's time said anything then. */
  readonly timeCounts: boolean;
  /** A change from outside that nobody had recorded yet. */
  readonly changedOutside: boolean;
}

/** Whether, in an exclusive hold, snapshot and origin are as they were in the reader's first hold. */
export function isAsItWas(hold: Hold, since: TrustedSince): boolean {
  const record = findByUuid(hold.catalog, since.uuid);
  return (
    record !== undefined &&
    record.trust === since.trust &&
    since.timeCounts &&
    !since.changedOutside &&
    hold.originStat.sizeBytes === since.originSizeBytes &&
    hold.originStat.modifiedNs === since.originTimeNs
  );
}

/**
 * Records a digest if that can be done at once and is right; never waits and never fails the read.
 * @returns the digest that is recorded now, by whomever
 */
export async function recordDigest(
  context: Context,
  image: string,
  since: TrustedSince,
  digest: string,
): Promise<string | undefined> {
  if (since.trust !== 'valid' || !since.timeCounts || since.changedOutside) return undefined;
  const silent: Context = { ...context, waitMs: 0, warn: () => undefined };
  try {
    const volume = await Volume.open(silent, image, 'change');
    try {
      return await volume.exclusiveIfSettled(async (hold) => {
        const record = findByUuid(hold.catalog, since.uuid);
        if (record === undefined || !isAlive(record)) return undefined;
        const onDisk = findByUuid(await hold.sidecar.readCatalog(), since.uuid);
        if (onDisk?.digest !== undefined) return onDisk.digest;
        if (!isAsItWas(hold, since)) return undefined;
        const wasClosed = hold.state.phase === 'closed';
        await hold.commit((catalog) => withRecord(catalog, since.uuid, { digest }), { keepGeneration: true });
        if (wasClosed) await closeState(hold);
        return digest;
      });
    } finally {
      await volume.close();
    }
  } catch (error) {
    // A sidecar that is busy, full or read-only leaves the digest for another time.
    if (error instanceof SnapError) return undefined;
    throw error;
  }
}
