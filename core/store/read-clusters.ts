/**
 * Reading copied clusters out of a store: entries that prove themselves, and slots in as few calls as they allow. The
 * hashes are handed back as checks, to be done where no lock is held.
 */
import { xxh64 } from '../base/xxh64.ts';
import type { Run } from './append.ts';
import type { Entry } from './entry.ts';
import { clusterLengthBytes, ENTRY } from './layout.ts';
import type { StoreFile } from './store-file.ts';

/** Bytes that were read, and the hash that says whether they are what was copied. */
export interface Check {
  readonly clusterIndex: number;
  readonly hash: bigint;
  readonly content: Buffer;
  readonly storePath: string;
}

/** Thrown for a cluster that cannot be what was copied; the caller knows whose it is and says so. */
export class ClusterDamage extends Error {
  readonly clusterIndex: number;
  readonly storePath: string;

  constructor(clusterIndex: number, storePath: string, what: string) {
    super(what);
    this.clusterIndex = clusterIndex;
    this.storePath = storePath;
  }
}

/** The entries of adjacent clusters that have one. @throws ClusterDamage */
export async function readEntries(store: StoreFile, run: Run): Promise<Entry[]> {
  const table = Buffer.allocUnsafe(run.count * ENTRY.sizeBytes);
  await store.readTable(table, run.firstCluster);
  return Array.from({ length: run.count }, (_, index) => {
    const clusterIndex = run.firstCluster + index;
    const entry = store.entries.decode(table, index * ENTRY.sizeBytes, clusterIndex);
    if (entry === undefined)
      throw new ClusterDamage(clusterIndex, store.path, 'its entry does not prove itself');
    return entry;
  });
}

/** Splits slots into runs that follow one another on disk: of `slots[i]` for the i-th cluster, -1 having none. */
export function* slotRuns(
  slots: readonly number[],
): Generator<{ readonly at: number; readonly count: number; readonly slotIndex: number }> {
  for (let start = 0; start < slots.length; ) {
    const slotIndex = slots[start] ?? -1;
    let end = start + 1;
    while (end < slots.length && slots[end] === (slotIndex < 0 ? -1 : slotIndex + end - start)) end += 1;
    yield { at: start, count: end - start, slotIndex };
    start = end;
  }
}

/**
 * Fills `target` with adjacent clusters, one every `clusterSizeBytes`.
 * @returns what must hold before any of it is believed
 * @throws ClusterDamage
 */
export async function readClusters(store: StoreFile, run: Run, target: Buffer): Promise<Check[]> {
  return readContent(store, run, await readEntries(store, run), target);
}

/** As `readClusters`, for `entries` that have proven themselves: one for each cluster of `run`. */
export async function readContent(
  store: StoreFile,
  run: Run,
  entries: readonly Entry[],
  target: Buffer,
): Promise<Check[]> {
  const size = store.identity.clusterSizeBytes;
  const checks: Check[] = [];
  for (const { at, count, slotIndex } of slotRuns(entries.map((entry) => entry.slotIndex))) {
    const last = at + count - 1;
    const endBytes = last * size + clusterLengthBytes(store.identity, run.firstCluster + last);
    const content = target.subarray(at * size, endBytes);
    // A zero cluster is checked too: a flag may be damaged as anything else.
    if (slotIndex < 0) content.fill(0);
    const got = slotIndex < 0 ? content.length : await store.readSlots(content, slotIndex);
    for (let index = at; index <= last; index += 1) {
      const clusterIndex = run.firstCluster + index;
      const end = index * size + clusterLengthBytes(store.identity, clusterIndex);
      if (end - at * size > got)
        throw new ClusterDamage(clusterIndex, store.path, 'its slot is past the end of the file');
      const hash = entries[index]?.hash ?? 0n;
      checks.push({ clusterIndex, hash, content: target.subarray(index * size, end), storePath: store.path });
    }
  }
  return checks;
}

/** @throws ClusterDamage naming the first cluster that is not what was copied */
export function verifyChecks(checks: readonly Check[]): void {
  for (const { clusterIndex, hash, content, storePath } of checks) {
    if (xxh64(content) !== hash) {
      throw new ClusterDamage(clusterIndex, storePath, 'its content does not match its hash');
    }
  }
}
