/**
 * Candidates (fssnap): a snapshot may be told which clusters are worth keeping. Any other is not copied for it and reads
 * as zeros in it. Two bitmaps say so, written once with the snapshot's store: its candidates, and what the store must
 * receive, since older snapshots read through it and may have more.
 */
import { bitmapBytes, fillBits, getBit } from '../base/bitmap.ts';
import { hasCode } from '../base/errors.ts';
import { filesOfSame, findByUuid, isAlive, newestRecord, type SnapshotRecord } from '../store/catalog.ts';
import { clusterCount } from '../store/layout.ts';
import type { CandidateBitmaps } from '../store/store-file.ts';
import type { Hold } from './hold.ts';

/** Bits that one read of a bitmap fetches at most. */
const WINDOW_CLUSTERS = 32768;

/** Of `clusters`, ascending, those below `count` whose bit is set in a bitmap that `read` gives windows of. */
export async function whereSet(
  clusters: readonly number[],
  count: number,
  read: (window: Buffer, firstByte: number) => Promise<void>,
): Promise<number[]> {
  const found: number[] = [];
  for (let at = 0; at < clusters.length; ) {
    const first = (clusters[at] ?? 0) & ~7;
    let end = at;
    while (end < clusters.length && (clusters[end] ?? 0) < Math.min(count, first + WINDOW_CLUSTERS)) end += 1;
    if (end === at) break;
    const last = clusters[end - 1] ?? first;
    const window = Buffer.alloc(((last - first) >>> 3) + 1);
    await read(window, first >>> 3);
    found.push(...clusters.slice(at, end).filter((clusterIndex) => getBit(window, clusterIndex - first)));
    at = end;
  }
  return found;
}

/** A window of the candidates of a snapshot. @throws what says that its store cannot be believed */
export async function readCandidates(
  hold: Hold,
  record: SnapshotRecord,
  target: Buffer,
  firstByte: number,
): Promise<void> {
  if (record.hasCandidates) {
    await hold.stores.readCandidates(hold.catalog, record, 'candidate', { target, firstByte });
  } else {
    target.fill(0xff);
  }
}

/** A window of either bitmap, for who may copy or keep too much but not too little: all, where it cannot be believed. */
export async function readOrAll(
  hold: Hold,
  record: SnapshotRecord,
  kind: keyof CandidateBitmaps,
  window: { readonly target: Buffer; readonly firstByte: number },
): Promise<void> {
  const owner = firstFile(hold, record);
  window.target.fill(0xff);
  if (!owner.hasCandidates) return;
  try {
    await hold.stores.readCandidates(hold.catalog, owner, kind, window);
  } catch (error) {
    if (!hasCode(error, 'damage', 'not-found', 'newer-version')) throw error;
    window.target.fill(0xff);
  }
}

/** Of `clusters`, ascending and below the snapshot's end, those that are candidates, or that its store needs. */
export async function chosenOf(
  hold: Hold,
  record: SnapshotRecord,
  kind: keyof CandidateBitmaps,
  clusters: readonly number[],
): Promise<readonly number[]> {
  if (!firstFile(hold, record).hasCandidates) return clusters;
  const count = clusterCount({ ...record, clusterSizeBytes: hold.catalog.clusterSizeBytes });
  return whereSet(clusters, count, (target, firstByte) =>
    readOrAll(hold, record, kind, { target, firstByte }),
  );
}

/**
 * What the store of a new snapshot is to receive: its candidates, and what the store that is sealed for it was to receive,
 * and has in none of its snapshot's files.
 */
export async function neededBitmap(hold: Hold, candidate: Buffer): Promise<Buffer> {
  const { catalog } = hold;
  const needed = Buffer.from(candidate);
  const sealed = newestRecord(catalog);
  if (sealed === undefined || !catalog.snapshots.some(isAlive)) return needed;
  const count = clusterCount({ ...sealed, clusterSizeBytes: catalog.clusterSizeBytes });
  const before = Buffer.alloc(bitmapBytes(count));
  await readOrAll(hold, sealed, 'needed', { target: before, firstByte: 0 });
  fillBits(before, count, before.length * 8, false);
  const there = Buffer.alloc(before.length);
  for (const record of filesOfSame(catalog, sealed)) {
    await hold.readBits(record, there, 0);
    for (let at = 0; at < before.length; at += 1) before[at] = (before[at] ?? 0) & ~(there[at] ?? 0);
  }
  for (let at = 0; at < Math.min(needed.length, before.length); at += 1) {
    needed[at] = (needed[at] ?? 0) | (before[at] ?? 0);
  }
  return needed;
}

/** The first file of a snapshot, which has the bitmaps for its parts too. */
function firstFile(hold: Hold, record: SnapshotRecord): SnapshotRecord {
  const { part } = record;
  return (part && findByUuid(hold.catalog, part.ofUuid)) ?? record;
}
