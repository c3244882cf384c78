/**
 * An image's snapshots in numbers that `snap-create` would take an hour for: by core's own functions, all in one commit.
 * What is on disk afterwards is what as many runs of `snap-create`, with nothing written between them, would leave.
 */
import { compactTime, formatTime, parseTime, type RecordedTime } from '../../core/base/time.ts';
import { uuidFromRandom } from '../../core/base/uuid.ts';
import { NodeHost } from '../../core/io/node-host.ts';
import { closeState } from '../../core/snapshot/closing.ts';
import type { Context } from '../../core/snapshot/context.ts';
import { createSnapshot } from '../../core/snapshot/create.ts';
import type { Hold } from '../../core/snapshot/hold.ts';
import { likeImage } from '../../core/snapshot/like-image.ts';
import { Volume } from '../../core/snapshot/volume.ts';
import { type Catalog, type SnapshotRecord, STORE_SUFFIX } from '../../core/store/catalog.ts';
import { EMPTY_FIGURE } from '../../core/store/figure.ts';
import { EMPTY_STORE_RECORD } from '../../core/store/flush-record.ts';
import { storeIdentity } from '../../core/store/sidecar.ts';
import { StoreFile } from '../../core/store/store-file.ts';

const LAST = parseTime('2026-11-22T23:59:59Z');
const WEEK_SECONDS = 7 * 24 * 3600;

/**
 * The times of `count` snapshots, spread over one week. With `--keep-daily 7`, that is as many to be removed between two
 * that stay as there can be.
 */
export function timesOfWeek(count: number): RecordedTime[] {
  const lastSeconds = Date.parse(LAST) / 1000;
  const at = (index: number) => lastSeconds - Math.floor(((count - 1 - index) * WEEK_SECONDS) / count);
  return Array.from({ length: count }, (_, index) => formatTime(new Date(at(index) * 1000)));
}

/** The name that `snap-create` gives by itself. */
export const nameOf = compactTime;

/** Makes a sidecar with a snapshot of each time. All stores are empty. */
export async function buildSnapshots(
  image: string,
  times: readonly RecordedTime[],
  signal: AbortSignal,
): Promise<void> {
  const context = makeContext(signal);
  const [first, ...rest] = times;
  if (first === undefined) return;
  await createSnapshot(context, { image, name: nameOf(first) }, { onFull: 'invalidate', created: first });
  if (rest.length === 0) return;
  const volume = await Volume.open(context, image, 'write');
  try {
    await volume.exclusive(async (hold) => hold && addSnapshots(hold, rest));
  } finally {
    await volume.close();
  }
}

function makeContext(signal: AbortSignal): Context {
  return {
    host: new NodeHost(),
    waitMs: 60_000,
    signal,
    warn: ({ message }) => console.error(message),
    progress: () => undefined,
    anyFileSystem: false,
  };
}

async function addSnapshots(hold: Hold, times: readonly RecordedTime[]): Promise<void> {
  const { catalog, context, sidecar } = hold;
  const records = times.map((created, index) => newRecord(hold, created, catalog.nextNumber + index));
  for (const record of records) {
    context.signal.throwIfAborted();
    const identity = storeIdentity(catalog, record);
    const like = likeImage(hold.originStat);
    await (await StoreFile.create(context.host.files, sidecar.storePath(record), identity, like)).close();
  }
  await context.host.files.syncDirectory(sidecar.directory);
  const newest = records.at(-1);
  if (newest === undefined) return;
  await hold.commit((onDisk) => withNewest(onDisk, records), {
    figure: { storeUuid: newest.uuid, record: EMPTY_STORE_RECORD },
  });
  await closeState(hold);
}

function newRecord(hold: Hold, created: RecordedTime, number: number): SnapshotRecord {
  const uuid = uuidFromRandom(hold.context.host.randomBytes(16));
  const name = nameOf(created);
  return {
    name,
    uuid,
    number,
    created,
    sizeBytes: hold.originStat.sizeBytes,
    trust: 'valid',
    hidden: false,
    onFull: 'invalidate',
    storePath: `${name}-${uuid.slice(0, 8)}${STORE_SUFFIX}`,
  };
}

/** All but the last are sealed, and empty. */
function withNewest(catalog: Catalog, records: readonly SnapshotRecord[]): Catalog {
  const sealed = [...catalog.snapshots, ...records.slice(0, -1)].map((record) => ({
    ...record,
    sealed: EMPTY_FIGURE,
  }));
  return {
    ...catalog,
    nextNumber: catalog.nextNumber + records.length,
    snapshots: [...sealed, ...records.slice(-1)],
  };
}
