/**
 * The contract through which core reaches files. Everything that could be lost, torn, refused or raced goes
 * through it, so that tests can put a memory, a crash or a fault in its place.
 *
 * Every method that fails throws a SnapError that carries the path, the errno and, for data, the offset.
 */

export type FileKind = 'file' | 'directory' | 'symlink' | 'fifo' | 'device' | 'socket';

export interface FileStat {
  readonly kind: FileKind;
  readonly sizeBytes: number;
  /** What it takes on the disk, as `du` counts. */
  readonly allocatedBytes: number;
  readonly modifiedNs: bigint;
  /** Permission bits only. */
  readonly mode: number;
  readonly userId: number;
  readonly groupId: number;
  readonly linkCount: number;
  readonly device: bigint;
  readonly inode: bigint;
}

export interface Owner {
  readonly userId: number;
  readonly groupId: number;
}

/** `past-cache`: it is flushed soon and not read again soon. Where it can be, the page cache is left alone; it means the same. */
export type WriteWay = 'past-cache';

export interface RandomAccessFile {
  readonly path: string;
  /** Reads until `target` is full or the file ends; returns the bytes read. */
  read(target: Buffer, offsetBytes: number): Promise<number>;
  /** Writes all of `source`, however many calls that takes. */
  write(source: Buffer, offsetBytes: number, way?: WriteWay): Promise<void>;
  /**
   * The first place at or after `offsetBytes` that may hold other than zeros: the file's end where there is none, and
   * `offsetBytes` itself at or past that, or where holes cannot be seen.
   */
  dataFrom(offsetBytes: number): number;
  /**
   * Makes `target`, an empty file, share this one's content, without copying it. Its permissions may be this one's then.
   * @throws `refused` where the file system cannot
   */
  shareInto(target: RandomAccessFile): Promise<void>;
  stat(): Promise<FileStat>;
  truncate(sizeBytes: number): Promise<void>;
  /** Of this very file, whatever has its name by now. */
  setPermissions(permissions: number): Promise<void>;
  setOwner(owner: Owner): Promise<void>;
  /** fdatasync: the content and the size are on disk when it returns. */
  syncData(): Promise<void>;
  /** fsync: the times too. */
  syncAll(): Promise<void>;
  /**
   * One byte of open-file-description range lock, without waiting. Two locks on one RandomAccessFile do not
   * exclude each other. Exclusive needs a file opened for writing.
   */
  tryLock(offsetBytes: number, kind: 'shared' | 'exclusive'): boolean;
  unlock(offsetBytes: number): void;
  close(): Promise<void>;
}

/** `create` fails with `exists` where the path is taken; `update` and `read` with `not-found` where it is not. */
export type OpenMode = 'read' | 'update' | 'create';

export interface FileSystem {
  open(path: string, mode: OpenMode, permissions?: number): Promise<RandomAccessFile>;
  /**
   * As `open`, but not what a symbolic link of that name leads to (ELOOP), and without waiting for the other end of
   * a named pipe: for names that nothing but our own files should have.
   */
  openItself(path: string, mode: 'read' | 'update'): Promise<RandomAccessFile>;
  /** Follows symbolic links; undefined only for a clean "does not exist". */
  stat(path: string): Promise<FileStat | undefined>;
  /** Does not follow; undefined only for a clean "does not exist". */
  linkStat(path: string): Promise<FileStat | undefined>;
  realPath(path: string): Promise<string>;
  list(path: string): Promise<string[]>;
  makeDirectory(path: string, permissions: number): Promise<void>;
  removeDirectory(path: string): Promise<void>;
  remove(path: string): Promise<void>;
  /** Replaces `to` where it exists. Durable only after `syncDirectory`. */
  rename(from: string, to: string): Promise<void>;
  syncDirectory(path: string): Promise<void>;
  /** Not of what a symbolic link leads to (ELOOP). For a file that is open there is a surer way. */
  setPermissions(path: string, permissions: number): Promise<void>;
  /** As `setPermissions`. */
  setOwner(path: string, owner: Owner): Promise<void>;
  /** Whether locks and caches are coherent for everyone who sees this path: not so on network and FUSE file systems. */
  isCoherent(path: string): Promise<boolean>;
}
