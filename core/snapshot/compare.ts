/**
 * What `snap-verify` does instead of verifying: digests of snapshots, and how they differ from the origin as it is now.
 */
import { hasCode, SnapError } from '../base/errors.ts';
import { hex64, Xxh64Digest } from '../base/xxh64.ts';
import type { Context } from './context.ts';
import { digestSnapshot, openSnapshot, withReader } from './read.ts';
import { chooseTargets, type Target } from './verify.ts';
import { Volume } from './volume.ts';

export interface SnapshotDigest {
  readonly name: string;
  /** 16 hex digits; undefined where it could not be read, and `failure` says why. */
  readonly digest: string | undefined;
  readonly recordedDigest: string | undefined;
  readonly failure: SnapError | undefined;
}

/** Digests of the named snapshots, or of all, oldest first, each handed over as soon as it is known. */
export async function digestSnapshots(
  context: Context,
  image: string,
  names: readonly string[],
  onDigest: (result: SnapshotDigest) => void,
): Promise<SnapshotDigest[]> {
  const volume = await Volume.open(context, image, 'look');
  const results: SnapshotDigest[] = [];
  try {
    for (const target of await chooseTargets(volume, names)) {
      const result = await digestTarget(volume, target);
      onDigest(result);
      results.push(result);
    }
    return results;
  } finally {
    await volume.close();
  }
}

async function digestTarget(volume: Volume, { record, trust }: Target): Promise<SnapshotDigest> {
  const about = { name: record.name, recordedDigest: record.digest };
  if (trust !== 'valid') {
    const snapshot = `${volume.image}@${record.name}`;
    const failure = new SnapError(trust, `${snapshot}: is ${trust}, so its digest would say nothing`, {
      path: volume.image,
      snapshot,
    });
    return { ...about, digest: undefined, failure };
  }
  const digest = new Xxh64Digest();
  try {
    await digestSnapshot(volume, record.name, digest);
    return { ...about, digest: hex64(digest.value()), failure: undefined };
  } catch (error) {
    if (!hasCode(error, 'damage', 'invalid', 'modified', 'not-found')) throw error;
    return { ...about, digest: undefined, failure: error };
  }
}

export interface OriginDifference {
  readonly name: string;
  /** Why it could not be compared. */
  readonly failure: SnapError | undefined;
  readonly clustersChanged: number;
  readonly bytesChanged: number;
}

/** How the origin's present state differs from each snapshot; those that cannot be read say why. */
export async function compareWithOrigin(
  context: Context,
  image: string,
  names: readonly string[],
): Promise<OriginDifference[]> {
  const volume = await Volume.open(context, image, 'look');
  const differences: OriginDifference[] = [];
  try {
    for (const { record } of await chooseTargets(volume, names)) {
      try {
        differences.push(await compareOne(volume, record.name));
      } catch (failure) {
        if (!hasCode(failure, 'damage', 'invalid', 'modified', 'not-found')) throw failure;
        differences.push({ name: record.name, failure, clustersChanged: 0, bytesChanged: 0 });
      }
    }
    return differences;
  } finally {
    await volume.close();
  }
}

async function compareOne(volume: Volume, name: string): Promise<OriginDifference> {
  const options = { allowModifiedOrigin: false };
  const open = await openSnapshot(volume, name, options);
  const { reader } = open;
  const { sizeBytes } = reader.record;
  const size = reader.clusterSizeBytes;
  const buffer = Buffer.allocUnsafeSlow(reader.bufferBytes);
  const present = Buffer.allocUnsafeSlow(reader.bufferBytes);
  let clustersChanged = 0;
  let bytesChanged = 0;
  for (let atBytes = 0; atBytes < sizeBytes; ) {
    if (volume.context.signal.aborted) throw new SnapError('interrupted', 'interrupted');
    const run = await withReader(volume, open, sizeBytes, options, (read) => read(atBytes, buffer));
    reader.check(run);
    // A hole is the origin's own, and so the same; what is no candidate was not kept, and says nothing.
    const data = run.data ?? Buffer.alloc(0);
    const now = present.subarray(0, data.length);
    const got = await volume.origin.read(now, atBytes);
    now.fill(0, got);
    for (const { firstCluster, count } of run.noCandidates ?? []) {
      const fromBytes = Math.max(0, firstCluster * size - atBytes);
      now.subarray(fromBytes, Math.max(0, (firstCluster + count) * size - atBytes)).fill(0);
    }
    for (let start = 0; start < data.length; start += size) {
      const changed = countDifferent(data.subarray(start, start + size), now.subarray(start, start + size));
      if (changed > 0) clustersChanged += 1;
      bytesChanged += changed;
    }
    atBytes += run.lengthBytes;
    volume.context.progress(atBytes, sizeBytes);
  }
  const grownBytes = Math.max(0, (await volume.origin.stat()).sizeBytes - sizeBytes);
  return {
    name,
    failure: undefined,
    clustersChanged: clustersChanged + Math.ceil(grownBytes / size),
    bytesChanged: bytesChanged + grownBytes,
  };
}

function countDifferent(a: Buffer, b: Buffer): number {
  if (a.equals(b)) return 0;
  let count = 0;
  for (let index = 0; index < a.length; index += 1) if (a[index] !== b[index]) count += 1;
  return count;
}
