/** What the views of one simulated file system share: the disk's inodes and space, its limits and its clock. */
import type { FileStat } from '../../core/io/file-system.ts';
import { ByteLocks } from './byte-locks.ts';
import { SimClock } from './clock.ts';
import type { DirectoryInode, FileInode, Inode, SymlinkInode } from './name-tree.ts';
import { PAGE_BYTES, PageBudget, SparseContent } from './sparse-content.ts';

const EXT4_MAXIMUM_FILE_BYTES = 2 ** 44 - PAGE_BYTES;

export class MemoryVolume {
  readonly clock = new SimClock();
  readonly budget = new PageBudget();
  readonly root: DirectoryInode;
  maximumFileBytes = EXT4_MAXIMUM_FILE_BYTES;
  /** What `isCoherent` answers. */
  isCoherent = true;
  umask = 0o022;
  nextInodeNumber = 1;

  constructor() {
    this.root = this.makeDirectory(0o777);
    this.root.linkCount = 1;
  }

  makeFile(permissions: number): FileInode {
    const content = this.makeContent();
    return { ...this.#base(permissions), kind: 'file', content, locks: new ByteLocks(), openCount: 0 };
  }

  makeDirectory(permissions: number): DirectoryInode {
    const maps = { entries: new Map<string, Inode>(), pending: [], durable: new Map<string, Inode>() };
    return { ...this.#base(permissions), kind: 'directory', ...maps };
  }

  /** What a file's bytes are kept in. */
  protected makeContent(): SparseContent {
    return new SparseContent(this.budget);
  }

  makeSymlink(target: string): SymlinkInode {
    return { ...this.#base(0o777), kind: 'symlink', target };
  }

  statOf(inode: Inode): FileStat {
    return {
      kind: inode.kind,
      sizeBytes: inode.kind === 'file' ? inode.content.sizeBytes : 0,
      allocatedBytes: inode.kind === 'file' ? inode.content.allocatedBytes : 0,
      modifiedNs: SimClock.sinceEpochNs(inode.modifiedAtNs),
      mode: inode.mode,
      userId: inode.userId,
      groupId: inode.groupId,
      linkCount: inode.linkCount + (inode.kind === 'directory' ? 1 : 0),
      device: 1n,
      inode: BigInt(inode.number),
    };
  }

  /** Gives the space of a file back that has neither a name nor a reader any more. */
  freeIfUnused(inode: Inode): void {
    if (inode.kind === 'file' && inode.linkCount === 0 && inode.openCount === 0) inode.content.release();
  }

  #base(permissions: number) {
    const number = this.nextInodeNumber;
    this.nextInodeNumber += 1;
    const modifiedAtNs = this.clock.tick();
    const mode = permissions & ~this.umask & 0o7777;
    return {
      number,
      mode,
      userId: 0,
      groupId: 0,
      modifiedAtNs,
      durableModifiedAtNs: modifiedAtNs,
      linkCount: 0,
    };
  }
}
