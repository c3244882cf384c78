/**
 * Reading copied clusters out of a store: entries that prove themselves, and slots in as few calls as they allow. The
 * hashes are handed back as checks, to be done where no lock is held.
 */
import { xxh64 } from '../base/xxh64.ts';
import type { Run } from './append.ts';
import { clusterLengthBytes, ENTRY } from './layout.ts';
import { type SlotRun, slotRuns } from './slot-runs.ts';
import type { StoreFile } from './store-file.ts';

/** Clusters that were read, with the hashes that say whether they are what was copied. */
export interface Check {
  readonly store: StoreFile;
  readonly run: SlotRun;
  /** One after the other; a short last cluster ends it. */
  readonly content: Buffer;
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

/**
 * Fills `target` with adjacent clusters, one every `clusterSizeBytes`.
 * @returns what must hold before any of it is believed
 * @throws ClusterDamage
 */
export async function readClusters(store: StoreFile, clusters: Run, target: Buffer): Promise<Check[]> {
  const table = Buffer.allocUnsafe(clusters.count * ENTRY.sizeBytes);
  await store.readTable(table, clusters.firstCluster);
  const runs = slotRuns(store.entries, { table, at: 0, clusters }, clusters.count, (clusterIndex) => {
    throw new ClusterDamage(clusterIndex, store.path, 'its entry does not prove itself');
  });
  const checks: Check[] = [];
  for (const run of runs) {
    const at = (run.firstCluster - clusters.firstCluster) * store.identity.clusterSizeBytes;
    checks.push(await readRun(store, run, target.subarray(at)));
  }
  return checks;
}

/** Reads one run to the begin of `target`. @throws ClusterDamage */
export async function readRun(store: StoreFile, run: SlotRun, target: Buffer): Promise<Check> {
  const size = store.identity.clusterSizeBytes;
  const lastLengthBytes = clusterLengthBytes(store.identity, run.firstCluster + run.count - 1);
  const content = target.subarray(0, (run.count - 1) * size + lastLengthBytes);
  // A zero cluster is checked too: a flag may be damaged as anything else.
  if (run.slotIndex < 0) content.fill(0);
  const got = run.slotIndex < 0 ? content.length : await store.readSlots(content, run.slotIndex);
  if (got < content.length) {
    const clusterIndex = run.firstCluster + Math.floor(got / size);
    throw new ClusterDamage(clusterIndex, store.path, 'its slot is past the end of the file');
  }
  return { store, run, content };
}

/** Those whose content does not match their hash, ascending. */
export function mismatches({ store, run, content }: Check): number[] {
  const size = store.identity.clusterSizeBytes;
  const found: number[] = [];
  for (let index = 0; index < run.count; index += 1) {
    const startBytes = index * size;
    // A bare view: a Buffer's own takes longer to make.
    const cluster = new Uint8Array(
      content.buffer,
      content.byteOffset + startBytes,
      Math.min(size, content.length - startBytes),
    );
    if (xxh64(cluster) !== run.hashes[index]) found.push(run.firstCluster + index);
  }
  return found;
}

/** @throws ClusterDamage naming the first cluster that is not what was copied */
export function verifyChecks(checks: readonly Check[]): void {
  for (const check of checks) {
    const [clusterIndex] = mismatches(check);
    if (clusterIndex !== undefined)
      throw new ClusterDamage(clusterIndex, check.store.path, 'its content does not match its hash');
  }
}
