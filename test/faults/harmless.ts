/**
 * Which calls may fail without an error, and why: everything that is not named here is told. And which must not be told
 * of: what comes after the answer.
 */
import { ACTIVE_LOCK_OFFSET_BYTES } from '../../core/io/lock-offsets.ts';
import type { Operation } from '../sim/session.ts';
import { IMAGE } from '../support/image.ts';
import type { Tried } from './operations.ts';

const SIDECAR = `${IMAGE}.snap`;
/** What making a file takes. */
const MAKES: readonly string[] = [
  'linkStat',
  'create',
  'setPermissions',
  'stat',
  'fileStat',
  'write',
  'truncate',
  'syncAll',
  'close',
  'syncDirectory',
  'open',
  'read',
];
const LOOKS_AT_STORE: readonly string[] = ['stat', 'linkStat', 'fileStat', 'open', 'read'];

/** The call that failed, and what it was part of. */
export interface Met {
  readonly tried: Tried;
  readonly calls: readonly Operation[];
  readonly at: number;
  readonly failed: Operation;
  /** No space, no quota, no larger file. */
  readonly full: boolean;
  readonly stays: boolean;
}

interface Harmless {
  readonly why: string;
  readonly is: (met: Met) => boolean;
}

const HARMLESS: readonly Harmless[] = [
  { why: 'a file works whoever owns it', is: ({ failed }) => failed.kind === 'setOwner' },
  {
    why: 'the reserve is made again by a later commit',
    is: ({ failed }) => failed.path.endsWith('/reserve'),
  },
  { why: 'a digest is recorded another time', is: isRecording },
  {
    why: 'on a full disk a snapshot ends, one that cannot be handed over is hidden, or the reserve makes room',
    is: ({ tried, failed, full, stays }) => full && !stays && !tried.looks && isOfSidecar(failed),
  },
  {
    why: 'the newest store is looked at before it is known who needs it; who does looks again',
    is: ({ tried, failed: { kind, path }, stays }) =>
      !stays && !tried.looks && LOOKS_AT_STORE.includes(kind) && isStore(path),
  },
  {
    why: 'whose a file is was read before it was closed',
    is: ({ tried, failed: { kind, path }, calls, at }) =>
      !tried.looks && kind === 'close' && isStore(path) && wasOnlyLookedAt(calls.slice(0, at), path),
  },
  {
    why: 'a place that takes no file is told and passed over, and a file that is full is followed by another',
    is: ({ tried, failed: { kind, path }, full }) =>
      tried.scene === 'spilled' && path.startsWith('/more') && (full || MAKES.includes(kind)),
  },
  {
    why: 'what verification cannot read without the lock it reads again under it',
    is: ({ tried, failed, calls, at, stays }) =>
      !stays && tried.looks && failed.kind === 'read' && !isLocked(calls.slice(0, at)),
  },
  {
    why: 'unfinished sidecars stay where the image cannot be written to',
    is: ({ tried, failed: { kind, path } }) =>
      tried.removesGarbage === true && kind === 'open' && path === IMAGE,
  },
];

function isStore(path: string): boolean {
  return /\.(?:cow|clone)$/.test(path);
}

/** Its directory and the one above it, which are flushed, are of it. */
function isOfSidecar({ path }: Operation): boolean {
  return path === '/' || path === SIDECAR || path.startsWith(`${SIDECAR}/`);
}

/** Its header was read right after it was opened, perhaps its size was asked for, and nothing else of it. */
function wasOnlyLookedAt(before: readonly Operation[], path: string): boolean {
  const [opened, read] = before.filter(({ kind }) => kind !== 'fileStat').slice(-2);
  return opened?.kind === 'open' && read?.kind === 'read' && opened.path === path && read.path === path;
}

function isLocked(before: readonly Operation[]): boolean {
  const last = before.findLast(({ kind }) => kind === 'tryLock' || kind === 'unlock');
  return last?.offsetBytes !== ACTIVE_LOCK_OFFSET_BYTES || last.kind === 'tryLock' || last.path === IMAGE;
}

/** A reader opens the image again, with files of its own, to record what it read. */
function isRecording({ tried, calls, at }: Met): boolean {
  if (!tried.reads) return false;
  const opened = calls.flatMap(({ kind, path }, index) => (kind === 'open' && path === IMAGE ? [index] : []));
  const [, again = calls.length] = opened;
  const from = calls.slice(0, again).findLastIndex(({ kind, path }) => kind === 'stat' && path === IMAGE);
  const until = calls.findIndex(
    ({ kind, path }, index) => index > again && kind === 'close' && path === IMAGE,
  );
  return at >= from && at <= until;
}

/** Why the call may fail without an error; undefined where it may not. */
export function whyHarmless(met: Met): string | undefined {
  return HARMLESS.find(({ is }) => is(met))?.why;
}

/** Whether the operation must succeed all the same, if nothing else fails. */
export function mustPass(met: Met): boolean {
  return !met.stays && isRecording(met);
}
