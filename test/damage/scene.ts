/** The chain that the damage sweep spoils: three snapshots of a small image, and what every file of it was before. */
import { type Regions, regions } from '../../core/store/layout.ts';
import { MemoryHost } from '../sim/memory-host.ts';
import { testContext } from '../support/context.ts';
import { candidatesBy, create, IMAGE, makeImage, noise, rawImage, read, write } from '../support/image.ts';
import { contentOf } from './copy-machine.ts';

export const SIDECAR = `${IMAGE}.snap`;
/** Files of somebody else. */
export const OTHERS = ['/precious', '/other.img.snap/state'] as const;
export const CLUSTER_BYTES = 4096;
export const NAMES = ['a', 'b', 'c'] as const;
/** Ten clusters and a short one. */
export const IMAGE_BYTES = 10 * CLUSTER_BYTES + 1000;

/** The files of a sidecar by their names without the digits of a UUID: `state`, `catalog.json`, `reserve`, `a`, `b`, `c`. */
export type Copies = ReadonlyMap<string, Buffer>;

/** A digest would hide wrong bytes from the sweep, and a state that counts would hide what repair makes of them. */
export const KINDS = ['with digests', 'without digests', 'left open, another boot'] as const;
/** Not in every test: the state of a command that was killed in the middle of a batch. */
export type Kind = (typeof KINDS)[number] | 'killed in a batch' | 'with candidates';

/** Of the snapshots of `with candidates` that have some: which clusters of the first are none. */
export const NO_CANDIDATES: Readonly<Record<string, readonly number[]>> = {
  a: [1, 2, 8, 10],
  b: [0, 2, 5, 9],
};

/** Where everything stands in a store of a scene. */
export function shapeOf({ kind }: Pick<Scene, 'kind'>, name: string): Regions {
  const hasCandidates = kind === 'with candidates' && NO_CANDIDATES[name] !== undefined;
  return regions({ sizeBytes: IMAGE_BYTES, clusterSizeBytes: CLUSTER_BYTES, hasCandidates });
}

export interface Scene {
  readonly kind: Kind;
  readonly host: MemoryHost;
  readonly frozen: ReadonlyMap<string, Buffer>;
  /** Paths by the same short names. */
  readonly paths: ReadonlyMap<string, string>;
  /** What each file held after each step, the last one included. */
  readonly history: readonly Copies[];
}

async function pathsOf(host: MemoryHost): Promise<Map<string, string>> {
  const names = await host.files.list(SIDECAR);
  return new Map(names.map((name) => [name.replace(/-[0-9a-f]{8}\.cow$/, ''), `${SIDECAR}/${name}`]));
}

async function copiesOf(host: MemoryHost): Promise<Copies> {
  const copies = new Map<string, Buffer>();
  for (const [name, path] of await pathsOf(host)) copies.set(name, await contentOf(host, path));
  return copies;
}

/** What a value in a sidecar may point to, and nobody may touch. */
async function makeOthers(host: MemoryHost): Promise<void> {
  await host.files.makeDirectory('/other.img.snap', 0o755);
  for (const path of OTHERS) {
    const file = await host.files.open(path, 'create');
    await file.write(Buffer.from(`precious ${path} `.repeat(300)), 0);
    await file.close();
  }
}

/** Ends as SIGKILL does, when the copies of a batch are written and not flushed. */
async function killedWrite(host: MemoryHost, seed: number): Promise<void> {
  const session = host.session(({ kind, path }) => {
    if (kind === 'syncData' && path.endsWith('.cow')) session.kill();
  });
  await write(testContext(session), 7 * CLUSTER_BYTES, noise(seed + 18, 2 * CLUSTER_BYTES)).catch(
    () => undefined,
  );
}

/** With digests, every snapshot is read once, so that they are recorded. */
export async function makeScene(seed: number, kind: Kind): Promise<Scene> {
  const host = new MemoryHost(seed);
  const sync = kind !== 'left open, another boot';
  const context = testContext(host);
  const content = noise(seed, IMAGE_BYTES);
  content.fill(0, 3 * CLUSTER_BYTES, 5 * CLUSTER_BYTES);
  await makeImage(host, content);
  await makeOthers(host);
  const frozen = new Map<string, Buffer>();
  const history: Copies[] = [];
  const put = async (cluster: number, count: number, from: number) => {
    const bytes = Math.min(count * CLUSTER_BYTES, IMAGE_BYTES - cluster * CLUSTER_BYTES);
    const { failure } = await write(context, cluster * CLUSTER_BYTES, noise(seed + from, bytes), {
      sync,
    });
    if (failure !== undefined) throw failure;
    history.push(await copiesOf(host));
  };
  const take = async (name: string) => {
    const left = kind === 'with candidates' ? NO_CANDIDATES[name] : undefined;
    const image = await rawImage(host);
    for (const cluster of left ?? []) {
      image.subarray(cluster * CLUSTER_BYTES, (cluster + 1) * CLUSTER_BYTES).fill(0);
    }
    frozen.set(name, image);
    const candidates = left && candidatesBy((index) => !left.includes(index));
    await create(context, name, { clusterSizeBytes: CLUSTER_BYTES, candidates });
    history.push(await copiesOf(host));
    if (kind !== 'with digests') return;
    await read(context, name);
    history.push(await copiesOf(host));
  };
  await take('a');
  await put(0, 2, 11);
  await put(3, 1, 12);
  await take('b');
  await put(1, 2, 13);
  await put(4, 1, 14);
  await put(10, 1, 15);
  await take('c');
  await put(2, 1, 16);
  await put(3, 3, 17);
  if (kind === 'killed in a batch') await killedWrite(host, seed);
  return { kind, host, frozen, paths: await pathsOf(host), history };
}
