/**
 * The way out for an origin whose time changed but not its content: a marked snapshot that still reads as its recorded
 * digest says is trusted again. What has no recorded digest stays marked, since nothing can tell.
 */
import { hasCode } from '../base/errors.ts';
import { digestText, Xxh64Digest } from '../base/xxh64.ts';
import { findByUuid, type SnapshotRecord, withRecord } from '../store/catalog.ts';
import { settleIfOpen } from './closing.ts';
import type { Context } from './context.ts';
import { isAsItWas } from './digest.ts';
import { changedOutside, trustNow } from './outside-change.ts';
import { digestSnapshot } from './read.ts';
import { Volume } from './volume.ts';

export interface Acceptance {
  readonly name: string;
  readonly accepted: boolean;
  /** Why the mark stays, where it does. */
  readonly reason?: string | undefined;
}

/** With `dryRun`, reads and tells, and changes nothing. */
export async function acceptOrigin(
  context: Context,
  image: string,
  options: { readonly dryRun: boolean },
): Promise<Acceptance[]> {
  const volume = await Volume.open(context, image, options.dryRun ? 'look' : 'change');
  try {
    // An unrecorded change is recorded first, so that what is cleared below is a mark that everybody saw.
    if (!options.dryRun) await volume.exclusive(async () => undefined);
    const marked = await volume.shared(async (hold): Promise<SnapshotRecord[]> => {
      if (hold === undefined) return [];
      const changed = await changedOutside(hold);
      const isMarked = (record: SnapshotRecord) => trustNow(hold, record, changed) === 'modified';
      return hold.catalog.snapshots.filter((record) => !record.hidden && isMarked(record));
    });
    const acceptances: Acceptance[] = [];
    for (const record of marked) acceptances.push(await acceptOne(volume, record, options));
    if (!options.dryRun) await settleIfOpen(volume);
    return acceptances;
  } finally {
    await volume.close();
  }
}

async function acceptOne(
  volume: Volume,
  record: SnapshotRecord,
  options: { readonly dryRun: boolean },
): Promise<Acceptance> {
  const { name } = record;
  const stays = (reason: string) => ({ name, accepted: false, reason });
  if (record.digest === undefined) return stays('no digest was recorded, so nothing can tell');
  const digest = new Xxh64Digest();
  try {
    const { since } = await digestSnapshot(volume, name, digest);
    if (digestText(digest.value()) !== record.digest) return stays('it does not read as its recorded digest');
    if (options.dryRun) return { name, accepted: true };
    const cleared = await volume.exclusive(async (hold) => {
      if (hold === undefined || !isAsItWas(hold, since)) return false;
      if (findByUuid(hold.catalog, record.uuid)?.digest !== record.digest) return false;
      await hold.commit((catalog) => withRecord(catalog, record.uuid, { trust: 'valid', ending: undefined }));
      return true;
    });
    return cleared ? { name, accepted: true } : stays('the image was written to while it was read');
  } catch (error) {
    if (hasCode(error, 'damage', 'invalid', 'not-found')) return stays(error.message);
    throw error;
  }
}
