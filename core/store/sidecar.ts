/**
 * The sidecar: the directory beside the image that holds all there is to know about its snapshots.
 *
 *   disk.img.snap/catalog.json   which snapshots exist
 *   disk.img.snap/state          what is current; locks are taken on it
 *   disk.img.snap/reserve        space kept so that a catalog can still be committed on a full disk
 *   disk.img.snap/NAME-UUID8.cow a store each
 *
 * This file finds, opens and replaces those; what they mean is for the layers above.
 */
import * as path from 'node:path';
import { roundUp } from '../base/bytes.ts';
import { hasCode, quietly, SnapError } from '../base/errors.ts';
import { replaceFile } from '../io/atomic-replace.ts';
import { createLike, type FileLike } from '../io/file-like.ts';
import type { FileSystem, RandomAccessFile } from '../io/file-system.ts';
import type { Host } from '../io/host.ts';
import { type Catalog, MAX_CATALOG_BYTES, type SnapshotRecord } from './catalog.ts';
import { decodeCatalog, encodeCatalog } from './catalog-codec.ts';
import { checkSequences, PAGE_BYTES, STATE } from './layout.ts';
import { decodeState, encodeState, type State } from './state.ts';
import type { StorePlace } from './store-file.ts';
import type { StoreIdentity } from './store-header.ts';

export const SIDECAR_SUFFIX = '.snap';
export const CATALOG_FILE = 'catalog.json';
export const STATE_FILE = 'state';
export const RESERVE_FILE = 'reserve';
/** Of a file in the sidecar that is not what its name says yet. */
export const UNFINISHED_SUFFIX = '.tmp';

/** What is in memory of the reserve while it is made: four times the catalog may be much. */
const RESERVE_PIECE_BYTES = 1 << 20;

/** Where the sidecar of an image stands. The image's path has no symbolic link in it any more. */
export function sidecarPath(imagePath: string): string {
  return `${imagePath}${SIDECAR_SUFFIX}`;
}

/**
 * The sidecar's real directory, or undefined only where there cleanly is none.
 * @throws `not-found` for a link that leads nowhere; `refused` for what is no sidecar; `damage` for half of one
 */
export async function findSidecar(files: FileSystem, imagePath: string): Promise<string | undefined> {
  const linkPath = sidecarPath(imagePath);
  if ((await files.linkStat(linkPath)) === undefined) return undefined;
  const stat = await files.stat(linkPath);
  if (stat === undefined) {
    throw new SnapError('not-found', `${linkPath}: the sidecar is a symbolic link that leads nowhere`, {
      path: linkPath,
      hint: 'mount the disk it leads to, or put the sidecar back',
    });
  }
  if (stat.kind !== 'directory') {
    throw new SnapError('refused', `${linkPath}: stands where the sidecar belongs and is no directory`, {
      path: linkPath,
      hint: 'move it away',
    });
  }
  const directory = await files.realPath(linkPath);
  const names = await files.list(directory);
  if (names.includes(CATALOG_FILE) && names.includes(STATE_FILE)) return directory;
  if (names.length === 0) {
    throw new SnapError('refused', `${linkPath}: the sidecar is an empty directory`, {
      path: linkPath,
      hint: 'mount or put back what belongs there; remove the directory if the image never had snapshots',
    });
  }
  const missing = names.includes(CATALOG_FILE) ? STATE_FILE : CATALOG_FILE;
  throw new SnapError('damage', `${linkPath}: the sidecar has no ${missing}`, {
    path: path.join(linkPath, missing),
    hint: 'restore the whole sidecar from a backup; the image itself is as it was last written',
  });
}

/** The sidecar that a path lies in, if any: what has both of its files, whatever it is called and wherever it was linked to. */
export async function sidecarAbove(files: FileSystem, absolute: string): Promise<string | undefined> {
  let directory = absolute;
  do {
    directory = path.dirname(directory);
    const found = await Promise.all(
      [STATE_FILE, CATALOG_FILE].map((name) => files.linkStat(path.join(directory, name))),
    );
    if (found.every((stat) => stat !== undefined)) return directory;
  } while (directory !== path.dirname(directory));
  return undefined;
}

/**
 * Opening a named pipe would wait for ever, and `state` is written in place: through a link that would go to a file that
 * is not ours (invariant 9). We never make a link of either.
 * @throws `damage`
 */
async function checkRegular(files: FileSystem, filePath: string): Promise<void> {
  const stat = await files.linkStat(filePath);
  if (stat === undefined || stat.kind === 'file') return;
  throw new SnapError('damage', `${filePath}: is no regular file`, {
    path: filePath,
    hint: 'put the file itself there; no symbolic link in a sidecar is followed',
  });
}

export class Sidecar {
  readonly directory: string;
  readonly stateFile: RandomAccessFile;
  readonly #host: Host;

  constructor(host: Host, directory: string, stateFile: RandomAccessFile) {
    this.#host = host;
    this.directory = directory;
    this.stateFile = stateFile;
  }

  static async open(host: Host, directory: string, mode: 'read' | 'update'): Promise<Sidecar> {
    const statePath = path.join(directory, STATE_FILE);
    await checkRegular(host.files, statePath);
    const stateFile = await host.files.openItself(statePath, mode);
    return new Sidecar(host, directory, stateFile);
  }

  get catalogPath(): string {
    return path.join(this.directory, CATALOG_FILE);
  }

  get #reservePath(): string {
    return path.join(this.directory, RESERVE_FILE);
  }

  /** Undefined where it is unreadable: repair will make it anew. @throws `damage` where that could be another's file */
  async readState(): Promise<State | undefined> {
    const bytes = Buffer.alloc(STATE.sizeBytes);
    const got = await this.stateFile.read(bytes, 0);
    const state = decodeState(bytes.subarray(0, got), this.stateFile.path);
    if (state === undefined && (await this.stateFile.stat()).linkCount > 1) {
      const { path: statePath } = this.stateFile;
      throw new SnapError('damage', `${statePath}: is no state, and the file has other names`, {
        path: statePath,
        hint: 'put the right file back; what this one is for is not known',
      });
    }
    return state;
  }

  /** @throws `damage` where its numbers are at their end */
  async writeState(state: State): Promise<void> {
    const { batch, generation, repairs, figureSequence } = state;
    checkSequences(this.stateFile.path, batch, generation, repairs, figureSequence);
    await this.stateFile.write(encodeState(state), 0);
  }

  /** Makes the state unreadable, as it was found: that means repair. */
  async clearState(): Promise<void> {
    await this.stateFile.write(Buffer.alloc(STATE.sizeBytes), 0);
  }

  async flushState(): Promise<void> {
    await this.stateFile.syncData();
  }

  /** @throws `damage`, `newer-version` */
  async readCatalog(): Promise<Catalog> {
    await checkRegular(this.#host.files, this.catalogPath);
    const file = await this.#host.files.openItself(this.catalogPath, 'read');
    try {
      const { sizeBytes } = await file.stat();
      // One byte more than ours ever have is enough to be refused.
      const bytes = Buffer.alloc(Math.min(sizeBytes, MAX_CATALOG_BYTES + 1));
      const got = await file.read(bytes, 0);
      return decodeCatalog(bytes.subarray(0, got), this.catalogPath);
    } finally {
      await file.close();
    }
  }

  /** Replaces the catalog, durably. On a full disk the reserve is given up for it. */
  async replaceCatalog(catalog: Catalog): Promise<void> {
    const { files } = this.#host;
    checkSequences(this.catalogPath, catalog.generation, catalog.nextNumber);
    const bytes = encodeCatalog(catalog);
    if (bytes.length > MAX_CATALOG_BYTES) {
      throw new SnapError('refused', `${this.catalogPath}: the catalog would be larger than 16 MiB`, {
        path: this.catalogPath,
        hint: 'remove snapshots with snap-gc first',
      });
    }
    // Whose `state` is, the catalog is, whoever runs the command.
    const like = await this.stateFile.stat();
    try {
      await replaceFile(files, this.catalogPath, bytes, like);
    } catch (error) {
      if (!hasCode(error, 'no-space') || !(await this.dropReserve())) throw error;
      await replaceFile(files, this.catalogPath, bytes, like);
      return;
    }
    await this.keepReserve(bytes.length, like);
  }

  /** Gives the reserve up for what must be written on a full disk. False where there is none to be had. */
  async dropReserve(): Promise<boolean> {
    const { files } = this.#host;
    let dropped = false;
    await quietly(async () => {
      if ((await files.linkStat(this.#reservePath)) === undefined) return;
      await files.remove(this.#reservePath);
      dropped = true;
    });
    return dropped;
  }

  /** Sees to it that the reserve is at least twice the catalog's size. What was committed stays so if that fails. */
  async keepReserve(catalogSizeBytes: number, like: FileLike): Promise<void> {
    const { files } = this.#host;
    const wantedBytes = 2 * roundUp(catalogSizeBytes, PAGE_BYTES);
    try {
      const stat = await files.linkStat(this.#reservePath);
      if (stat?.kind === 'file' && stat.sizeBytes >= wantedBytes) return;
      if (stat !== undefined) await files.remove(this.#reservePath);
      // On the account of whom it is to serve.
      const file = await createLike(files, this.#reservePath, like);
      try {
        // Random, so that no file system compresses it away; twice what is needed now, so that it is not remade often.
        for (let at = 0; at < 2 * wantedBytes; at += RESERVE_PIECE_BYTES) {
          await file.write(this.#host.randomBytes(Math.min(RESERVE_PIECE_BYTES, 2 * wantedBytes - at)), at);
        }
      } finally {
        await file.close();
      }
    } catch (error) {
      if (!(error instanceof SnapError)) throw error;
    }
  }

  /** fsync of the catalog, of the sidecar's directory and of its parent: whatever was committed is durable. */
  async syncNames(): Promise<void> {
    const { files } = this.#host;
    const file = await files.openItself(this.catalogPath, 'read');
    try {
      await file.syncAll();
    } finally {
      await file.close();
    }
    await files.syncDirectory(this.directory);
    await files.syncDirectory(path.dirname(this.directory));
  }

  storePath(record: SnapshotRecord): string {
    return path.resolve(this.directory, record.storePath);
  }

  /** Only what the catalog says is elsewhere may be somewhere else again. */
  storePlace(record: SnapshotRecord): StorePlace {
    return { path: this.storePath(record), followed: path.isAbsolute(record.storePath) };
  }

  close(): Promise<void> {
    return this.stateFile.close();
  }
}

/** What the header of a snapshot's store must say. */
export function storeIdentity(catalog: Catalog, record: SnapshotRecord): StoreIdentity {
  return {
    sidecarUuid: catalog.sidecarUuid,
    storeUuid: record.uuid,
    snapshotNumber: record.number,
    sizeBytes: record.sizeBytes,
    clusterSizeBytes: catalog.clusterSizeBytes,
    part: record.part,
    hasCandidates: record.hasCandidates,
  };
}
