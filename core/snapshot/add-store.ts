/**
 * Giving a sidecar one more store, which receives copies from then on: the present newest is sealed, the new one made
 * durable, and the catalog that says both is committed. A new snapshot begins so, and a part of one whose file is full.
 */
import * as path from 'node:path';
import { hasCode, quietly, SnapError } from '../base/errors.ts';
import { RepairNeeded } from '../store/append.ts';
import {
  type Catalog,
  endsAtClone,
  isAlive,
  MAX_SNAPSHOT_COUNT,
  newestRecord,
  persistentRecords,
  type SnapshotRecord,
} from '../store/catalog.ts';
import { clonePlace, filePathsOf, makeClone } from '../store/clone-file.ts';
import { EMPTY_FIGURE, type Figure } from '../store/figure.ts';
import { EMPTY_STORE_RECORD, type FlushRecord } from '../store/flush-record.ts';
import { storeIdentity, UNFINISHED_SUFFIX } from '../store/sidecar.ts';
import { type CandidateBitmaps, StoreFile } from '../store/store-file.ts';
import type { StoreIdentity } from '../store/store-header.ts';
import { neededBitmap } from './candidates.ts';
import type { Hold } from './hold.ts';
import { likeImage, remarkOwner } from './like-image.ts';
import { prepareStorePath } from './store-path.ts';

/**
 * Puts into a new store what its snapshot has from the beginning, durably, bits included, in batches from `firstBatch` on.
 * @returns the store's flush record
 */
export type Fill = (store: StoreFile, firstBatch: number) => Promise<FlushRecord>;

/** @throws `refused` where one more, be it a part, would make a catalog that nobody reads */
export function checkCount(image: string, snapshots: readonly SnapshotRecord[]): void {
  if (snapshots.length < MAX_SNAPSHOT_COUNT) return;
  throw new SnapError('refused', `${image}: has ${MAX_SNAPSHOT_COUNT} snapshots, the most there can be`, {
    path: image,
    hint: 'remove some with snap-gc',
  });
}

/**
 * In an exclusive hold.
 * @param withRecord the catalog with `record` as its last
 * @param candidate a bit a cluster; absent where the store needs all
 * @param fill the store is empty where absent
 * @throws what the disk says, `exists` or `refused`; then nothing is left of the store, unless the catalog has it all the same
 */
export async function addStore(
  hold: Hold,
  record: SnapshotRecord,
  withRecord: (catalog: Catalog) => Catalog,
  candidate?: Buffer,
  fill?: Fill,
): Promise<void> {
  checkCount(hold.image, hold.catalog.snapshots);
  await hold.ensureOpen();
  const previous = newestRecord(hold.catalog);
  const sealed = await figureToSeal(hold);
  const storePath = hold.sidecar.storePath(record);
  await prepareStorePath(hold.context.host.files, storePath);
  const bitmaps = candidate && { candidate, needed: await neededBitmap(hold, candidate) };
  const identity = storeIdentity(withRecord(hold.catalog), record);
  const flushRecord = await makeStore(hold, identity, storePath, { bitmaps, fill });
  if (record.isClone) await addClone(hold, record, identity);
  // No later batch gets the number of one in the store.
  if (fill !== undefined) await hold.finish({ batch: Math.max(hold.state.batch, flushRecord.made.batch) });
  const seal = (catalog: Catalog): Catalog => {
    const snapshots = catalog.snapshots.map((each) =>
      each.uuid === previous?.uuid ? { ...each, sealed } : each,
    );
    return { ...catalog, snapshots };
  };
  try {
    await hold.commit((catalog) => withRecord(seal(catalog)), {
      figure: { storeUuid: record.uuid, record: flushRecord },
    });
  } catch (error) {
    await quietly(() => removeUnlessCommitted(hold, record));
    throw error;
  }
}

/**
 * As a store: durable, and under its name only then. Where it cannot be made, the store goes too. Older snapshots end at
 * the clone, so that a change from outside which it has would be theirs, and would never be noticed.
 */
async function addClone(hold: Hold, record: SnapshotRecord, identity: StoreIdentity): Promise<void> {
  const { files } = hold.context.host;
  const store = hold.sidecar.storePlace(record);
  const { path: finalPath, followed } = clonePlace(store);
  const makePath = followed ? finalPath : `${finalPath}${UNFINISHED_SUFFIX}`;
  const made = [store.path];
  try {
    await makeClone(files, hold.origin, { path: makePath, identity, like: likeImage(hold.originStat) });
    made.push(makePath);
    await checkUnchanged(hold);
    if (!followed) await files.rename(makePath, finalPath);
    made.push(finalPath);
    await files.syncDirectory(path.dirname(finalPath));
  } catch (error) {
    for (const filePath of made) await quietly(() => files.remove(filePath));
    throw error;
  }
}

/** @throws `io` where a trusted snapshot reads from the origin, which is not as it was when the lock was taken */
async function checkUnchanged({ image, catalog, origin, originStat }: Hold): Promise<void> {
  if (!catalog.snapshots.some((each) => each.trust === 'valid' && !endsAtClone(catalog, each))) return;
  const { sizeBytes, modifiedNs } = await origin.stat();
  if (sizeBytes === originStat.sizeBytes && modifiedNs === originStat.modifiedNs) return;
  throw new SnapError('io', `${image}: was changed outside imgsnap while it was cloned`, {
    path: image,
    hint: 'run the command again',
  });
}

/** What the newest store has, with its bits on disk, since from now on nobody looks after them. */
async function figureToSeal(hold: Hold): Promise<Figure | undefined> {
  try {
    const active = await hold.active();
    const mustOutlive = persistentRecords(hold.catalog).length > 0;
    if (active !== undefined && hold.state.bitsDirty && mustOutlive) await hold.flushBits(active.store);
    return active?.flushRecord.made;
  } catch (error) {
    // A transient one after a reboot may be as it will: nothing is known of it, and nobody reads it.
    const isLost = error instanceof RepairNeeded || hasCode(error, 'damage', 'not-found');
    if (!isLost || hold.catalog.snapshots.some(isAlive)) throw error;
    return EMPTY_FIGURE;
  }
}

/**
 * A new store under its name, durably. In the sidecar it is made under a name that says it is unfinished, so that
 * after a crash a store's header is never in doubt; elsewhere nobody would find that one again.
 */
async function makeStore(
  hold: Hold,
  identity: StoreIdentity,
  storePath: string,
  { bitmaps, fill }: { readonly bitmaps: CandidateBitmaps | undefined; readonly fill: Fill | undefined },
): Promise<FlushRecord> {
  const { files } = hold.context.host;
  const inside = path.dirname(storePath) === hold.sidecar.directory;
  const makePath = inside ? `${storePath}${UNFINISHED_SUFFIX}` : storePath;
  const store = await StoreFile.create(files, makePath, identity, likeImage(hold.originStat), bitmaps);
  let flushRecord = EMPTY_STORE_RECORD;
  try {
    try {
      await remarkOwner(hold.context, hold.originStat, store);
      if (fill !== undefined) flushRecord = await fill(store, hold.state.batch + 1);
    } finally {
      await store.close();
    }
    if (inside) await files.rename(makePath, storePath);
    await files.syncDirectory(path.dirname(storePath));
    return flushRecord;
  } catch (error) {
    for (const made of [makePath, storePath]) {
      await quietly(async () => (await files.linkStat(made)) !== undefined && files.remove(made));
    }
    throw error;
  }
}

/** A commit that failed may have taken place all the same: only the catalog on disk knows. */
async function removeUnlessCommitted(hold: Hold, record: SnapshotRecord): Promise<void> {
  const { snapshots } = await hold.sidecar.readCatalog();
  if (snapshots.some(({ uuid }) => uuid === record.uuid)) return;
  for (const filePath of filePathsOf(hold.sidecar, record)) await hold.context.host.files.remove(filePath);
}
