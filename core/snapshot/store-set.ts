/**
 * The stores of one sidecar: a few open files at a time, however long the chain (a process has a limit on
 * descriptors), and what of each may be believed. A store is proven once for each generation of the catalog and
 * each repair; between those a sealed store only gains, by hand-over, what the next newer one has anyway.
 */
import { closeAll } from '../io/close-all.ts';
import type { FileSystem, RandomAccessFile } from '../io/file-system.ts';
import type { Catalog, SnapshotRecord } from '../store/catalog.ts';
import { clonePlace, openClone } from '../store/clone-file.ts';
import type { Suspicion } from '../store/proof.ts';
import { assess, bitmapCounts, proveCandidates } from '../store/proof.ts';
import { type Sidecar, storeIdentity } from '../store/sidecar.ts';
import { type CandidateBitmaps, StoreFile } from '../store/store-file.ts';

const OPEN_STORE_LIMIT = 64;
const OPEN_CLONE_LIMIT = 4;
/** Bitmaps rebuilt from tables because the one on disk does not count; each at most 8 MiB. */
const REBUILT_LIMIT = 4;

export class StoreSet {
  readonly #files: FileSystem;
  readonly #sidecar: Sidecar;
  readonly #mode: 'read' | 'update';
  /** In order of use, the longest unused first. */
  readonly #open = new Map<string, StoreFile>();
  readonly #clones = new Map<string, RandomAccessFile>();
  readonly #pinned = new Map<string, string>();
  readonly #proven = new Map<string, string>();
  readonly #provenCandidates = new Set<string>();
  readonly #rebuilt = new Map<string, { readonly stamp: string; readonly bits: Buffer }>();

  constructor(files: FileSystem, sidecar: Sidecar, mode: 'read' | 'update') {
    this.#files = files;
    this.#sidecar = sidecar;
    this.#mode = mode;
  }

  /** @throws `not-found`, `damage`, `newer-version` */
  async open(catalog: Catalog, record: SnapshotRecord): Promise<StoreFile> {
    const cached = this.#open.get(record.uuid);
    if (cached !== undefined) {
      this.#open.delete(record.uuid);
      this.#open.set(record.uuid, cached);
      return cached;
    }
    const pinned = new Set(this.#pinned.values());
    for (const [uuid, store] of this.#open) {
      if (this.#open.size < OPEN_STORE_LIMIT) break;
      if (pinned.has(uuid)) continue;
      this.#open.delete(uuid);
      await store.close();
    }
    const place = this.#sidecar.storePlace(record);
    const store = await StoreFile.open(this.#files, place, this.#mode, storeIdentity(catalog, record));
    this.#open.set(record.uuid, store);
    return store;
  }

  /** @throws `not-found`, `damage` */
  async openClone(catalog: Catalog, record: SnapshotRecord): Promise<RandomAccessFile> {
    const cached = this.#clones.get(record.uuid);
    if (cached !== undefined) return cached;
    for (const [uuid, clone] of this.#clones) {
      if (this.#clones.size < OPEN_CLONE_LIMIT) break;
      this.#clones.delete(uuid);
      await clone.close();
    }
    const place = clonePlace(this.#sidecar.storePlace(record));
    const clone = await openClone(this.#files, place, storeIdentity(catalog, record));
    this.#clones.set(record.uuid, clone);
    return clone;
  }

  /** Keeps the store of one snapshot open, in place of the one that had this role before. */
  pin(role: 'active' | 'donor' | 'receiver' | 'verified', uuid: string): void {
    this.#pinned.set(role, uuid);
  }

  /**
   * Copies a window of a store's copied bitmap into `target`, from the table where the bitmap does not count.
   * @param stamp changes whenever what was proven must be proven again
   */
  async readBits(
    catalog: Catalog,
    record: SnapshotRecord,
    window: { readonly target: Buffer; readonly firstByte: number },
    proof: { readonly stamp: string; readonly suspicion: Suspicion },
  ): Promise<void> {
    const store = await this.open(catalog, record);
    if (this.#proven.get(record.uuid) !== proof.stamp) {
      let rebuilt = this.#rebuilt.get(record.uuid);
      if (rebuilt?.stamp !== proof.stamp) {
        if (await bitmapCounts(store, proof.suspicion.atLeast)) {
          this.#proven.set(record.uuid, proof.stamp);
          await store.readBits(window.target, window.firstByte);
          return;
        }
        const { bitmap } = await assess(store, proof.suspicion);
        rebuilt = { stamp: proof.stamp, bits: bitmap.bits };
        this.#keepRebuilt(record.uuid, rebuilt);
      }
      rebuilt.bits.copy(window.target, 0, window.firstByte);
      return;
    }
    await store.readBits(window.target, window.firstByte);
  }

  /**
   * Copies a window of one of the bitmaps that are written once, of a snapshot that has candidates. Proven when it is
   * asked for first.
   * @throws `damage`, and what `open` throws
   */
  async readCandidates(
    catalog: Catalog,
    record: SnapshotRecord,
    kind: keyof CandidateBitmaps,
    window: { readonly target: Buffer; readonly firstByte: number },
  ): Promise<void> {
    const store = await this.open(catalog, record);
    const key = `${record.uuid}/${kind}`;
    if (!this.#provenCandidates.has(key)) await proveCandidates(store, kind);
    this.#provenCandidates.add(key);
    await store.readCandidates(kind, window.target, window.firstByte);
  }

  #keepRebuilt(uuid: string, rebuilt: { readonly stamp: string; readonly bits: Buffer }): void {
    for (const oldest of this.#rebuilt.keys()) {
      if (this.#rebuilt.size < REBUILT_LIMIT) break;
      this.#rebuilt.delete(oldest);
    }
    this.#rebuilt.set(uuid, rebuilt);
  }

  /** Forgets one store, before its file is removed. */
  async forget(uuid: string): Promise<void> {
    const store = this.#open.get(uuid);
    this.#open.delete(uuid);
    this.#proven.delete(uuid);
    this.#rebuilt.delete(uuid);
    await store?.close();
    const clone = this.#clones.get(uuid);
    this.#clones.delete(uuid);
    await clone?.close();
  }

  async close(): Promise<void> {
    const files = [...this.#open.values(), ...this.#clones.values()];
    this.#open.clear();
    this.#clones.clear();
    await closeAll(files);
  }
}
