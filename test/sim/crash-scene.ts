/** A small image, all of it on disk, and what happens to it: what the directed crash tests have in common. */
import assert from 'node:assert/strict';
import { createSnapshot } from '../../core/snapshot/create.ts';
import { writeImage } from '../../core/snapshot/write.ts';
import { testContext } from '../support/context.ts';
import { sourceOf } from '../support/image.ts';
import { checkAfterCrash, IMAGE, SPILL_DIRECTORY } from './crash-check.ts';
import type { Random } from './crash-content.ts';
import { Expectation, newSnapshot } from './crash-expectation.ts';
import { failFlush } from './crash-faults.ts';
import { CLUSTER_BYTES } from './crash-steps.ts';
import { CORNERS, CrashVolume } from './crash-volume.ts';
import { MemoryFileSystem } from './memory-file-system.ts';
import { MemoryHost, mulberry32 } from './memory-host.ts';
import { locate } from './name-tree.ts';
import type { Operation } from './session.ts';
import { KilledError } from './system-error.ts';

export interface CrashScene {
  readonly volume: CrashVolume;
  readonly host: MemoryHost;
  readonly expected: Expectation;
}

/** An image of three clusters, without a snapshot yet. */
export async function plainScene(): Promise<CrashScene> {
  const volume = new CrashVolume();
  const host = new MemoryHost(1, new MemoryFileSystem(volume));
  const image = Buffer.alloc(3 * CLUSTER_BYTES, 1);
  for (const path of ['/vm', SPILL_DIRECTORY]) await host.files.makeDirectory(path, 0o755);
  const file = await host.files.open(IMAGE, 'create', 0o644);
  await file.write(image, 0);
  await file.syncAll();
  await file.close();
  for (const path of ['/vm', '/']) await host.files.syncDirectory(path);
  return { volume, host, expected: new Expectation(image) };
}

/** The same with one snapshot, `a`. */
export async function frozenScene(): Promise<CrashScene> {
  const scene = await plainScene();
  await freeze(scene.host, 'a');
  scene.expected.snapshots.set('a', { ...newSnapshot(scene.expected.image), certain: true });
  return scene;
}

export async function freeze(host: MemoryHost, name: string): Promise<void> {
  const options = { clusterSizeBytes: CLUSTER_BYTES, onFull: 'refuse' } as const;
  await createSnapshot(testContext(host), { image: IMAGE, name }, options);
}

/** Overwrites one cluster; throws what the command fails with. */
export async function overwrite(
  host: MemoryHost,
  clusterIndex: number,
  fill: number,
  sync: boolean,
): Promise<void> {
  const options = { offsetBytes: clusterIndex * CLUSTER_BYTES, extend: false, delta: false, sync };
  const data = Buffer.alloc(CLUSTER_BYTES, fill);
  const { failure } = await writeImage(testContext(host), IMAGE, options, sourceOf(data));
  if (failure !== undefined) throw failure;
}

/** From now on that cluster may hold anything after a power loss. */
export function touch(expected: Expectation, clusterIndex: number): void {
  expected.touch({ startBytes: clusterIndex * CLUSTER_BYTES, endBytes: (clusterIndex + 1) * CLUSTER_BYTES });
}

/** The power is lost, many times over from this one moment: the extreme states, and `count` by chance. */
export async function losePower(volume: CrashVolume, expected: Expectation, count: number): Promise<void> {
  for (let seed = 0; seed < CORNERS.length + count; seed += 1) {
    const lost = volume.afterCrash(mulberry32(seed), CORNERS[seed]);
    const check = checkAfterCrash(new MemoryHost(seed + 2, new MemoryFileSystem(lost)), expected);
    await assert.doesNotReject(check, `state ${seed}`);
  }
}

/** The flush that is about to be done fails, and each sector fares as `random` says: see `CrashContent`. */
export function failFile(volume: CrashVolume, path: string, random: Random): never {
  const { inode } = locate(volume.root, path, 'follow');
  assert.ok(inode?.kind === 'file');
  return failFlush(volume, { kind: 'syncData', path, inode }, random);
}

/** Kills the process at the `count`-th operation that `matches`, instead of that. */
export function killAt(
  host: MemoryHost,
  count: number,
  matches: (operation: Operation) => boolean,
): MemoryHost {
  let left = count;
  const session = host.session((operation) => {
    if (!matches(operation)) return;
    left -= 1;
    if (left > 0) return;
    session.kill();
    throw new KilledError();
  });
  return session;
}
