/** The two file systems that the contract is held against: the real one, in a directory of its own, and memory. */
import { link, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { FileSystem, Owner, RandomAccessFile } from '../../core/io/file-system.ts';
import type { Host } from '../../core/io/host.ts';
import { NodeHost } from '../../core/io/node-host.ts';
import { MemoryHost } from '../sim/memory-host.ts';

export interface World {
  readonly host: Host;
  readonly files: FileSystem;
  /** Where `name` lies in this world's directory. */
  at(name: string): string;
  makeSymlink(target: string, path: string): Promise<void>;
  makeLink(existing: string, path: string): Promise<void>;
  /** Runs `work` with that umask, and as that user, who may be in one more group. */
  as(
    user: Owner & { readonly umask?: number; readonly group?: number },
    work: () => Promise<void>,
  ): Promise<void>;
  /** Opens a file that is closed when the test ends, if it was not before. */
  open(name: string, mode?: 'read' | 'update' | 'create'): Promise<RandomAccessFile>;
}

const MAKERS: Readonly<Record<string, () => Promise<{ world: World; dispose: () => Promise<void> }>>> = {
  real: makeRealWorld,
  memory: makeMemoryWorld,
};

/** One test in each world. */
export function inEachWorld(
  name: string,
  body: (world: World) => Promise<void>,
  needs: { readonly root?: boolean } = {},
): void {
  for (const [worldName, make] of Object.entries(MAKERS)) {
    const skip = needs.root === true && worldName === 'real' && !isRoot && 'needs root, to be other users';
    test(`${name} (${worldName})`, { skip }, async () => {
      const { world, dispose } = await make();
      try {
        await body(world);
      } finally {
        await dispose();
      }
    });
  }
}

/** A directory for one test; the caller calls `remove`. */
export async function makeScratch(): Promise<{ path: string; remove: () => Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), 'imgsnap-io-'));
  return { path, remove: () => rm(path, { recursive: true }) };
}

async function makeRealWorld(): Promise<{ world: World; dispose: () => Promise<void> }> {
  const scratch = await makeScratch();
  const host = new NodeHost();
  const { open, closeAll } = opener(host.files, (name) => join(scratch.path, name));
  const world: World = {
    host,
    files: host.files,
    at: (name) => join(scratch.path, name),
    makeSymlink: (target, path) => symlink(target, path),
    makeLink: (existing, path) => link(existing, path),
    as: asRealUser,
    open,
  };
  const dispose = async () => {
    await closeAll();
    await scratch.remove();
  };
  return { world, dispose };
}

async function makeMemoryWorld(): Promise<{ world: World; dispose: () => Promise<void> }> {
  const host = new MemoryHost();
  await host.files.makeDirectory('/work', 0o755);
  const { open, closeAll } = opener(host.files, (name) => join('/work', name));
  const world: World = {
    host,
    files: host.files,
    at: (name) => join('/work', name),
    makeSymlink: async (target, path) => host.files.makeSymlink(target, path),
    makeLink: async (existing, path) => host.files.makeLink(existing, path),
    as: async ({ umask, group, ...owner }, work) => {
      const { volume } = host.files;
      const [user, mask] = [volume.user, volume.umask];
      volume.user = { ...owner, groups: group === undefined ? [] : [group] };
      volume.umask = umask ?? mask;
      try {
        await work();
      } finally {
        volume.user = user;
        volume.umask = mask;
      }
    },
    open,
  };
  return { world, dispose: closeAll };
}

/** Whether tests may become another user here. */
export const isRoot = process.geteuid?.() === 0;

const asRealUser: World['as'] = async ({ userId, groupId, umask, group }, work) => {
  const { seteuid, setegid, setgroups, getegid, getgroups } = process;
  if (!isRoot || !seteuid || !setegid || !setgroups || !getegid || !getgroups) throw new Error('needs root');
  const [ownGroup, ownGroups, mask] = [getegid(), getgroups(), process.umask()];
  process.umask(umask ?? mask);
  setgroups(group === undefined ? [] : [group]);
  setegid(groupId);
  seteuid(userId);
  try {
    await work();
  } finally {
    seteuid(0);
    setegid(ownGroup);
    setgroups(ownGroups);
    process.umask(mask);
  }
};

function opener(files: FileSystem, at: (name: string) => string) {
  const opened: RandomAccessFile[] = [];
  const open = async (name: string, mode: 'read' | 'update' | 'create' = 'create') => {
    const file = await files.open(at(name), mode);
    opened.push(file);
    return file;
  };
  const closeAll = async () => {
    for (const file of opened) await file.close();
  };
  return { open, closeAll };
}
