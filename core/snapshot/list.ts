/** What snapshots there are and what they take: from the catalog and the stores' headers, without touching data. */
import * as path from 'node:path';
import { hasCode, SnapError } from '../base/errors.ts';
import { loadXxh64 } from '../base/xxh64.ts';
import { acquire, release } from '../io/turnstile.ts';
import {
  type Catalog,
  filesOfSame,
  newestRecord,
  ownerUuid,
  type SnapshotRecord,
  STORE_SUFFIX,
} from '../store/catalog.ts';
import { clusterCount } from '../store/layout.ts';
import { findSidecar, SIDECAR_SUFFIX, Sidecar, storeIdentity } from '../store/sidecar.ts';
import { lookAtStore, StoreFile } from '../store/store-file.ts';
import type { Context } from './context.ts';
import type { Hold } from './hold.ts';
import { changedOutside, MODIFIED_REASON, SHRUNK_REASON, trustNow } from './outside-change.ts';
import { snapshotBytes } from './space.ts';
import { Volume } from './volume.ts';

export type ListedState = 'active' | 'idle' | 'modified' | 'invalid' | 'orphan';

export interface ListedSnapshot {
  readonly name: string;
  readonly created: string;
  readonly state: ListedState;
  readonly reason: string | undefined;
  readonly sizeBytes: number;
  readonly clusterSizeBytes: number;
  readonly clusterCount: number;
  readonly clustersCopied: number;
  readonly storeBytes: number;
  readonly maxSizeBytes: number | undefined;
  readonly onFull: 'invalidate' | 'refuse';
  readonly digest: string | undefined;
  readonly label: string | undefined;
  /** All that the snapshot needs: its store, the newer ones, the origin. */
  readonly files: readonly string[];
}

export interface ListedImage {
  readonly image: string;
  /** Undefined for an orphan: the image is not there. */
  readonly sizeBytes: number | undefined;
  readonly clusterSizeBytes: number | undefined;
  readonly originModified: boolean;
  readonly snapshots: readonly ListedSnapshot[];
}

/** @throws `not-found` for a missing image, and what the volume throws */
export async function listImage(context: Context, image: string): Promise<ListedImage> {
  const volume = await Volume.open(context, image, 'look');
  try {
    return await volume.shared(async (hold) => {
      const { sizeBytes } = await volume.origin.stat();
      if (hold === undefined) {
        return { image, sizeBytes, clusterSizeBytes: undefined, originModified: false, snapshots: [] };
      }
      const changed = await changedOutside(hold);
      const snapshots: ListedSnapshot[] = [];
      const storePaths = hold.catalog.snapshots.map((record) => hold.sidecar.storePath(record));
      for (const [at, record] of hold.catalog.snapshots.entries()) {
        if (record.hidden) continue;
        const files = () => [...storePaths.slice(at), hold.imagePath];
        snapshots.push(await listSnapshot(hold, record, changed, files));
      }
      const originModified = hold.originChangedOutside || snapshots.some(({ state }) => state === 'modified');
      return { image, sizeBytes, clusterSizeBytes: hold.catalog.clusterSizeBytes, originModified, snapshots };
    });
  } finally {
    await volume.close();
  }
}

async function listSnapshot(
  hold: Hold,
  record: SnapshotRecord,
  changed: ReadonlySet<string>,
  files: () => readonly string[],
): Promise<ListedSnapshot> {
  const trust = trustNow(hold, record, changed);
  const newest = newestRecord(hold.catalog);
  const receives = newest !== undefined && ownerUuid(newest) === record.uuid;
  const state = trust === 'valid' ? (receives ? 'active' : 'idle') : trust;
  const found = trust === 'invalid' ? SHRUNK_REASON : trust === 'modified' ? MODIFIED_REASON : undefined;
  return {
    ...described(hold.catalog, record),
    state,
    reason: record.ending?.reason ?? found,
    clustersCopied: await clustersCopiedOf(hold, record),
    storeBytes: await snapshotBytes(hold, record),
    // Made when asked for: those of thousands of snapshots together would fill the memory.
    get files() {
      return files();
    },
  };
}

function described(
  catalog: Catalog,
  record: SnapshotRecord,
): Omit<ListedSnapshot, 'state' | 'reason' | 'clustersCopied' | 'storeBytes' | 'files'> {
  const { clusterSizeBytes } = catalog;
  return {
    name: record.name,
    created: record.created,
    sizeBytes: record.sizeBytes,
    clusterSizeBytes,
    clusterCount: clusterCount({ sizeBytes: record.sizeBytes, clusterSizeBytes }),
    maxSizeBytes: record.maxSizeBytes,
    onFull: record.onFull,
    digest: record.digest,
    label: record.label,
  };
}

async function clustersCopiedOf(hold: Hold, record: SnapshotRecord): Promise<number> {
  let count = 0;
  for (const each of filesOfSame(hold.catalog, record)) count += await clustersCopied(hold, each);
  return count;
}

/** From the flush record; of a store that cannot be read, what the catalog last knew. */
async function clustersCopied(hold: Hold, record: SnapshotRecord): Promise<number> {
  try {
    const { files } = hold.context.host;
    const place = hold.sidecar.storePlace(record);
    const store = await StoreFile.open(files, place, 'read', storeIdentity(hold.catalog, record));
    try {
      return (await store.readRecords())[0]?.made.count ?? record.sealed?.count ?? 0;
    } finally {
      await store.close();
    }
  } catch (error) {
    if (hasCode(error, 'damage', 'not-found', 'newer-version')) return record.sealed?.count ?? 0;
    throw error;
  }
}

/**
 * Every image of a directory that has a sidecar, and every sidecar whose image is gone; in the order of names. One that
 * cannot be listed does not hide the others: it is handed to `onFailure`.
 */
export async function listDirectory(
  context: Context,
  directory: string,
  onFailure: (error: SnapError) => void,
): Promise<ListedImage[]> {
  const { files } = context.host;
  const listed: ListedImage[] = [];
  for (const name of (await files.list(directory)).sort()) {
    if (!name.endsWith(SIDECAR_SUFFIX) || name === SIDECAR_SUFFIX) continue;
    const image = path.join(directory, name.slice(0, -SIDECAR_SUFFIX.length));
    const stat = await files.stat(image);
    // A directory of that name that never was a sidecar is none of ours.
    const names =
      (await files.stat(path.join(directory, name)))?.kind === 'directory'
        ? await files.list(path.join(directory, name))
        : [];
    if (!names.some((each) => each === 'catalog.json' || each.endsWith(STORE_SUFFIX))) continue;
    try {
      listed.push(stat === undefined ? await listOrphan(context, image) : await listImage(context, image));
    } catch (error) {
      if (!(error instanceof SnapError) || error.code === 'interrupted') throw error;
      onFailure(error);
    }
  }
  return listed;
}

async function listOrphan(context: Context, image: string): Promise<ListedImage> {
  const { host } = context;
  await loadXxh64();
  const orphan = { image, sizeBytes: undefined, clusterSizeBytes: undefined, originModified: false };
  const directory = await findSidecar(host.files, image);
  if (directory === undefined) return { ...orphan, snapshots: [] };
  const sidecar = await Sidecar.open(host, directory, 'read');
  try {
    const deadlineMs = host.monotonicMs() + context.waitMs;
    await acquire(host, sidecar.stateFile, 'shared', { deadlineMs, signal: context.signal, subject: image });
    const catalog = await sidecar.readCatalog();
    const snapshots: ListedSnapshot[] = [];
    for (const record of catalog.snapshots.filter(({ hidden }) => !hidden)) {
      const place = sidecar.storePlace(record);
      snapshots.push({
        ...described(catalog, record),
        state: 'orphan',
        reason: 'the image is not there',
        clustersCopied: record.sealed?.count ?? 0,
        storeBytes: (await lookAtStore(host.files, place))?.allocatedBytes ?? 0,
        files: [place.path],
      });
    }
    release(sidecar.stateFile);
    return { ...orphan, clusterSizeBytes: catalog.clusterSizeBytes, snapshots };
  } finally {
    await sidecar.close();
  }
}
