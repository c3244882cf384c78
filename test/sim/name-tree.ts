/**
 * The namespace of the simulated file system: inodes, directory entries and the walk along a path. It knows
 * nothing of what files contain. Everything is synchronous and fails as the system would (`systemError`).
 */
import type { ByteLocks } from './byte-locks.ts';
import type { SparseContent } from './sparse-content.ts';
import { systemError } from './system-error.ts';

interface InodeBase {
  readonly number: number;
  mode: number;
  userId: number;
  groupId: number;
  /** `SimClock.elapsedNs` at the last change. */
  modifiedAtNs: number;
  /** The time that a flush has put on disk; fdatasync does not. */
  durableModifiedAtNs: number;
  linkCount: number;
}

export interface FileInode extends InodeBase {
  readonly kind: 'file';
  content: SparseContent;
  readonly locks: ByteLocks;
  openCount: number;
}

export interface DirectoryInode extends InodeBase {
  readonly kind: 'directory';
  readonly entries: Map<string, Inode>;
  /** Changes of entries that no flush of the directory has made durable; one operation's have one time. */
  readonly pending: EntryChange[];
  /** What a power loss leaves at least. */
  readonly durable: Map<string, Inode>;
}

/** `inode` is undefined where the name was taken away. */
export interface EntryChange {
  readonly atNs: number;
  readonly name: string;
  readonly inode: Inode | undefined;
}

export interface SymlinkInode extends InodeBase {
  readonly kind: 'symlink';
  readonly target: string;
}

export type Inode = FileInode | DirectoryInode | SymlinkInode;

/** Where a path leads; `inode` is undefined where all but the last name exists. */
export interface Place {
  readonly directory: DirectoryInode;
  readonly name: string;
  readonly inode: Inode | undefined;
  /** The names from the root on, free of symbolic links but perhaps the last. */
  readonly names: readonly string[];
  /** The directories passed on the way, the root first. */
  readonly above: readonly DirectoryInode[];
}

const HOP_LIMIT = 40;

/** Walks from `root` along `path` (one that does not begin with a slash starts there, too). */
export function locate(root: DirectoryInode, path: string, follow: 'follow' | 'last-link'): Place {
  const above: DirectoryInode[] = [root];
  const names: string[] = [];
  const ahead = partsReversed(path);
  let directory = root;
  let hops = 0;
  for (let name = ahead.pop(); name !== undefined; name = ahead.pop()) {
    if (name === '..') {
      if (above.length > 1) above.pop();
      names.pop();
      directory = above.at(-1) ?? root;
      continue;
    }
    const inode = directory.entries.get(name);
    const isLast = ahead.length === 0;
    if (inode?.kind === 'symlink' && (!isLast || follow === 'follow')) {
      hops += 1;
      if (hops > HOP_LIMIT) throw systemError('ELOOP');
      if (inode.target.startsWith('/')) {
        above.length = 1;
        names.length = 0;
        directory = root;
      }
      ahead.push(...partsReversed(inode.target));
      continue;
    }
    if (isLast) return { directory, name, inode, names: [...names, name], above };
    if (inode === undefined) throw systemError('ENOENT');
    if (inode.kind !== 'directory') throw systemError('ENOTDIR');
    above.push(inode);
    names.push(name);
    directory = inode;
  }
  return { directory: above.at(-2) ?? root, name: names.at(-1) ?? '', inode: directory, names, above };
}

function partsReversed(path: string): string[] {
  return path
    .split('/')
    .filter((part) => part !== '' && part !== '.')
    .reverse();
}

/** The inode at `path`; throws ENOENT where there is none. */
export function find(root: DirectoryInode, path: string, follow: 'follow' | 'last-link'): Inode {
  const { inode } = locate(root, path, follow);
  if (inode === undefined) throw systemError('ENOENT');
  return inode;
}

export function findDirectory(root: DirectoryInode, path: string): DirectoryInode {
  const inode = find(root, path, 'follow');
  if (inode.kind !== 'directory') throw systemError('ENOTDIR');
  return inode;
}

/** Enters `inode` at a place that must be free. */
export function addEntry(place: Place, inode: Inode, atNs: number): void {
  if (place.inode !== undefined) throw systemError('EEXIST');
  place.directory.entries.set(place.name, inode);
  place.directory.pending.push({ atNs, name: place.name, inode });
  place.directory.modifiedAtNs = atNs;
  inode.linkCount += 1;
}

/** Takes the entry of a file or symbolic link away and returns its inode. */
export function removeEntry(place: Place, atNs: number): Inode {
  if (place.inode === undefined) throw systemError('ENOENT');
  if (place.inode.kind === 'directory') throw systemError('EISDIR');
  detach(place, place.inode, atNs);
  return place.inode;
}

export function removeDirectoryEntry(place: Place, atNs: number): void {
  if (place.inode === undefined) throw systemError('ENOENT');
  if (place.inode.kind !== 'directory') throw systemError('ENOTDIR');
  if (place.names.length === 0) throw systemError('EBUSY');
  if (place.inode.entries.size > 0) throw systemError('ENOTEMPTY');
  detach(place, place.inode, atNs);
}

/** rename(2): returns the inode that was replaced, if any. */
export function renameEntry(from: Place, to: Place, atNs: number): Inode | undefined {
  const moved = from.inode;
  const replaced = to.inode;
  if (moved === undefined) throw systemError('ENOENT');
  if (from.names.length === 0 || to.names.length === 0) throw systemError('EBUSY');
  // Two names of one file: rename(2) does nothing, and succeeds.
  if (moved === replaced) return undefined;
  if (moved.kind === 'directory' && to.above.includes(moved)) throw systemError('EINVAL');
  if (replaced?.kind === 'directory') {
    if (moved.kind !== 'directory') throw systemError('EISDIR');
    if (replaced.entries.size > 0) throw systemError('ENOTEMPTY');
  } else if (replaced !== undefined && moved.kind === 'directory') {
    throw systemError('ENOTDIR');
  }
  if (replaced !== undefined) detach(to, replaced, atNs);
  detach(from, moved, atNs);
  addEntry({ ...to, inode: undefined }, moved, atNs);
  return replaced;
}

function detach(place: Place, inode: Inode, atNs: number): void {
  place.directory.entries.delete(place.name);
  place.directory.pending.push({ atNs, name: place.name, inode: undefined });
  place.directory.modifiedAtNs = atNs;
  inode.linkCount -= 1;
}

/** fsync of a directory: its entries are on disk as they are. */
export function syncEntries(directory: DirectoryInode): void {
  directory.durable.clear();
  for (const [name, inode] of directory.entries) directory.durable.set(name, inode);
  directory.pending.length = 0;
}

/** An fsync of a directory that fails: the first changes, as many as chance will have, are on disk all the same. */
export function syncSomeEntries(directory: DirectoryInode, random: () => number): void {
  const times = [...new Set(directory.pending.map(({ atNs }) => atNs))];
  const untilNs = times[random() % (times.length + 1)] ?? Number.POSITIVE_INFINITY;
  for (let [change] = directory.pending; change && change.atNs < untilNs; [change] = directory.pending) {
    if (change.inode === undefined) directory.durable.delete(change.name);
    else directory.durable.set(change.name, change.inode);
    directory.pending.shift();
  }
}
