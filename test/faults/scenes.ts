/** What the fault sweep starts from, and the operations of core that it disturbs. */
import { acceptOrigin } from '../../core/snapshot/accept-origin.ts';
import { type CollectRequest, collectSnapshots } from '../../core/snapshot/collect.ts';
import { listImage } from '../../core/snapshot/list.ts';
import { verifySnapshots } from '../../core/snapshot/verify.ts';
import type { WriteOptions } from '../../core/snapshot/write.ts';
import { MemoryHost } from '../sim/memory-host.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { create, IMAGE, makeImage, noise, rawImage, read, withFile, write } from '../support/image.ts';

export const SEED = 3;
const CLUSTER_BYTES = 4096;
/** Ten clusters and a short one. */
const IMAGE_BYTES = 10 * CLUSTER_BYTES + 1000;

export interface Scene {
  readonly host: MemoryHost;
  readonly frozen: ReadonlyMap<string, Buffer>;
  readonly image: Buffer;
}

export type SceneKind = 'plain' | 'invalidate' | 'refuse' | 'open' | 'touched';

/** `plain` has no snapshot; `open` was left so by --no-sync; in `touched` all snapshots are marked by mistake. */
export async function makeScene(kind: SceneKind): Promise<Scene> {
  const host = new MemoryHost(SEED);
  const context = testContext(host);
  const content = noise(1, IMAGE_BYTES);
  content.fill(0, 3 * CLUSTER_BYTES, 5 * CLUSTER_BYTES);
  await makeImage(host, content);
  const frozen = new Map<string, Buffer>();
  const onFull = kind === 'refuse' ? 'refuse' : 'invalidate';
  const changes = [
    [0, 2],
    [1, 3],
    [3, 2],
  ] as const;
  for (const [index, [cluster, count]] of changes.entries()) {
    if (kind === 'plain') break;
    const name = 'abc'.charAt(index);
    frozen.set(name, await rawImage(host));
    await create(context, name, { clusterSizeBytes: CLUSTER_BYTES, onFull });
    // The newest has no digest yet, except where one is needed.
    if (name !== 'c' || kind === 'touched') await read(context, name);
    const data = noise(10 + index, count * CLUSTER_BYTES);
    const { failure } = await write(context, cluster * CLUSTER_BYTES, data, { sync: kind !== 'open' });
    if (failure !== undefined) throw failure;
  }
  if (kind === 'touched') {
    await withFile(host, 'update', async (file) => {
      const byte = Buffer.alloc(1);
      await file.read(byte, 0);
      await file.write(byte, 0);
    });
  }
  return { host, frozen, image: await rawImage(host) };
}

/** What of the image an operation may change. */
export interface Written {
  readonly offsetBytes: number;
  readonly data: Buffer;
}

export interface Tried {
  readonly what: string;
  readonly scene: SceneKind;
  /** Does not change anything that lasts, so that every answer must be the same. */
  readonly looks: boolean;
  readonly written?: Written;
  readonly creates?: string;
  readonly removes: readonly string[];
  /** What it answers, as far as it is the same each time. */
  readonly work: (context: TestContext) => Promise<unknown>;
}

function writing(
  what: string,
  scene: SceneKind,
  written: Written,
  options: Partial<WriteOptions> = {},
): Tried {
  return {
    what: `write ${what} (${scene})`,
    scene,
    looks: false,
    removes: [],
    written,
    work: async (context) => {
      const { failure } = await write(context, written.offsetBytes, written.data, options);
      if (failure !== undefined) throw failure;
    },
  };
}

function collecting(what: string, removes: readonly string[], request: Partial<CollectRequest>): Tried {
  const work = (context: TestContext) => collectSnapshots(context, IMAGE, { dryRun: false, ...request });
  return { what: `collect ${what}`, scene: 'invalidate', looks: false, removes, work };
}

function creating(what: string, scene: SceneKind, name: string): Tried {
  const work = (context: TestContext) => create(context, name, { clusterSizeBytes: CLUSTER_BYTES });
  return { what: `create ${what} (${scene})`, scene, looks: false, removes: [], creates: name, work };
}

function looking(what: string, scene: SceneKind, work: Tried['work']): Tried {
  return { what: `${what} (${scene})`, scene, looks: true, removes: [], work };
}

const fresh = { offsetBytes: 7 * CLUSTER_BYTES + 5, data: noise(20, 2 * CLUSTER_BYTES) };
const copied = { offsetBytes: 3 * CLUSTER_BYTES, data: noise(21, CLUSTER_BYTES + 50) };
const extending = { offsetBytes: IMAGE_BYTES + 5000, data: noise(22, 3 * CLUSTER_BYTES) };

export const TRIED: readonly Tried[] = [
  creating('first', 'plain', 'd'),
  creating('second', 'invalidate', 'd'),
  writing('fresh', 'invalidate', fresh),
  writing('fresh', 'open', fresh),
  writing('copied', 'invalidate', copied),
  writing('past the end', 'invalidate', extending, { extend: true }),
  writing('delta', 'refuse', fresh, { delta: true }),
  looking('read a', 'invalidate', (context) => read(context, 'a')),
  looking('read c', 'invalidate', (context) => read(context, 'c')),
  looking('verify', 'invalidate', (context) => verifySnapshots(context, IMAGE, [])),
  looking('list', 'invalidate', (context) => listImage(context, IMAGE)),
  collecting('oldest', ['a'], { names: ['a'] }),
  collecting('middle', ['b'], { names: ['b'] }),
  collecting('newest', ['c'], { names: ['c'] }),
  collecting('by rule', ['a', 'b'], { rules: { keepLast: 1 } }),
  {
    what: 'accept-origin',
    scene: 'touched',
    looks: false,
    removes: [],
    work: (context) => acceptOrigin(context, IMAGE, { dryRun: false }),
  },
];
