/**
 * Taking a snapshot: flush the origin, make an empty store, and say in the catalog that it is the newest from now on.
 * That takes the same short time for any size of image, since nothing of the data is read.
 */
import * as path from 'node:path';
import { countBits } from '../base/bitmap.ts';
import { SnapError } from '../base/errors.ts';
import { compactTime, formatTime } from '../base/time.ts';
import { uuidFromRandom, uuidText } from '../base/uuid.ts';
import type { Selection } from '../contents/selection.ts';
import { closeAll } from '../io/close-all.ts';
import type { RandomAccessFile } from '../io/file-system.ts';
import { type Catalog, flushKeptBy, type SnapshotRecord, STORE_SUFFIX } from '../store/catalog.ts';
import { clonePlace } from '../store/clone-file.ts';
import { clusterCount, type Geometry } from '../store/layout.ts';
import { sidecarPath } from '../store/sidecar.ts';
import { addStore, checkCount, type Fill } from './add-store.ts';
import { closeState } from './closing.ts';
import { checkClusterSize, chooseClusterSize } from './cluster-size.ts';
import type { Context } from './context.ts';
import { checkFirst, DmStore, fillFrom } from './dm-import.ts';
import { buildFirstSidecar } from './first-sidecar.ts';
import type { Hold } from './hold.ts';
import { closeSidecar } from './like-image.ts';
import { checkLimit } from './limits.ts';
import type { Reference } from './reference.ts';
import { planSpill, type SpillOptions } from './spill.ts';
import { chooseStorePath } from './store-path.ts';
import { Volume } from './volume.ts';

export interface CreateOptions extends SpillOptions {
  readonly clusterSizeBytes?: number | undefined;
  /** A directory, or a file that does not exist yet. */
  readonly storePath?: string | undefined;
  readonly maxSizeBytes?: number | undefined;
  readonly onFull: 'invalidate' | 'refuse';
  /** It ends with this boot, and costs no flush. */
  readonly transient?: boolean;
  /** The file system makes a copy that shares its blocks with the image; nothing is copied for it. */
  readonly clone?: boolean;
  readonly label?: string | undefined;
  /** The creation time to record; the present one where absent. */
  readonly created?: string | undefined;
  /** Which clusters to keep; all where absent. It is asked at the sync point, and must be quick. */
  readonly candidates?: CandidateSource | undefined;
  /** An exception store of dm-snapshot that the snapshot is made from; only where the image has none. */
  readonly importDmPath?: string | undefined;
}

/** Looks at an image that nobody writes to. It may refuse, by throwing; then there is no snapshot. */
export type CandidateSource = (image: RandomAccessFile, geometry: Geometry) => Promise<Selection>;

export interface CreatedSnapshot {
  readonly snapshot: string;
  readonly image: string;
  readonly name: string;
  readonly created: string;
  readonly sizeBytes: number;
  readonly clusterSizeBytes: number;
  readonly clusterCount: number;
  /** How many clusters are candidates; undefined where all are. */
  readonly candidateCount: number | undefined;
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
  let source: DmStore | undefined;
  try {
    if (options.importDmPath !== undefined)
      source = await DmStore.open(context.host.files, options.importDmPath);
    // Most of the flushing without the lock, so that writers do not wait for gigabytes.
    await volume.origin.syncAll();
    return await volume.exclusive(async (hold) => {
      const plan = await planSnapshot(volume, hold?.catalog, reference, { ...options, source });
      const fill = source && (await fillFrom(source, volume, plan));
      if (hold === undefined) await buildFirstSidecar(volume, plan, fill);
      else await addSnapshot(hold, plan, fill);
      warnFlushesKept(context, plan);
      const { catalog, record } = plan;
      return {
        snapshot: `${reference.image}@${record.name}`,
        image: reference.image,
        name: record.name,
        created: record.created,
        sizeBytes: record.sizeBytes,
        clusterSizeBytes: catalog.clusterSizeBytes,
        clusterCount: clusterCount({ ...record, clusterSizeBytes: catalog.clusterSizeBytes }),
        candidateCount: plan.candidate && countBits(plan.candidate),
        storePaths: [path.resolve(plan.directory, record.storePath), ...(record.spill?.paths ?? [])],
      };
    });
  } finally {
    await closeAll([volume, source]);
  }
}

/** A transient snapshot costs flushes all the same while somebody who outlives the boot reads through its store. */
function warnFlushesKept({ warn }: Context, { catalog, record }: Plan): void {
  const message = record.transient && flushKeptBy(catalog, record.name);
  if (message !== undefined) warn({ message });
}

interface Plan {
  /** As it will be, with the new record. */
  readonly catalog: Catalog;
  readonly record: SnapshotRecord;
  readonly directory: string;
  /** A bit a cluster; undefined where all are candidates. */
  readonly candidate: Buffer | undefined;
}

/** Checks everything that can be refused before anything is made. */
async function planSnapshot(
  volume: Volume,
  present: Catalog | undefined,
  reference: Reference,
  options: CreateOptions & { readonly source: DmStore | undefined },
): Promise<Plan> {
  const { context, image } = volume;
  const { host } = context;
  const { sizeBytes } = await volume.origin.stat();
  const snapshots = present?.snapshots ?? [];
  const clusterSizeBytes = chooseClusterSize(image, {
    sizeBytes,
    wantedBytes: options.clusterSizeBytes,
    presentBytes: snapshots.length > 0 ? present?.clusterSizeBytes : undefined,
    chunkSizeBytes: options.source?.chunkSizeBytes,
  });
  checkLimit(image, options.maxSizeBytes, clusterSizeBytes);
  if (options.source !== undefined) checkFirst(image, snapshots);
  checkCount(image, snapshots);
  const created = options.created ?? formatTime(host.now());
  const name = chooseName(image, snapshots, reference.name, created);
  const uuid = uuidFromRandom(host.randomBytes(16));
  const number = present?.nextNumber ?? 1;
  const directory = sidecarPath(volume.imagePath);
  const storeName = `${name}-${uuid.slice(0, 8)}${STORE_SUFFIX}`;
  const storePath = await chooseStorePath(volume, options.storePath, storeName, snapshots);
  if (options.clone && path.isAbsolute(storePath)) {
    const clone = clonePlace({ path: storePath, followed: true }).path;
    await chooseStorePath(volume, clone, path.basename(clone), snapshots);
  }
  const candidate = await chooseCandidates(volume, { sizeBytes, clusterSizeBytes }, options.candidates);
  const planned = { name, uuid, sizeBytes, clusterSizeBytes, storePath, hasCandidates: candidate && true };
  const spill = await planSpill(volume, options, planned, snapshots);
  const record: SnapshotRecord = {
    name,
    uuid,
    number,
    created,
    sizeBytes,
    hasCandidates: candidate && true,
    trust: 'valid',
    hidden: false,
    maxSizeBytes: options.maxSizeBytes,
    onFull: options.onFull,
    transient: options.transient ? uuidText(await host.bootId()) : undefined,
    label: options.label,
    storePath,
    isClone: options.clone || undefined,
    spill,
  };
  const catalog: Catalog = {
    sidecarUuid: present?.sidecarUuid ?? uuidFromRandom(host.randomBytes(16)),
    generation: present?.generation ?? 1,
    clusterSizeBytes,
    nextNumber: number + 1,
    snapshots: [...snapshots, record],
    leftovers: present?.leftovers,
  };
  return { catalog, record, directory, candidate };
}

/** The origin is as it will be frozen: the lock is held, and a flush changes nothing of what is read. */
async function chooseCandidates(
  volume: Volume,
  geometry: Geometry,
  source: CandidateSource | undefined,
): Promise<Buffer | undefined> {
  if (source === undefined) return undefined;
  const { candidates, doubts } = await source(volume.origin, geometry);
  for (const message of doubts) volume.context.warn({ message: `${volume.image}: ${message}` });
  return candidates;
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

async function addSnapshot(
  hold: Hold,
  { catalog, record, candidate }: Plan,
  fill: Fill | undefined,
): Promise<void> {
  await hold.ensureOpen();
  // The sync point (fss, snap.c): what the origin holds now is on disk before it is called frozen.
  await hold.origin.syncAll();
  await closeSidecar(hold);
  const withRecord = ({ snapshots }: Catalog): Catalog => ({ ...catalog, snapshots: [...snapshots, record] });
  await addStore(hold, record, withRecord, candidate, fill);
  await closeState(hold);
}
