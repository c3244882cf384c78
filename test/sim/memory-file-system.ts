/**
 * A file system in memory that answers as the real one does, for tests that need thousands of machines a minute.
 * One object is one process's view: `session()` gives another process, which can be killed.
 */
import type { FileStat, FileSystem, OpenMode, Owner, RandomAccessFile } from '../../core/io/file-system.ts';
import { MemoryFile } from './memory-file.ts';
import { MemoryVolume } from './memory-volume.ts';
import {
  addEntry,
  find,
  findDirectory,
  type Inode,
  locate,
  removeDirectoryEntry,
  removeEntry,
  renameEntry,
  syncEntries,
} from './name-tree.ts';
import { type OperationHook, Session } from './session.ts';
import { systemError } from './system-error.ts';

export class MemoryFileSystem implements FileSystem {
  readonly volume: MemoryVolume;
  readonly #session: Session;
  readonly #children = new Set<MemoryFileSystem>();

  /** A new, empty disk. The arguments are for `session()`. */
  constructor(volume = new MemoryVolume(), session = new Session()) {
    this.volume = volume;
    this.#session = session;
  }

  /** A session that has none of its own uses its parent's. */
  get onOperation(): OperationHook | undefined {
    return this.#session.onOperation;
  }

  set onOperation(hook: OperationHook | undefined) {
    this.#session.onOperation = hook;
  }

  get isAlive(): boolean {
    return this.#session.isAlive;
  }

  /** Files that this view has open: a test's way to find leaks. */
  get openCount(): number {
    return this.#session.openCount;
  }

  /** Another process's view of the same disk. */
  session(onOperation?: OperationHook): MemoryFileSystem {
    const child = new MemoryFileSystem(this.volume, new Session(this.#session, onOperation));
    this.#children.add(child);
    return child;
  }

  /** SIGKILL: files are closed, locks dropped; every later call, and what waits in a hook, throws KilledError. */
  kill(): void {
    for (const child of this.#children) child.kill();
    this.#session.kill();
  }

  /** Power off: kills every session and closes what this view has open; the view itself stays usable. */
  powerOff(): void {
    for (const child of this.#children) child.kill();
    this.#children.clear();
    this.#session.dropAll();
  }

  open(path: string, mode: OpenMode, permissions = 0o666): Promise<RandomAccessFile> {
    if (mode === 'create') return this.#create(path, permissions);
    return this.#session.perform({ kind: 'open', path }, () =>
      this.#open(path, find(this.volume.root, path, 'follow'), mode),
    );
  }

  openItself(path: string, mode: 'read' | 'update'): Promise<RandomAccessFile> {
    return this.#session.perform({ kind: 'open', path }, () =>
      this.#open(path, this.#findItself(path), mode),
    );
  }

  stat(path: string): Promise<FileStat | undefined> {
    return this.#session.perform({ kind: 'stat', path }, () => this.#statOrNone(path, 'follow'));
  }

  linkStat(path: string): Promise<FileStat | undefined> {
    return this.#session.perform({ kind: 'linkStat', path }, () => this.#statOrNone(path, 'last-link'));
  }

  realPath(path: string): Promise<string> {
    return this.#session.perform({ kind: 'realPath', path }, () => {
      const { inode, names } = locate(this.volume.root, path, 'follow');
      if (inode === undefined) throw systemError('ENOENT');
      return `/${names.join('/')}`;
    });
  }

  list(path: string): Promise<string[]> {
    return this.#session.perform({ kind: 'list', path }, () =>
      [...findDirectory(this.volume.root, path).entries.keys()].sort(),
    );
  }

  makeDirectory(path: string, permissions: number): Promise<void> {
    return this.#session.perform({ kind: 'makeDirectory', path }, () =>
      this.#add(path, () => this.volume.makeDirectory(permissions)),
    );
  }

  removeDirectory(path: string): Promise<void> {
    return this.#session.perform({ kind: 'removeDirectory', path }, () =>
      removeDirectoryEntry(locate(this.volume.root, path, 'last-link'), this.volume.clock.tick()),
    );
  }

  remove(path: string): Promise<void> {
    return this.#session.perform({ kind: 'remove', path }, () => {
      const place = locate(this.volume.root, path, 'last-link');
      this.volume.freeIfUnused(removeEntry(place, this.volume.clock.tick()));
    });
  }

  rename(from: string, to: string): Promise<void> {
    return this.#session.perform({ kind: 'rename', path: from, to }, () => {
      const { root, clock } = this.volume;
      const replaced = renameEntry(
        locate(root, from, 'last-link'),
        locate(root, to, 'last-link'),
        clock.tick(),
      );
      if (replaced !== undefined) this.volume.freeIfUnused(replaced);
    });
  }

  syncDirectory(path: string): Promise<void> {
    return this.#session.perform({ kind: 'syncDirectory', path }, () => {
      syncEntries(findDirectory(this.volume.root, path));
    });
  }

  setPermissions(path: string, permissions: number): Promise<void> {
    return this.#session.perform({ kind: 'setPermissions', path }, () => {
      this.volume.setPermissions(this.#findItself(path), permissions);
    });
  }

  setOwner(path: string, owner: Owner): Promise<void> {
    return this.#session.perform({ kind: 'setOwner', path }, () => {
      this.volume.setOwner(this.#findItself(path), owner);
    });
  }

  isCoherent(path: string): Promise<boolean> {
    return this.#session.perform({ kind: 'isCoherent', path }, () => this.volume.isCoherent);
  }

  /** For setting a scene; the contract cannot make one. No hook sees it. */
  makeSymlink(target: string, path: string): void {
    this.#add(path, () => this.volume.makeSymlink(target));
  }

  /** A second name for a file; for setting a scene. */
  makeLink(existing: string, path: string): void {
    const inode = find(this.volume.root, existing, 'last-link');
    if (inode.kind === 'directory') throw systemError('EPERM');
    this.#add(path, () => inode);
  }

  #findItself(path: string): Inode {
    const inode = find(this.volume.root, path, 'last-link');
    if (inode.kind === 'symlink') throw systemError('ELOOP');
    return inode;
  }

  #open(path: string, inode: Inode, mode: 'read' | 'update'): RandomAccessFile {
    // The real one opens a directory for reading, and fails with the same errno at the first read.
    if (inode.kind !== 'file') throw systemError('EISDIR');
    return new MemoryFile(path, inode, this.volume, this.#session, mode === 'update');
  }

  #create(path: string, permissions: number): Promise<RandomAccessFile> {
    return this.#session.perform({ kind: 'create', path }, () => {
      const inode = this.volume.makeFile(permissions);
      this.#add(path, () => inode);
      return new MemoryFile(path, inode, this.volume, this.#session, true);
    });
  }

  #add(path: string, make: () => Inode): void {
    const place = locate(this.volume.root, path, 'last-link');
    addEntry(place, make(), this.volume.clock.tick());
  }

  #statOrNone(path: string, follow: 'follow' | 'last-link'): FileStat | undefined {
    try {
      const { inode } = locate(this.volume.root, path, follow);
      return inode === undefined ? undefined : this.volume.statOf(inode);
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
      throw error;
    }
  }
}
