/**
 * The real file system. Adds nothing to Node's calls but the one kind of error, and the difference between "it is not
 * there" and "it cannot be looked at". Calls are made at once, for the reason that `node-file.ts` gives.
 */
import fs from 'node:fs';
import { dirname } from 'node:path';
import { isCoherentType } from './coherence.ts';
import type { FileStat, FileSystem, OpenMode, Owner, RandomAccessFile } from './file-system.ts';
import { NodeFile, toFileStat } from './node-file.ts';
import { attempt, errnoOf, systemFailure } from './system-error.ts';

const OPEN_FLAGS: Readonly<Record<OpenMode, number>> = {
  read: fs.constants.O_RDONLY,
  update: fs.constants.O_RDWR,
  // Exclusive: neither a file that is there nor a symbolic link is ever written through.
  create: fs.constants.O_RDWR | fs.constants.O_CREAT | fs.constants.O_EXCL,
};

/** Neither through a symbolic link nor waiting for the other end of a named pipe. */
const ITSELF_FLAGS = fs.constants.O_NOFOLLOW | fs.constants.O_NONBLOCK;

export class NodeFileSystem implements FileSystem {
  /** `permissions` are for a file that is created, less the umask. */
  open(path: string, mode: OpenMode, permissions = 0o666): Promise<RandomAccessFile> {
    const verb = mode === 'create' ? 'create' : 'open';
    return attempt(
      { verb, path },
      async () => new NodeFile(path, fs.openSync(path, OPEN_FLAGS[mode], permissions)),
    );
  }

  openItself(path: string, mode: 'read' | 'update'): Promise<RandomAccessFile> {
    return attempt(
      { verb: 'open', path },
      async () => new NodeFile(path, fs.openSync(path, OPEN_FLAGS[mode] | ITSELF_FLAGS)),
    );
  }

  stat(path: string): Promise<FileStat | undefined> {
    return statOrNone(path, fs.statSync);
  }

  linkStat(path: string): Promise<FileStat | undefined> {
    return statOrNone(path, fs.lstatSync);
  }

  realPath(path: string): Promise<string> {
    return attempt({ verb: 'resolve', path }, async () => fs.realpathSync.native(path));
  }

  /** Names, sorted. */
  list(path: string): Promise<string[]> {
    return attempt({ verb: 'list', path }, async () => fs.readdirSync(path).sort());
  }

  async makeDirectory(path: string, permissions: number): Promise<void> {
    await attempt({ verb: 'make the directory', path }, async () =>
      fs.mkdirSync(path, { mode: permissions }),
    );
  }

  removeDirectory(path: string): Promise<void> {
    return attempt({ verb: 'remove the directory', path }, async () => fs.rmdirSync(path));
  }

  remove(path: string): Promise<void> {
    return attempt({ verb: 'remove', path }, async () => fs.unlinkSync(path));
  }

  rename(from: string, to: string): Promise<void> {
    return attempt({ verb: 'rename', path: from, tail: ` to ${to}` }, async () => fs.renameSync(from, to));
  }

  syncDirectory(path: string): Promise<void> {
    return attempt({ verb: 'flush the directory', path }, async () => {
      const directory = new NodeFile(path, fs.openSync(path, fs.constants.O_DIRECTORY));
      try {
        await directory.syncAll();
      } finally {
        await directory.close();
      }
    });
  }

  setPermissions(path: string, permissions: number): Promise<void> {
    return attempt({ verb: 'set the permissions of', path }, async () =>
      withDescriptor(path, (descriptor) => fs.fchmodSync(descriptor, permissions)),
    );
  }

  setOwner(path: string, { userId, groupId }: Owner): Promise<void> {
    return attempt({ verb: 'set the owner of', path }, async () =>
      withDescriptor(path, (descriptor) => fs.fchownSync(descriptor, userId, groupId)),
    );
  }

  /** For a path that is not there, what holds for the nearest directory above it. */
  async isCoherent(path: string): Promise<boolean> {
    for (let place = path; ; place = dirname(place)) {
      try {
        const { type } = fs.statfsSync(place, { bigint: true });
        return isCoherentType(type);
      } catch (error) {
        if (errnoOf(error) === 'ENOENT' && dirname(place) !== place) continue;
        throw systemFailure({ verb: 'look at the file system of', path }, error);
      }
    }
  }
}

/** Of the file itself, not of what a symbolic link of that name leads to. */
function withDescriptor(path: string, work: (descriptor: number) => void): void {
  const descriptor = fs.openSync(path, ITSELF_FLAGS);
  try {
    work(descriptor);
  } finally {
    fs.closeSync(descriptor);
  }
}

/**
 * Undefined for ENOENT alone. ENOTDIR says that something is in the way, EACCES that nobody knows: taken for
 * "does not exist", either could make a writer believe that there are no snapshots.
 */
async function statOrNone(
  path: string,
  stat: (path: string, options: { bigint: true }) => fs.BigIntStats,
): Promise<FileStat | undefined> {
  try {
    return toFileStat(path, stat(path, { bigint: true }));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw systemFailure({ verb: 'look at', path }, error);
  }
}
