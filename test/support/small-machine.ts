/** A simulated machine with one small image, and the commands on it in one word each, every one a process of its own. */
import assert from 'node:assert/strict';
import { collectSnapshots } from '../../core/snapshot/collect.ts';
import type { CreateOptions } from '../../core/snapshot/create.ts';
import { Volume } from '../../core/snapshot/volume.ts';
import type { Catalog, SnapshotRecord } from '../../core/store/catalog.ts';
import { regions } from '../../core/store/layout.ts';
import { MemoryHost } from '../sim/memory-host.ts';
import { type TestContext, testContext } from './context.ts';
import { create, IMAGE, makeImage, noise, read, withFile, write } from './image.ts';

export const CLUSTER_BYTES = 4096;
const GEOMETRY = { clusterSizeBytes: CLUSTER_BYTES, sizeBytes: 32 * CLUSTER_BYTES };
/** What the image holds at first. */
export const FROZEN = noise(1, GEOMETRY.sizeBytes);

/** How long a store's file is that has so many clusters. */
export function fileOf(clusters: number): number {
  return regions(GEOMETRY).dataOffsetBytes + clusters * CLUSTER_BYTES;
}

export class SmallMachine {
  readonly host = new MemoryHost();

  static async make(): Promise<SmallMachine> {
    const machine = new SmallMachine();
    await makeImage(machine.host, FROZEN);
    return machine;
  }

  /** Of another process. */
  context(): TestContext {
    return testContext(this.host.session());
  }

  async create(name: string, options: Partial<CreateOptions> = {}): Promise<void> {
    await create(this.context(), name, { clusterSizeBytes: CLUSTER_BYTES, ...options });
  }

  async write(cluster: number, seed: number, count = 1): Promise<void> {
    const data = noise(seed, count * CLUSTER_BYTES);
    const { failure } = await write(this.context(), cluster * CLUSTER_BYTES, data);
    assert.equal(failure, undefined);
  }

  async remove(...names: string[]): Promise<void> {
    await collectSnapshots(this.context(), IMAGE, { names, dryRun: false });
  }

  async collect(): Promise<void> {
    await collectSnapshots(this.context(), IMAGE, { dryRun: false });
  }

  async resizeOutside(sizeBytes: number): Promise<void> {
    await withFile(this.host, 'update', (file) => file.truncate(sizeBytes));
  }

  async readsAs(name: string, content: Buffer): Promise<void> {
    assert.ok((await read(this.context(), name)).equals(content), `${name} reads wrongly`);
  }

  /** All that the catalog has. */
  async records(): Promise<readonly SnapshotRecord[]> {
    const volume = await Volume.open(this.context(), IMAGE, 'look');
    const found = await volume.shared(async (hold) => hold?.catalog.snapshots ?? []);
    await volume.close();
    return found;
  }

  /** Changes the catalog past the commands. */
  async changeCatalog(by: (catalog: Catalog) => Catalog): Promise<void> {
    const volume = await Volume.open(this.context(), IMAGE, 'write');
    await volume.exclusive(async (hold) => hold?.commit(by));
    await volume.close();
  }
}
