/**
 * The real file system, by Node's asynchronous calls. Adds nothing to them but the one kind of error, and the
 * difference between "it is not there" and "it cannot be looked at".
 */
import type { BigIntStats } from 'node:fs';
import { constants, promises } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isCoherentType } from './coherence.ts';
import type { FileStat, FileSystem, OpenMode, Owner, RandomAccessFile } from './file-system.ts';
import { NodeFile, toFileStat } from './node-file.ts';
import { attempt, errnoOf, systemFailure } from './system-error.ts';

const OPEN_FLAGS: Readonly<Record<OpenMode, number>> = {
  read: constants.O_RDONLY,
  update: constants.O_RDWR,
  // Exclusive: neither a file that is there nor a symbolic link is ever written through.
  create: constants.O_RDWR | constants.O_CREAT | constants.O_EXCL,
};

/** Neither through a symbolic link nor waiting for the other end of a named pipe. */
const ITSELF_FLAGS = constants.O_NOFOLLOW | constants.O_NONBLOCK;

export class NodeFileSystem implements FileSystem {
  /** `permissions` are for a file that is created, less the umask. */
  open(path: string, mode: OpenMode, permissions = 0o666): Promise<RandomAccessFile> {
    const verb = mode === 'create' ? 'create' : 'open';
    return attempt(
      { verb, path },
      async () => new NodeFile(path, await promises.open(path, OPEN_FLAGS[mode], permissions)),
    );
  }

  openItself(path: string, mode: 'read' | 'update'): Promise<RandomAccessFile> {
    return attempt(
      { verb: 'open', path },
      async () => new NodeFile(path, await promises.open(path, OPEN_FLAGS[mode] | ITSELF_FLAGS)),
    );
  }

  stat(path: string): Promise<FileStat | undefined> {
    return statOrNone(path, promises.stat);
  }

  linkStat(path: string): Promise<FileStat | undefined> {
    return statOrNone(path, promises.lstat);
  }

  realPath(path: string): Promise<string> {
    return attempt({ verb: 'resolve', path }, () => promises.realpath(path));
  }

  /** Names, sorted. */
  list(path: string): Promise<string[]> {
    return attempt({ verb: 'list', path }, async () => (await promises.readdir(path)).sort());
  }

  async makeDirectory(path: string, permissions: number): Promise<void> {
    await attempt({ verb: 'make the directory', path }, () => promises.mkdir(path, { mode: permissions }));
  }

  removeDirectory(path: string): Promise<void> {
    return attempt({ verb: 'remove the directory', path }, () => promises.rmdir(path));
  }

  remove(path: string): Promise<void> {
    return attempt({ verb: 'remove', path }, () => promises.unlink(path));
  }

  rename(from: string, to: string): Promise<void> {
    return attempt({ verb: 'rename', path: from, tail: ` to ${to}` }, () => promises.rename(from, to));
  }

  syncDirectory(path: string): Promise<void> {
    return attempt({ verb: 'flush the directory', path }, async () => {
      await withHandle(path, constants.O_DIRECTORY, (handle) => handle.sync());
    });
  }

  setPermissions(path: string, permissions: number): Promise<void> {
    return attempt({ verb: 'set the permissions of', path }, () =>
      withHandle(path, ITSELF_FLAGS, (handle) => handle.chmod(permissions)),
    );
  }

  setOwner(path: string, { userId, groupId }: Owner): Promise<void> {
    return attempt({ verb: 'set the owner of', path }, () =>
      withHandle(path, ITSELF_FLAGS, (handle) => handle.chown(userId, groupId)),
    );
  }

  /** For a path that is not there, what holds for the nearest directory above it. */
  async isCoherent(path: string): Promise<boolean> {
    for (let place = path; ; place = dirname(place)) {
      try {
        const { type } = await promises.statfs(place, { bigint: true });
        return isCoherentType(type);
      } catch (error) {
        if (errnoOf(error) === 'ENOENT' && dirname(place) !== place) continue;
        throw systemFailure({ verb: 'look at the file system of', path }, error);
      }
    }
  }
}

async function withHandle(
  path: string,
  flags: number,
  work: (handle: FileHandle) => Promise<void>,
): Promise<void> {
  const handle = await promises.open(path, constants.O_RDONLY | flags);
  try {
    await work(handle);
  } finally {
    await handle.close();
  }
}

/**
 * Undefined for ENOENT alone. ENOTDIR says that something is in the way, EACCES that nobody knows: taken for
 * "does not exist", either could make a writer believe that there are no snapshots.
 */
async function statOrNone(
  path: string,
  stat: (path: string, options: { bigint: true }) => Promise<BigIntStats>,
): Promise<FileStat | undefined> {
  try {
    return toFileStat(path, await stat(path, { bigint: true }));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw systemFailure({ verb: 'look at', path }, error);
  }
}
