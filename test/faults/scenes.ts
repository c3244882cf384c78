/** What the fault sweep starts from: small machines in every state that an operation of core may find. */
import { collectSnapshots } from '../../core/snapshot/collect.ts';
import type { CreateOptions } from '../../core/snapshot/create.ts';
import { readSnapshot } from '../../core/snapshot/read.ts';
import { regions } from '../../core/store/layout.ts';
import { copyMachine } from '../damage/copy-machine.ts';
import { MemoryHost } from '../sim/memory-host.ts';
import { testContext } from '../support/context.ts';
import {
  CollectingSink,
  create,
  IMAGE,
  limitOf,
  makeImage,
  noise,
  rawImage,
  read,
  withFile,
  write,
} from '../support/image.ts';

export const SEED = 3;
export const CLUSTER_BYTES = 4096;
/** Ten clusters and a short one. */
export const IMAGE_BYTES = 10 * CLUSTER_BYTES + 1000;

export interface Scene {
  readonly host: MemoryHost;
  /** What each snapshot must read as. */
  readonly frozen: ReadonlyMap<string, Buffer>;
  /** Of those, the ones that have ended. */
  readonly ended: readonly string[];
  readonly image: Buffer;
  /** Whether a full disk may end snapshots. */
  readonly mayEnd: boolean;
  /** Whether one ends without any fault. */
  readonly atLimit: boolean;
}

/**
 * - `plain`: no snapshot
 * - `invalidate`, `refuse`: three snapshots with that policy, each with copies of its own
 * - `open`: left so by --no-sync
 * - `owned`: the image belongs to another user
 * - `limited`: the newest is at its limit
 * - `ended`: the newest passed it
 * - `touched`: all snapshots are marked by mistake
 * - `spilled`: the newest has two files already, and places for more
 * - `cloned`, `newest-cloned`: the middle, or the newest, is a clone
 * - `transient`: all are
 * - `left`: interrupted commands left files, and the middle snapshot is hidden
 */
export type SceneKind =
  | 'plain'
  | 'invalidate'
  | 'refuse'
  | 'open'
  | 'owned'
  | 'limited'
  | 'ended'
  | 'touched'
  | 'spilled'
  | 'cloned'
  | 'newest-cloned'
  | 'transient'
  | 'left';

const CHANGES = [
  [0, 2],
  [1, 3],
  [3, 2],
] as const;

export async function makeScene(kind: SceneKind): Promise<Scene> {
  const host = new MemoryHost(SEED);
  const content = noise(1, IMAGE_BYTES);
  content.fill(0, 3 * CLUSTER_BYTES, 5 * CLUSTER_BYTES);
  await makeImage(host, content);
  if (kind === 'owned') await host.files.setOwner(IMAGE, { userId: 1000, groupId: 1000 });
  const frozen = new Map<string, Buffer>();
  if (kind !== 'plain') await makeSnapshots(host, kind, frozen);
  if (kind === 'touched') await touch(host);
  if (kind === 'left') {
    await hide(host, 'b');
    frozen.delete('b');
    await leaveBehind(host);
  }
  return {
    host,
    frozen,
    ended: kind === 'ended' ? ['c'] : [],
    image: await rawImage(host),
    mayEnd: kind !== 'refuse',
    atLimit: kind === 'limited',
  };
}

async function makeSnapshots(host: MemoryHost, kind: SceneKind, frozen: Map<string, Buffer>): Promise<void> {
  const context = testContext(host);
  const onFull = kind === 'refuse' ? 'refuse' : 'invalidate';
  const most = { limited: 3, ended: 1 } as const;
  for (const [index, [cluster, count]] of CHANGES.entries()) {
    const name = 'abc'.charAt(index);
    frozen.set(name, await rawImage(host));
    const isLimited = name === 'c' && (kind === 'limited' || kind === 'ended');
    const maxSizeBytes = isLimited ? limitOf(most[kind], CLUSTER_BYTES) : undefined;
    const usual = { clusterSizeBytes: CLUSTER_BYTES, onFull, maxSizeBytes } as const;
    await create(context, name, { ...usual, ...(await special(host, kind, name)) });
    // The newest has no digest yet, except where one is needed.
    if (name !== 'c' || kind === 'touched') await read(context, name);
    // Not the zeros, where they would count against no limit.
    const offsetBytes = (isLimited ? cluster + 3 : cluster) * CLUSTER_BYTES;
    const data = noise(10 + index, count * CLUSTER_BYTES);
    const { failure } = await write(context, offsetBytes, data, { sync: kind !== 'open' });
    if (failure !== undefined) throw failure;
  }
}

/** What distinguishes a snapshot in scenes of its kind. */
async function special(host: MemoryHost, kind: SceneKind, name: string): Promise<Partial<CreateOptions>> {
  if (kind === 'transient') return { transient: true };
  if (kind === 'cloned') return { clone: name === 'b' };
  if (kind === 'newest-cloned') return { clone: name === 'c' };
  if (kind !== 'spilled' || name !== 'c') return {};
  await host.files.makeDirectory('/more', 0o755);
  // One cluster in each file; of the two that are written at first, one goes into a second.
  const { dataOffsetBytes } = regions({ sizeBytes: IMAGE_BYTES, clusterSizeBytes: CLUSTER_BYTES });
  const spillPaths = Array.from({ length: 12 }, () => '/more');
  return { spillPaths, maxStoreFileBytes: dataOffsetBytes + CLUSTER_BYTES };
}

/** Its time changes, and not a byte. */
async function touch(host: MemoryHost): Promise<void> {
  await withFile(host, 'update', async (file) => {
    const byte = Buffer.alloc(1);
    await file.read(byte, 0);
    await file.write(byte, 0);
  });
}

/** Removes a snapshot while it is read. */
async function hide(host: MemoryHost, name: string): Promise<void> {
  const sink = new CollectingSink(async () => {
    await collectSnapshots(testContext(host), IMAGE, { names: [name], dryRun: false });
  });
  const options = { offsetBytes: 0, allowModifiedOrigin: false, digest: false };
  await readSnapshot(testContext(host), { image: IMAGE, name }, options, sink);
}

/** What a creation leaves that is killed before its store has its name, or before its catalog has; a first sidecar too. */
async function leaveBehind(host: MemoryHost): Promise<void> {
  for (const suffix of ['.cow.tmp', 'catalog.json.tmp']) {
    const session = host.session(({ kind, path }) => {
      if (kind === 'rename' && path.endsWith(suffix)) session.kill();
    });
    await create(testContext(session), 'x', { clusterSizeBytes: CLUSTER_BYTES }).catch(() => undefined);
  }
  const unfinished = `${IMAGE}.snap.0123456789abcdef.tmp`;
  await host.files.makeDirectory(unfinished, 0o700);
  const file = await host.files.open(`${unfinished}/state`, 'create', 0o600);
  await file.close();
}

/** Another of the same. */
export function copyScene(scene: Scene): MemoryHost {
  return copyMachine(scene.host, SEED);
}
