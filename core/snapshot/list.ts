/** What snapshots there are and what they take: from the catalog and the stores' headers, without touching data. */
import * as path from 'node:path';
import { SnapError } from '../base/errors.ts';
import { acquire, release } from '../io/turnstile.ts';
import {
  type Catalog,
  type Ending,
  newestRecord,
  ownerUuid,
  type SnapshotRecord,
  STORE_SUFFIX,
} from '../store/catalog.ts';
import { filePathsOf } from '../store/clone-file.ts';
import { clusterCount } from '../store/layout.ts';
import { findSidecar, SIDECAR_SUFFIX, Sidecar } from '../store/sidecar.ts';
import type { Context } from './context.ts';
import { changedOutside, reasonNow, trustNow } from './outside-change.ts';
import { added, limitUsedBytes, type StoreStatistics, storeStatistics } from './statistics.ts';
import { Volume } from './volume.ts';

export type ListedState = 'active' | 'idle' | 'modified' | 'invalid' | 'orphan';

export interface ListedSnapshot extends Omit<StoreStatistics, 'countedBytes'> {
  readonly name: string;
  readonly created: string;
  readonly state: ListedState;
  /** Why it is not to be trusted, with the cluster and the time. */
  readonly reason: string | undefined;
  /** The same for programs; undefined also where nobody has recorded it yet. */
  readonly ending: Ending | undefined;
  readonly sizeBytes: number;
  readonly clusterSizeBytes: number;
  /** Whether some clusters are not kept: the tables are larger by which. */
  readonly hasCandidates: boolean | undefined;
  readonly clusterCount: number;
  readonly maxSizeBytes: number | undefined;
  /** What counts against the limit; undefined without one, and of one that has ended. */
  readonly limitUsedBytes: number | undefined;
  readonly onFull: 'invalidate' | 'refuse';
  /** It ends with the boot that it was taken in. */
  readonly transient: boolean;
  /** It has all of its content in a file that shares blocks with the image. */
  readonly clone: boolean;
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
      const { catalog, sidecar } = hold;
      const changed = await changedOutside(hold);
      const storePaths = catalog.snapshots.map((record) => filePathsOf(sidecar, record));
      const snapshots = await listCatalog(context, sidecar, catalog, (record, at) => {
        const trust = trustNow(hold, record, changed);
        const newest = newestRecord(catalog);
        const receives = newest !== undefined && ownerUuid(newest) === record.uuid;
        return {
          state: trust === 'valid' ? (receives ? 'active' : 'idle') : trust,
          reason: reasonNow(hold, record, trust),
          files: () => [...storePaths.slice(at).flat(), hold.imagePath],
        };
      });
      const originModified = hold.originChangedOutside || snapshots.some(({ state }) => state === 'modified');
      return { image, sizeBytes, clusterSizeBytes: catalog.clusterSizeBytes, originModified, snapshots };
    });
  } finally {
    await volume.close();
  }
}

/** What is known of a snapshot beside its record and its store. */
interface Judgement {
  readonly state: ListedState;
  readonly reason: string | undefined;
  readonly files: () => readonly string[];
}

/** Those that have a name; hidden ones count for what they take on an older one's account. */
async function listCatalog(
  context: Context,
  sidecar: Sidecar,
  catalog: Catalog,
  judge: (record: SnapshotRecord, at: number) => Judgement,
): Promise<ListedSnapshot[]> {
  const { snapshots, clusterSizeBytes } = catalog;
  const statistics: StoreStatistics[] = [];
  /** Of all files of a snapshot, by its UUID. */
  const ofFiles = new Map<string, StoreStatistics>();
  for (const record of snapshots) {
    const found = await storeStatistics(context.host.files, sidecar, catalog, record);
    statistics.push(found);
    const files = ofFiles.get(ownerUuid(record));
    ofFiles.set(ownerUuid(record), files === undefined ? found : added(files, found));
  }
  return snapshots.flatMap((record, at) => {
    const found = ofFiles.get(record.uuid);
    if (record.hidden || found === undefined) return [];
    const { countedBytes: _, ...ofStore } = found;
    const { state, reason, files } = judge(record, at);
    const { name, created, sizeBytes, maxSizeBytes, onFull, digest, label, ending } = record;
    return {
      ...ofStore,
      ...{ name, created, sizeBytes, maxSizeBytes, onFull, digest, label, ending, state, reason },
      transient: record.transient !== undefined,
      clone: record.isClone ?? false,
      clusterSizeBytes,
      hasCandidates: record.hasCandidates,
      clusterCount: clusterCount({ sizeBytes, clusterSizeBytes }),
      limitUsedBytes: limitUsedBytes(snapshots, at, statistics),
      // Made when asked for: those of thousands of snapshots together would fill the memory.
      get files() {
        return files();
      },
    };
  });
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
  const orphan = { image, sizeBytes: undefined, clusterSizeBytes: undefined, originModified: false };
  const directory = await findSidecar(host.files, image);
  if (directory === undefined) return { ...orphan, snapshots: [] };
  const sidecar = await Sidecar.open(host, directory, 'read');
  try {
    const deadlineMs = host.monotonicMs() + context.waitMs;
    await acquire(host, sidecar.stateFile, 'shared', { deadlineMs, signal: context.signal, subject: image });
    const catalog = await sidecar.readCatalog();
    const snapshots = await listCatalog(context, sidecar, catalog, (record) => ({
      state: 'orphan',
      reason: 'the image is not there',
      files: () => [sidecar.storePath(record)],
    }));
    release(sidecar.stateFile);
    return { ...orphan, clusterSizeBytes: catalog.clusterSizeBytes, snapshots };
  } finally {
    await sidecar.close();
  }
}
