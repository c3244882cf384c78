/** What the views of one simulated file system share: the disk's inodes and space, its limits and its clock. */
import type { FileStat, Owner } from '../../core/io/file-system.ts';
import { ByteLocks } from './byte-locks.ts';
import { SimClock } from './clock.ts';
import type { DirectoryInode, FileInode, Inode, SymlinkInode } from './name-tree.ts';
import { PAGE_BYTES, PageBudget, SparseContent } from './sparse-content.ts';
import { systemError } from './system-error.ts';

const EXT4_MAXIMUM_FILE_BYTES = 2 ** 44 - PAGE_BYTES;

/** Whose processes they are: `groups` are those that it may give its files to besides. */
export interface User extends Owner {
  readonly groups: readonly number[];
}

export class MemoryVolume {
  readonly clock = new SimClock();
  readonly budget = new PageBudget();
  readonly root: DirectoryInode;
  maximumFileBytes = EXT4_MAXIMUM_FILE_BYTES;
  /** What `isCoherent` answers. */
  isCoherent = true;
  umask = 0o022;
  /** Who makes files, and changes whose they are and their modes. Nobody is kept from opening anything. */
  user: User = { userId: 0, groupId: 0, groups: [] };
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

  setPermissions(inode: Inode, permissions: number): void {
    const { userId } = this.user;
    if (userId !== 0 && inode.userId !== userId) throw systemError('EPERM');
    inode.mode = permissions & 0o7777;
  }

  setOwner(inode: Inode, owner: Owner): void {
    const { userId, groupId, groups } = this.user;
    if (userId !== 0) {
      const isOurGroup = [inode.groupId, groupId, ...groups].includes(owner.groupId);
      if (inode.userId !== userId || owner.userId !== userId || !isOurGroup) throw systemError('EPERM');
    }
    inode.userId = owner.userId;
    inode.groupId = owner.groupId;
    // As the kernel does: nothing runs as its new owner that the old one made.
    if (inode.kind === 'file') inode.mode &= (inode.mode & 0o010) === 0 ? 0o3777 : 0o1777;
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
      userId: this.user.userId,
      groupId: this.user.groupId,
      modifiedAtNs,
      durableModifiedAtNs: modifiedAtNs,
      linkCount: 0,
    };
  }
}
