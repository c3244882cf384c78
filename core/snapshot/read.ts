/**
 * Streaming a snapshot, or the image as it is, to a sink. While one run is checked and written, the next is read.
 * Nobody's lock is held while the consumer is waited for.
 */
import drain from 'stream-chain/utils/drain.js';
import pipe from 'stream-chain/utils/pipe.js';
import { observed, RUN_BYTES } from '../base/ahead.ts';
import { zeros } from '../base/bytes.ts';
import { SnapError } from '../base/errors.ts';
import { digestText, Xxh64Digest } from '../base/xxh64.ts';
import type { ByteSink } from '../io/byte-stream.ts';
import { inUseOffset } from '../io/lock-offsets.ts';
import { findByName, findByUuid, type SnapshotRecord } from '../store/catalog.ts';
import type { Context } from './context.ts';
import { recordDigest, type TrustedSince } from './digest.ts';
import type { Hold } from './hold.ts';
import { readOrigin } from './origin.ts';
import { changedOutside, reasonNow, trustNow } from './outside-change.ts';
import { type ReadPlan, type RunReader, readAhead } from './read-ahead.ts';
import type { Reference } from './reference.ts';
import { holeLengthBytes, type ReadRun, SnapshotReader } from './snapshot-reader.ts';
import { Volume } from './volume.ts';

export interface ReadOptions {
  readonly offsetBytes: number;
  /** To the end where absent. */
  readonly lengthBytes?: number | undefined;
  readonly allowModifiedOrigin: boolean;
  /** Compute the digest of what is streamed even where nothing can be recorded. */
  readonly digest: boolean;
}

export interface ReadSummary {
  readonly offsetBytes: number;
  readonly bytes: number;
  readonly digest: string | undefined;
  /** Which snapshot it was, whatever has its name by now; undefined for the image. */
  readonly uuid: string | undefined;
}

/** An opened snapshot, in use by us until the volume is closed. */
export interface OpenSnapshot {
  readonly reader: SnapshotReader;
  readonly since: TrustedSince;
}

export function noSuchSnapshot(image: string, name: string): SnapError {
  return new SnapError('not-found', `${image}@${name}: no such snapshot`, {
    path: image,
    snapshot: `${image}@${name}`,
    hint: `snap-list ${image} tells which there are`,
  });
}

/** @throws `invalid`, or `modified` unless that is allowed */
export async function checkTrust(
  hold: Hold,
  record: SnapshotRecord,
  options: { readonly allowModifiedOrigin: boolean },
): Promise<void> {
  const snapshot = `${hold.image}@${record.name}`;
  const trust = trustNow(hold, record, await changedOutside(hold));
  const reason = reasonNow(hold, record, trust);
  if (trust === 'invalid') {
    throw new SnapError('invalid', `${snapshot}: is invalid: ${reason}`, {
      path: hold.image,
      snapshot,
      clusterIndex: record.ending?.clusterIndex,
      hint: `snap-gc ${hold.image} removes it`,
    });
  }
  if (trust === 'modified' && !options.allowModifiedOrigin) {
    throw new SnapError('modified', `${snapshot}: is not to be trusted: ${reason}`, {
      path: hold.image,
      snapshot,
      hint: '--allow-modified-origin reads it all the same; snap-gc --accept-origin clears a mark made by mistake',
    });
  }
}

/** Name, catalog and the lock that says "in use" are taken in one shared hold, so that no removal comes between. */
export function openSnapshot(
  volume: Volume,
  name: string,
  options: { readonly allowModifiedOrigin: boolean },
): Promise<OpenSnapshot> {
  return volume.shared(async (hold) => {
    const record = hold && findByName(hold.catalog, name);
    if (hold === undefined || record === undefined) throw noSuchSnapshot(volume.image, name);
    await checkTrust(hold, record, options);
    if (!hold.sidecar.stateFile.tryLock(inUseOffset(record.number), 'shared')) {
      throw new SnapError('busy', `${volume.image}@${name}: is just being removed`, { path: volume.image });
    }
    // Of an empty one nothing is read: that it is empty, its store must say too.
    if (record.sizeBytes === 0) await hold.stores.open(hold.catalog, record);
    const since = {
      uuid: record.uuid,
      trust: record.trust,
      originSizeBytes: hold.originStat.sizeBytes,
      originTimeNs: hold.originStat.modifiedNs,
      timeCounts: hold.timeCounts,
      changedOutside: hold.originChangedOutside,
    };
    const reader = new SnapshotReader(`${volume.image}@${name}`, record, hold.catalog.clusterSizeBytes);
    return { reader, since };
  });
}

/** Takes the lock for as long as `work` reads runs of an open snapshot, which is trusted. */
export function withReader<T>(
  volume: Volume,
  { reader }: OpenSnapshot,
  endBytes: number,
  options: { readonly allowModifiedOrigin: boolean },
  work: (read: RunReader) => Promise<T>,
): Promise<T> {
  return volume.shared(async (hold) => {
    const record = hold && findByUuid(hold.catalog, reader.record.uuid);
    if (hold === undefined || record === undefined) throw noSuchSnapshot(volume.image, reader.record.name);
    await checkTrust(hold, record, options);
    return work((startBytes, buffer) => reader.read(hold, startBytes, endBytes, buffer));
  });
}

function rangeOf(
  what: string,
  sizeBytes: number,
  options: ReadOptions,
): { startBytes: number; endBytes: number } {
  const { offsetBytes, lengthBytes } = options;
  const endBytes = lengthBytes === undefined ? Math.max(offsetBytes, sizeBytes) : offsetBytes + lengthBytes;
  if (offsetBytes > sizeBytes || endBytes > sizeBytes) {
    throw new SnapError(
      'refused',
      `${what}: ${offsetBytes > sizeBytes ? `offset ${offsetBytes}` : `byte ${endBytes}`} is past the end at ${sizeBytes}`,
      {
        path: what,
        offsetBytes: sizeBytes,
        hint: 'nothing was read',
      },
    );
  }
  return { startBytes: offsetBytes, endBytes };
}

function planImage(volume: Volume, sizeBytes: number, options: ReadOptions): ReadPlan {
  const range = rangeOf(volume.image, sizeBytes, options);
  const read: RunReader = async (startBytes, buffer) => {
    const lengthBytes = holeLengthBytes(volume.origin, startBytes, range.endBytes);
    if (lengthBytes > 0) return { offsetBytes: startBytes, lengthBytes, data: undefined, checks: [] };
    const data = buffer.subarray(0, Math.min(buffer.length, range.endBytes - startBytes));
    await readOrigin(volume.origin, data, startBytes);
    return { offsetBytes: startBytes, lengthBytes: data.length, data, checks: [] };
  };
  return {
    ...range,
    bufferBytes: Math.min(RUN_BYTES, range.endBytes - range.startBytes),
    held: (work) => volume.shared(() => work(read)),
    hadToWait: () => volume.hadToWait,
    check: () => undefined,
  };
}

function planSnapshot(volume: Volume, open: OpenSnapshot, options: ReadOptions): ReadPlan {
  const { reader } = open;
  const range = rangeOf(`${volume.image}@${reader.record.name}`, reader.record.sizeBytes, options);
  // A short range needs no more than itself, however it lies across clusters.
  const neededBytes = range.endBytes - range.startBytes + 2 * reader.clusterSizeBytes;
  return {
    ...range,
    bufferBytes: Math.min(reader.bufferBytes, neededBytes),
    held: (work) => withReader(volume, open, range.endBytes, options, work),
    hadToWait: () => volume.hadToWait,
    check: (run) => reader.check(run),
  };
}

function piecesOf({ data, lengthBytes }: ReadRun): Iterable<Buffer> {
  return data === undefined ? zeros(lengthBytes) : [data];
}

/** While one run is written, the next is hashed and the one after it read. */
async function stream(
  context: Context,
  plan: ReadPlan,
  sink: ByteSink,
  digest: Xxh64Digest | undefined,
): Promise<number> {
  let doneBytes = 0;
  const write = async ({ data, lengthBytes }: ReadRun) => {
    if (data !== undefined) await sink.write(data);
    else if (sink.writeZeros !== undefined) await sink.writeZeros(lengthBytes);
    else for (const piece of zeros(lengthBytes)) await sink.write(piece);
    doneBytes += lengthBytes;
    context.progress(doneBytes, plan.endBytes - plan.startBytes);
  };
  const check = (run: ReadRun) => {
    plan.check(run);
    if (digest !== undefined) for (const piece of piecesOf(run)) digest.update(piece);
    return run;
  };
  let writing: Promise<void> = Promise.resolve();
  const writeBehind = async (run: ReadRun) => {
    await writing;
    writing = observed(write(run));
  };
  try {
    await drain(pipe(() => readAhead(plan, context.signal), check, writeBehind)(0));
    await writing;
  } finally {
    await Promise.allSettled([writing]);
  }
  return doneBytes;
}

/** Reads a whole snapshot, marked or not, into a digest. Marks it in use until the volume is closed. */
export async function digestSnapshot(
  volume: Volume,
  name: string,
  digest: Xxh64Digest,
): Promise<OpenSnapshot> {
  const options = { offsetBytes: 0, allowModifiedOrigin: true, digest: true };
  const open = await openSnapshot(volume, name, options);
  const sink: ByteSink = { write: async () => undefined, writeZeros: async () => undefined };
  await stream(volume.context, planSnapshot(volume, open, options), sink, digest);
  return open;
}

/**
 * Streams a snapshot, or the image where the reference has no name.
 * @throws `not-found`, `invalid`, `modified`, `damage`, `differs` from the recorded digest, `io`, `pipe-closed`
 */
export async function readSnapshot(
  context: Context,
  reference: Reference,
  options: ReadOptions,
  sink: ByteSink,
): Promise<ReadSummary> {
  const volume = await Volume.open(context, reference.image, 'look');
  try {
    const { name } = reference;
    const open = name === undefined ? undefined : await openSnapshot(volume, name, options);
    const plan =
      open === undefined
        ? planImage(volume, (await volume.origin.stat()).sizeBytes, options)
        : planSnapshot(volume, open, options);
    const complete =
      open !== undefined && plan.startBytes === 0 && plan.endBytes === open.reader.record.sizeBytes;
    const digest = options.digest || complete ? new Xxh64Digest() : undefined;
    const bytes = await stream(context, plan, sink, digest);
    const text = digest && digestText(digest.value());
    if (open !== undefined && complete && text !== undefined) {
      await settleDigest(context, reference, open, text);
    }
    const uuid = open?.reader.record.uuid;
    return { offsetBytes: options.offsetBytes, bytes, digest: options.digest ? text : undefined, uuid };
  } finally {
    await volume.close();
  }
}

/** The first trusted complete read records the digest; every later one is checked against it. */
async function settleDigest(
  context: Context,
  reference: Reference,
  open: OpenSnapshot,
  digest: string,
): Promise<void> {
  const { record } = open.reader;
  // What is read in spite of a mark is compared with nothing.
  if (open.since.trust !== 'valid' || open.since.changedOutside) return;
  const snapshot = `${reference.image}@${record.name}`;
  const recorded = record.digest ?? (await recordDigest(context, reference.image, open.since, digest));
  if (recorded === undefined || recorded === digest) return;
  throw new SnapError('differs', `${snapshot}: reads as ${digest}, but ${recorded} was recorded`, {
    path: reference.image,
    snapshot,
    hint: 'what was written is not what an earlier complete read gave; see snap-verify',
  });
}
