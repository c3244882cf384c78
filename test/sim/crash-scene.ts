/** A small image with one snapshot, all of it on disk: where the directed crash tests begin. */
import { createSnapshot } from '../../core/snapshot/create.ts';
import { type WriteResult, writeImage } from '../../core/snapshot/write.ts';
import { testContext } from '../support/context.ts';
import { IMAGE } from './crash-check.ts';
import { Expectation } from './crash-expectation.ts';
import { CrashVolume } from './crash-volume.ts';
import { MemoryFileSystem } from './memory-file-system.ts';
import { MemoryHost } from './memory-host.ts';

const CLUSTER_BYTES = 4096;

export interface CrashScene {
  readonly volume: CrashVolume;
  readonly host: MemoryHost;
  /** Knows the image and its one snapshot, `a`. */
  readonly expected: Expectation;
}

export async function frozenScene(): Promise<CrashScene> {
  const volume = new CrashVolume();
  const host = new MemoryHost(1, new MemoryFileSystem(volume));
  const image = Buffer.alloc(3 * CLUSTER_BYTES, 1);
  await host.files.makeDirectory('/vm', 0o755);
  const file = await host.files.open(IMAGE, 'create', 0o644);
  await file.write(image, 0);
  await file.syncAll();
  await file.close();
  for (const path of ['/vm', '/']) await host.files.syncDirectory(path);
  const options = { clusterSizeBytes: CLUSTER_BYTES, onFull: 'refuse' } as const;
  await createSnapshot(testContext(host), { image: IMAGE, name: 'a' }, options);
  const expected = new Expectation(image);
  expected.snapshots.set('a', { bytes: image, certain: true });
  return { volume, host, expected };
}

/** Overwrites the first cluster. */
export function overwriteFirst(host: MemoryHost, fill: number, sync: boolean): Promise<WriteResult> {
  let leftBytes = CLUSTER_BYTES;
  const read = async (target: Buffer) => {
    const got = Math.min(leftBytes, target.length);
    target.fill(fill, 0, got);
    leftBytes -= got;
    return got;
  };
  const options = { offsetBytes: 0, extend: false, delta: false, sync };
  return writeImage(testContext(host), IMAGE, options, { read });
}

/** From now on the first cluster may hold anything after a power loss. */
export function touchFirst(expected: Expectation): void {
  expected.touch({ startBytes: 0, endBytes: CLUSTER_BYTES });
}
