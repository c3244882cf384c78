/** A simulated disk that can lose power: what it may hold afterwards is another disk, so one run gives many crashes. */
import { createHash, type Hash } from 'node:crypto';
import { CrashContent, fateOf, type Random, type Temper } from './crash-content.ts';
import { MemoryVolume } from './memory-volume.ts';
import type { DirectoryInode, EntryChange, Inode } from './name-tree.ts';
import type { SparseContent } from './sparse-content.ts';

/** From losing everything to losing nothing; garbage only where something was being written. */
const TEMPERS: readonly Temper[] = [
  { keep: 0, garble: 0 },
  { keep: 1, garble: 0 },
  { keep: 0.5, garble: 0 },
  { keep: 0.9, garble: 0.05 },
  { keep: 0.4, garble: 0.3 },
  { keep: 0.1, garble: 0.1 },
];

const NOTHING: Temper = { keep: 0, garble: 0 };
const EVERYTHING: Temper = { keep: 1, garble: 0 };

/** What is tried of every point where states are not left to chance: of bytes, and of names. */
export interface Corner {
  readonly content: Temper;
  readonly names: Temper;
}

export const CORNERS: readonly Corner[] = [
  { content: NOTHING, names: NOTHING },
  { content: EVERYTHING, names: EVERYTHING },
  { content: EVERYTHING, names: NOTHING },
  { content: NOTHING, names: EVERYTHING },
  { content: { keep: 0.5, garble: 0 }, names: { keep: 0.5, garble: 0 } },
  { content: { keep: 0.4, garble: 0.3 }, names: { keep: 0.5, garble: 0 } },
];

export class CrashVolume extends MemoryVolume {
  protected override makeContent(): SparseContent {
    return new CrashContent(this.budget);
  }

  /** What the disk may hold after a power loss now; this one goes on undisturbed. */
  afterCrash(random: Random, corner?: Corner): CrashVolume {
    const volume = new CrashVolume();
    volume.clock.advance(this.clock.elapsedNs / 1e6 + 1);
    const copies = new Map<Inode, Inode>();
    const content = corner?.content ?? TEMPERS[random() % TEMPERS.length] ?? NOTHING;
    const names = corner?.names ?? TEMPERS[random() % TEMPERS.length] ?? NOTHING;
    copyDirectory(this.root, volume.root, { random, content, names, copies, volume });
    volume.nextInodeNumber = this.nextInodeNumber;
    return volume;
  }

  /** The same for two disks that hold the same, times included. */
  fingerprint(): string {
    const hash = createHash('sha1');
    addDirectory(this.root, hash);
    return hash.digest('hex');
  }
}

interface Crash {
  readonly random: Random;
  readonly content: Temper;
  readonly names: Temper;
  readonly copies: Map<Inode, Inode>;
  readonly volume: CrashVolume;
}

function copyDirectory(from: DirectoryInode, to: DirectoryInode, crash: Crash): void {
  const entries = new Map(from.durable);
  for (const change of survivingChanges(from.pending, crash)) {
    if (change.inode === undefined) entries.delete(change.name);
    else entries.set(change.name, change.inode);
  }
  for (const [name, inode] of entries) {
    const copy = crash.copies.get(inode) ?? copyInode(inode, crash);
    crash.copies.set(inode, copy);
    copy.linkCount += 1;
    to.entries.set(name, copy);
    to.durable.set(name, copy);
  }
}

function addDirectory(directory: DirectoryInode, hash: Hash): void {
  for (const [name, inode] of directory.entries) {
    hash.update(`${name}\n${inode.number} ${inode.modifiedAtNs}\n`);
    if (inode.kind === 'directory') addDirectory(inode, hash);
    if (inode.kind === 'file') for (const part of inode.content.parts()) hash.update(part);
  }
  hash.update('..\n');
}

/** Names change operation by operation: a rename is kept or lost as a whole. In order, or each for itself. */
function survivingChanges(pending: readonly EntryChange[], { random, names }: Crash): EntryChange[] {
  const times = [...new Set(pending.map(({ atNs }) => atNs))];
  if (names.keep === 0 || names.keep === 1) return names.keep === 1 ? [...pending] : [];
  const inOrder = random() % 2 === 0;
  const until = random() % (times.length + 1);
  const kept = new Set(
    times.filter((_, index) => (inOrder ? index < until : fateOf(random, names) === 'kept')),
  );
  return pending.filter(({ atNs }) => kept.has(atNs));
}

function copyInode(inode: Inode, crash: Crash): Inode {
  const { random, volume } = crash;
  // fdatasync does not put the time on disk, and nothing keeps it from getting there.
  const modifiedAtNs = random() % 2 === 0 ? inode.modifiedAtNs : inode.durableModifiedAtNs;
  const base = { number: inode.number, mode: inode.mode, modifiedAtNs, durableModifiedAtNs: modifiedAtNs };
  if (inode.kind === 'file') {
    const copy = volume.makeFile(inode.mode);
    const content = inode.content instanceof CrashContent ? inode.content : undefined;
    if (content === undefined) throw new Error('a file of another disk');
    return Object.assign(copy, base, { content: content.afterCrash(random, crash.content, volume.budget) });
  }
  if (inode.kind === 'symlink') return Object.assign(volume.makeSymlink(inode.target), base);
  const copy = Object.assign(volume.makeDirectory(inode.mode), base);
  copyDirectory(inode, copy, crash);
  return copy;
}
