/**
 * Taking a snapshot: flush the origin, make an empty store, and say in the catalog that it is the newest from now on.
 * That takes the same short time for any size of image, since nothing of the data is read.
 */
import * as path from 'node:path';
import { quietly, SnapError } from '../base/errors.ts';
import { compactTime, formatTime } from '../base/time.ts';
import { uuidFromRandom } from '../base/uuid.ts';
import {
  type Catalog,
  MAX_SNAPSHOT_COUNT,
  newestRecord,
  type SnapshotRecord,
  STORE_SUFFIX,
} from '../store/catalog.ts';
import { EMPTY_STORE_RECORD } from '../store/flush-record.ts';
import { clusterCount } from '../store/layout.ts';
import { sidecarPath, storeIdentity, UNFINISHED_SUFFIX } from '../store/sidecar.ts';
import { StoreFile } from '../store/store-file.ts';
import { closeState } from './closing.ts';
import { checkClusterSize, chooseClusterSize } from './cluster-size.ts';
import type { Context } from './context.ts';
import { buildFirstSidecar } from './first-sidecar.ts';
import type { Hold } from './hold.ts';
import { closeSidecar, likeImage, remarkOwner } from './like-image.ts';
import type { Reference } from './reference.ts';
import { chooseStorePath, prepareStorePath } from './store-path.ts';
import { Volume } from './volume.ts';

export interface CreateOptions {
  readonly clusterSizeBytes?: number | undefined;
  /** A directory, or a file that does not exist yet. */
  readonly storePath?: string | undefined;
  readonly maxSizeBytes?: number | undefined;
  readonly onFull: 'invalidate' | 'refuse';
  readonly label?: string | undefined;
  /** The creation time to record; the present one where absent. */
  readonly created?: string | undefined;
}

export interface CreatedSnapshot {
  readonly snapshot: string;
  readonly image: string;
  readonly name: string;
  readonly created: string;
  readonly sizeBytes: number;
  readonly clusterSizeBytes: number;
  readonly clusterCount: number;
  readonly storePaths: readonly string[];
}

/** @throws `exists`, `refused`, `no-space`, and what the volume throws */
export async function createSnapshot(
  context: Context,
  reference: Reference,
  options: CreateOptions,
): Promise<CreatedSnapshot> {
  if (options.clusterSizeBytes !== undefined) checkClusterSize(options.clusterSizeBytes);
  const volume = await Volume.open(context, reference.image, 'write');
  try {
    // Most of the flushing without the lock, so that writers do not wait for gigabytes.
    await volume.origin.syncAll();
    return await volume.exclusive(async (hold) => {
      const plan = await planSnapshot(volume, hold?.catalog, reference, options);
      if (hold === undefined) await buildFirstSidecar(volume, plan.catalog, plan.record);
      else await addSnapshot(hold, plan);
      const { catalog, record } = plan;
      return {
        snapshot: `${reference.image}@${record.name}`,
        image: reference.image,
        name: record.name,
        created: record.created,
        sizeBytes: record.sizeBytes,
        clusterSizeBytes: catalog.clusterSizeBytes,
        clusterCount: clusterCount({ ...record, clusterSizeBytes: catalog.clusterSizeBytes }),
        storePaths: [path.resolve(plan.directory, record.storePath)],
      };
    });
  } finally {
    await volume.close();
  }
}

interface Plan {
  /** As it will be, with the new record. */
  readonly catalog: Catalog;
  readonly record: SnapshotRecord;
  readonly directory: string;
}

/** Checks everything that can be refused before anything is made. */
async function planSnapshot(
  volume: Volume,
  present: Catalog | undefined,
  reference: Reference,
  options: CreateOptions,
): Promise<Plan> {
  const { context, image } = volume;
  const { host } = context;
  const { sizeBytes } = await volume.origin.stat();
  const snapshots = present?.snapshots ?? [];
  const clusterSizeBytes = chooseClusterSize(image, {
    sizeBytes,
    wantedBytes: options.clusterSizeBytes,
    presentBytes: snapshots.length > 0 ? present?.clusterSizeBytes : undefined,
  });
  if (options.maxSizeBytes !== undefined && options.maxSizeBytes < clusterSizeBytes) {
    throw new SnapError(
      'refused',
      `${image}: a limit of ${options.maxSizeBytes} bytes holds no cluster of ${clusterSizeBytes}`,
      {
        path: image,
        hint: 'give --max-size room for what will change while the snapshot lives',
      },
    );
  }
  if (snapshots.length >= MAX_SNAPSHOT_COUNT) {
    throw new SnapError('refused', `${image}: has ${MAX_SNAPSHOT_COUNT} snapshots, the most there can be`, {
      path: image,
      hint: 'remove some with snap-gc',
    });
  }
  const created = options.created ?? formatTime(host.now());
  const name = chooseName(image, snapshots, reference.name, created);
  const uuid = uuidFromRandom(host.randomBytes(16));
  const number = present?.nextNumber ?? 1;
  const directory = sidecarPath(volume.imagePath);
  const storeName = `${name}-${uuid.slice(0, 8)}${STORE_SUFFIX}`;
  const storePath = await chooseStorePath(volume, options.storePath, storeName);
  const record: SnapshotRecord = {
    name,
    uuid,
    number,
    created,
    sizeBytes,
    trust: 'valid',
    hidden: false,
    maxSizeBytes: options.maxSizeBytes,
    onFull: options.onFull,
    label: options.label,
    storePath,
  };
  const catalog: Catalog = {
    sidecarUuid: present?.sidecarUuid ?? uuidFromRandom(host.randomBytes(16)),
    generation: present?.generation ?? 1,
    clusterSizeBytes,
    nextNumber: number + 1,
    snapshots: [...snapshots, record],
  };
  return { catalog, record, directory };
}

function chooseName(
  image: string,
  snapshots: readonly SnapshotRecord[],
  wanted: string | undefined,
  created: string,
): string {
  const taken = new Set(snapshots.filter((record) => !record.hidden).map((record) => record.name));
  if (wanted !== undefined) {
    if (!taken.has(wanted)) return wanted;
    throw new SnapError('exists', `${image}@${wanted}: exists already`, {
      path: image,
      hint: 'choose another name, or remove it with snap-gc',
    });
  }
  const base = compactTime(created);
  if (!taken.has(base)) return base;
  for (let count = 2; ; count += 1) {
    if (!taken.has(`${base}-${count}`)) return `${base}-${count}`;
  }
}

async function addSnapshot(hold: Hold, plan: Plan): Promise<void> {
  const { record } = plan;
  const { files } = hold.context.host;
  await hold.ensureOpen();
  // The sync point (fss, snap.c): what the origin holds now is on disk before it is called frozen.
  await hold.origin.syncAll();
  const previous = newestRecord(hold.catalog);
  const active = await hold.active();
  const sealed = active?.flushRecord.made;
  // From now on nobody looks after its bits: they must be on disk.
  if (active !== undefined && hold.state.bitsDirty) await hold.flushBits(active.store);
  const storePath = hold.sidecar.storePath(record);
  await prepareStorePath(files, storePath);
  await closeSidecar(hold);
  await makeStore(hold, plan, storePath);
  try {
    await hold.commit(
      (catalog) => ({
        ...plan.catalog,
        snapshots: [
          ...catalog.snapshots.map((each) => (each.uuid === previous?.uuid ? { ...each, sealed } : each)),
          record,
        ],
      }),
      { figure: { storeUuid: record.uuid, record: EMPTY_STORE_RECORD } },
    );
  } catch (error) {
    await quietly(() => removeUnlessCommitted(hold, record, storePath));
    throw error;
  }
  await closeState(hold);
}

/**
 * An empty store under its name, durably. In the sidecar it is made under a name that says it is unfinished, so that
 * after a crash a store's header is never in doubt; elsewhere nobody would find that one again.
 */
async function makeStore(hold: Hold, plan: Plan, storePath: string): Promise<void> {
  const { files } = hold.context.host;
  const inside = path.dirname(storePath) === hold.sidecar.directory;
  const makePath = inside ? `${storePath}${UNFINISHED_SUFFIX}` : storePath;
  const identity = storeIdentity(plan.catalog, plan.record);
  const store = await StoreFile.create(files, makePath, identity, likeImage(hold.originStat));
  try {
    try {
      await remarkOwner(hold.context, hold.originStat, store);
    } finally {
      await store.close();
    }
    if (inside) await files.rename(makePath, storePath);
    await files.syncDirectory(path.dirname(storePath));
  } catch (error) {
    for (const made of [makePath, storePath]) {
      await quietly(async () => (await files.linkStat(made)) !== undefined && files.remove(made));
    }
    throw error;
  }
}

/** A commit that failed may have taken place all the same: only the catalog on disk knows. */
async function removeUnlessCommitted(hold: Hold, record: SnapshotRecord, storePath: string): Promise<void> {
  const { snapshots } = await hold.sidecar.readCatalog();
  if (!snapshots.some(({ uuid }) => uuid === record.uuid)) await hold.context.host.files.remove(storePath);
}
