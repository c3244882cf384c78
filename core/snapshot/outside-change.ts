/**
 * The origin changed behind our back: its size or time is not what our last write left. Every snapshot whose chain
 * reaches the origin is marked, durably, before anything else happens, and later writes never clear that; an origin
 * shorter than a snapshot ends that snapshot for good (invariant 5). fss did the same when its file system vanished.
 */
import { findBit } from '../base/bitmap.ts';
import { hasCode } from '../base/errors.ts';
import { formatTime } from '../base/time.ts';
import { uuidText } from '../base/uuid.ts';
import {
  type Catalog,
  endingText,
  endsAtClone,
  isAlive,
  type SnapshotRecord,
  type Trust,
} from '../store/catalog.ts';
import { clusterCount } from '../store/layout.ts';
import { readOrAll } from './candidates.ts';
import type { Hold } from './hold.ts';

const WINDOW_BYTES = 4096;

const VOID_REASON = 'it was transient, and the machine was rebooted since';
const SHRUNK_REASON = 'the origin became shorter than the snapshot';
const MODIFIED_REASON = 'the origin was changed outside imgsnap';

/** Whether it was transient, and its boot is over. */
export function isVoid(hold: Hold, record: SnapshotRecord): boolean {
  return record.transient !== undefined && record.transient !== uuidText(hold.bootId);
}

/** A snapshot's trust as the origin stands now, whether or not anybody could record it yet. */
export function trustNow(hold: Hold, record: SnapshotRecord, reaching: ReadonlySet<string>): Trust {
  const isShorter = hold.originStat.sizeBytes < record.sizeBytes && !endsAtClone(hold.catalog, record);
  if (record.trust === 'invalid' || isVoid(hold, record) || isShorter) return 'invalid';
  return reaching.has(record.uuid) ? 'modified' : record.trust;
}

/** Why a snapshot has the trust that it has now; undefined for a valid one. */
export function reasonNow(hold: Hold, record: SnapshotRecord, trust: Trust): string | undefined {
  if (trust === record.trust && record.ending !== undefined) return endingText(record.ending);
  return reasonToRecord(hold, record, trust);
}

function reasonToRecord(hold: Hold, record: SnapshotRecord, trust: Trust): string | undefined {
  if (trust === 'valid') return undefined;
  if (trust === 'modified') return MODIFIED_REASON;
  return isVoid(hold, record) ? VOID_REASON : SHRUNK_REASON;
}

/** Snapshots that an unrecorded change from outside concerns; empty where there was none. */
export async function changedOutside(hold: Hold): Promise<ReadonlySet<string>> {
  const { cache, stamp } = hold;
  if (!hold.originChangedOutside) return new Set();
  if (hold.repairDue) return reachingOrigin(hold);
  // All stores are gone through for it, and a reader asks for every run.
  if (cache.reaching?.stamp !== stamp) cache.reaching = { stamp, uuids: await reachingOrigin(hold) };
  return cache.reaching.uuids;
}

/**
 * The snapshots of which at least one cluster is read from the origin: a candidate that was not copied. From the newest store to the oldest, the
 * copied bitmaps are joined window by window; it ends early once all are known to reach it, as they mostly do.
 * A store that cannot be read may hold anything, and counts as holding nothing.
 */
async function reachingOrigin(hold: Hold): Promise<Set<string>> {
  const { snapshots, clusterSizeBytes } = hold.catalog;
  const counts = new Map(
    snapshots.map((record) => [record.uuid, clusterCount({ sizeBytes: record.sizeBytes, clusterSizeBytes })]),
  );
  const concerned = snapshots.filter((record) => !endsAtClone(hold.catalog, record));
  const reaching = new Set<string>();
  const unreadable = new Set<string>();
  const most = Math.max(0, ...concerned.map(({ uuid }) => counts.get(uuid) ?? 0));
  const room = Buffer.alloc(WINDOW_BYTES);
  for (let firstByte = 0; firstByte * 8 < most; firstByte += WINDOW_BYTES) {
    const joined = Buffer.alloc(WINDOW_BYTES);
    for (const record of [...concerned].reverse()) {
      const inWindow = Math.min((counts.get(record.uuid) ?? 0) - firstByte * 8, WINDOW_BYTES * 8);
      if (inWindow <= 0) continue;
      if (!unreadable.has(record.uuid)) {
        const bits = room.subarray(0, Math.ceil(inWindow / 8));
        if (await tryReadBits(hold, record, bits, firstByte)) {
          for (let at = 0; at < bits.length; at += 1) joined[at] = (joined[at] ?? 0) | (bits[at] ?? 0);
        } else {
          unreadable.add(record.uuid);
        }
      }
      if (reaching.has(record.uuid) || findBit(joined, false, 0, inWindow) === inWindow) continue;
      const candidates = Buffer.alloc(Math.ceil(inWindow / 8));
      await readOrAll(hold, record, 'candidate', { target: candidates, firstByte });
      for (let at = 0; at < candidates.length; at += 1)
        candidates[at] = (candidates[at] ?? 0) & ~(joined[at] ?? 0);
      if (findBit(candidates, true, 0, inWindow) < inWindow) reaching.add(record.uuid);
    }
    if (concerned.every((record) => reaching.has(record.uuid) || counts.get(record.uuid) === 0)) break;
  }
  return reaching;
}

async function tryReadBits(
  hold: Hold,
  record: SnapshotRecord,
  bits: Buffer,
  firstByte: number,
): Promise<boolean> {
  try {
    await hold.readBits(record, bits, firstByte);
    return true;
  } catch (error) {
    if (hasCode(error, 'damage', 'not-found', 'newer-version')) return false;
    throw error;
  }
}

/**
 * In an exclusive hold, and before anything else, repair included, which would open `state`: records what the origin's size and time tell, and takes
 * them as they are from then on.
 */
export async function recordOutsideChange(hold: Hold): Promise<void> {
  if (hold.stateIfReadable === undefined) return;
  const shrunk = hold.catalog.snapshots.some(
    (record) =>
      isAlive(record) && record.sizeBytes > hold.originStat.sizeBytes && !endsAtClone(hold.catalog, record),
  );
  const voided = hold.catalog.snapshots.some((record) => isAlive(record) && isVoid(hold, record));
  if (!hold.originChangedOutside && !shrunk && !voided) return;
  hold.mayAssess = true;
  const reaching = await changedOutside(hold);
  hold.mayAssess = false;
  const time = formatTime(hold.context.host.now());
  const lost: string[] = [];
  const voids: string[] = [];
  const change = (catalog: Catalog): Catalog => {
    const snapshots = catalog.snapshots.map((record) => {
      const trust = trustNow(hold, record, reaching);
      if (trust === record.trust) return record;
      if (!record.hidden) (isVoid(hold, record) ? voids : lost).push(record.name);
      const reason = reasonToRecord(hold, record, trust) ?? '';
      return { ...record, trust, ending: { reason, time } };
    });
    return { ...catalog, snapshots };
  };
  await hold.commitOutsideChange(change);
  if (voids.length > 0) {
    hold.context.warn({
      message: `${hold.image}: transient snapshots ended with the last boot: ${voids.join(', ')}`,
      hint: `remove them with snap-gc ${hold.image}`,
      loss: true,
    });
  }
  if (lost.length === 0) return;
  hold.context.warn({
    message: `${hold.image}: was changed outside imgsnap; no longer trusted: ${lost.join(', ')}`,
    hint: 'if only its time changed and not its content, clear that with snap-gc --accept-origin',
    loss: true,
  });
}
