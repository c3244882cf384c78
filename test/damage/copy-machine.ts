/** Copies of a simulated machine, so that a scene that takes a while to make can be spoilt a thousand times. */
import { MemoryHost } from '../sim/memory-host.ts';
import type { MemoryVolume } from '../sim/memory-volume.ts';
import type { DirectoryInode, Inode } from '../sim/name-tree.ts';

/**
 * A machine with the same files, times, inode numbers and boot id, and with other chance from here on. `seed` must be
 * the one that `host` was made with, since the boot id comes from it. Nothing may be open or locked.
 */
export function copyMachine(host: MemoryHost, seed: number): MemoryHost {
  const copy = new MemoryHost(seed);
  // Past what the original has drawn: no UUID must come twice.
  copy.randomBytes(4099);
  const from = host.files.volume;
  const to = copy.files.volume;
  to.clock.advance(from.clock.elapsedNs / 1e6 + 1);
  copyEntries(from.root, to.root, to);
  to.nextInodeNumber = from.nextInodeNumber;
  return copy;
}

function copyEntries(from: DirectoryInode, to: DirectoryInode, volume: MemoryVolume): void {
  for (const [name, inode] of from.entries) {
    const copy = copyInode(inode, volume);
    copy.linkCount = 1;
    to.entries.set(name, copy);
    to.durable.set(name, copy);
  }
}

function copyInode(inode: Inode, volume: MemoryVolume): Inode {
  const { number, mode, userId, groupId, modifiedAtNs, durableModifiedAtNs } = inode;
  const base = { number, mode, userId, groupId, modifiedAtNs, durableModifiedAtNs };
  if (inode.kind === 'file') {
    const copy = Object.assign(volume.makeFile(mode), base);
    inode.content.copyInto(copy.content);
    return copy;
  }
  if (inode.kind === 'symlink') return Object.assign(volume.makeSymlink(inode.target), base);
  const copy = Object.assign(volume.makeDirectory(mode), base);
  copyEntries(inode, copy, volume);
  return copy;
}

/** Every byte of a file, past all of core. */
export async function contentOf(host: MemoryHost, path: string): Promise<Buffer> {
  const file = await host.files.open(path, 'read');
  const bytes = Buffer.alloc((await file.stat()).sizeBytes);
  await file.read(bytes, 0);
  await file.close();
  return bytes;
}

/** Makes a file hold these bytes and no others; it stays the same file. */
export async function setContent(host: MemoryHost, path: string, bytes: Buffer): Promise<void> {
  const file = await host.files.open(path, 'update');
  await file.truncate(0);
  await file.write(bytes, 0);
  await file.close();
}
