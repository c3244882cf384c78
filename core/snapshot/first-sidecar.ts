/**
 * An image's first sidecar: built aside with its first snapshot in it, and renamed into place when it is whole, so
 * that nobody ever sees half of one (invariant 6). The caller holds the image's lock; the new `state` is locked from
 * its first moment. It is built with the mark set, so that whoever finds it after a kill makes its name durable.
 */
import * as path from 'node:path';
import { quietly } from '../base/errors.ts';
import { createLike, directoryAt, giveLike } from '../io/file-like.ts';
import { acquire, release } from '../io/turnstile.ts';
import type { Catalog, SnapshotRecord } from '../store/catalog.ts';
import { clonePlace, makeClone } from '../store/clone-file.ts';
import { EMPTY_STORE_RECORD } from '../store/flush-record.ts';
import { Sidecar, STATE_FILE, sidecarPath, storeIdentity } from '../store/sidecar.ts';
import { encodeState, type Phase, type State, unknownMark } from '../store/state.ts';
import { StoreFile } from '../store/store-file.ts';
import type { Fill } from './add-store.ts';
import { figureIn } from './hold.ts';
import { directoryLikeImage, likeImage, remarkOwner } from './like-image.ts';
import type { Volume } from './volume.ts';

export async function buildFirstSidecar(
  volume: Volume,
  first: {
    readonly catalog: Catalog;
    readonly record: SnapshotRecord;
    readonly candidate: Buffer | undefined;
  },
  fill: Fill | undefined,
): Promise<void> {
  const { catalog, record, candidate } = first;
  const { host } = volume.context;
  const { files } = host;
  const unflushed = await volume.origin.stat();
  // The sync point (fss, snap.c): what the origin holds now is on disk before it is called frozen.
  await volume.origin.syncAll();
  const finalPath = sidecarPath(volume.imagePath);
  const buildPath = `${finalPath}.${host.randomBytes(8).toString('hex')}.tmp`;
  const originStat = await volume.origin.stat();
  const like = likeImage(originStat);
  // Its maker's alone until it is whole.
  await files.makeDirectory(buildPath, 0o700);
  let state: State = {
    sidecarUuid: catalog.sidecarUuid,
    bootId: await host.bootId(),
    phase: 'opening',
    generation: catalog.generation,
    batch: 0,
    repairs: 0,
    originSizeBytes: originStat.sizeBytes,
    originTimeNs: originStat.modifiedNs,
    mark: unknownMark(false),
    bitsDirty: false,
    ...figureIn(record.uuid, EMPTY_STORE_RECORD),
  };
  let sidecar: Sidecar | undefined;
  /** Only what we made is ours to take back. */
  const made: string[] = [];
  try {
    const stateFile = await createLike(files, path.join(buildPath, STATE_FILE), like);
    sidecar = new Sidecar(host, buildPath, stateFile);
    const { signal } = volume.context;
    await acquire(host, stateFile, 'exclusive', { deadlineMs: 0, signal });
    await stateFile.write(encodeState(state), 0);
    await stateFile.syncAll();
    const makePath = path.resolve(buildPath, record.storePath);
    const bitmaps = candidate && { candidate, needed: candidate };
    const store = await StoreFile.create(files, makePath, storeIdentity(catalog, record), like, bitmaps);
    made.push(makePath);
    try {
      await remarkOwner(volume.context, originStat, store);
      if (fill !== undefined) {
        const filled = await fill(store, 1);
        state = { ...state, batch: filled.made.batch, ...figureIn(record.uuid, filled) };
      }
    } finally {
      await store.close();
    }
    if (record.isClone) {
      const clone = clonePlace({ path: makePath, followed: false }).path;
      const identity = storeIdentity(catalog, record);
      await makeClone(files, volume.origin, { path: clone, identity, like });
      made.push(clone);
    }
    await files.syncDirectory(path.dirname(makePath));
    await sidecar.replaceCatalog(catalog);
    await giveLike(directoryAt(files, buildPath), directoryLikeImage(originStat));
    await files.syncDirectory(buildPath);
    await files.rename(buildPath, finalPath);
  } catch (error) {
    await quietly(async () => sidecar?.close());
    await removeBuild(volume, buildPath, made);
    throw error;
  }
  const quiet =
    unflushed.modifiedNs === originStat.modifiedNs && unflushed.sizeBytes === originStat.sizeBytes;
  await finish(volume, sidecar, state, quiet ? 'closed' : 'opening');
}

/** Makes the new name durable, and clears the mark. */
async function finish(volume: Volume, sidecar: Sidecar, state: State, phase: Phase): Promise<void> {
  try {
    await volume.context.host.files.syncDirectory(path.dirname(volume.imagePath));
    await sidecar.writeState({ ...state, phase, mark: undefined });
    try {
      await sidecar.flushState();
    } catch (error) {
      // Whatever a failed flush brings back, the next one is to look after everything.
      await sidecar.writeState(state);
      throw error;
    }
    release(sidecar.stateFile);
  } finally {
    await sidecar.close();
  }
}

/** Takes back what a failed creation made, and nothing else. */
async function removeBuild(volume: Volume, buildPath: string, made: readonly string[]): Promise<void> {
  const { files } = volume.context.host;
  await quietly(async () => {
    for (const name of await files.list(buildPath)) await files.remove(path.join(buildPath, name));
    await files.removeDirectory(buildPath);
  });
  for (const filePath of made.filter((each) => path.dirname(each) !== buildPath)) {
    await quietly(async () => (await files.stat(filePath)) !== undefined && files.remove(filePath));
  }
}
