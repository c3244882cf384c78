/** Every operation of core, in few words, for the fault sweep: what it is tried in, and what of it may change. */
import assert from 'node:assert/strict';
import { quietly } from '../../core/base/errors.ts';
import { acceptOrigin } from '../../core/snapshot/accept-origin.ts';
import { type CollectRequest, collectSnapshots } from '../../core/snapshot/collect.ts';
import { compareWithOrigin, digestSnapshots } from '../../core/snapshot/compare.ts';
import type { CreateOptions } from '../../core/snapshot/create.ts';
import { listDirectory, listImage } from '../../core/snapshot/list.ts';
import { readSnapshot } from '../../core/snapshot/read.ts';
import { verifySnapshots } from '../../core/snapshot/verify.ts';
import { type WriteOptions, writeImage, zeroSource } from '../../core/snapshot/write.ts';
import { openFileSink } from '../../core/stream/file-sink.ts';
import { contentOf } from '../damage/copy-machine.ts';
import type { MemoryHost } from '../sim/memory-host.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { create, IMAGE, noise, read, write } from '../support/image.ts';
import { CLUSTER_BYTES, IMAGE_BYTES, type Scene, type SceneKind } from './scenes.ts';

const OUTPUT = '/out.img';
/** Several batches, each of several runs, with flushes of the store and of the image while more is done. */
const SMALL_PACE = { batchBytes: 4 * CLUSTER_BYTES, flushAheadBytes: CLUSTER_BYTES };

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
  /** A snapshot as a whole: its digest is recorded. */
  readonly reads?: boolean;
  /** What interrupted commands left, too. */
  readonly removesGarbage?: boolean;
  /** What must hold besides. */
  readonly check?: (host: MemoryHost, error: unknown) => Promise<void>;
  /** What it answers, as far as it is the same each time. */
  readonly work: (context: TestContext) => Promise<unknown>;
}

function writing(
  what: string,
  scene: SceneKind,
  written: Written,
  options: Partial<WriteOptions> = {},
): Tried {
  const work = async (context: TestContext) => {
    const { failure } = await write(context, written.offsetBytes, written.data, options);
    if (failure !== undefined) throw failure;
  };
  return { what: `write ${what} (${scene})`, scene, looks: false, removes: [], written, work };
}

function collecting(
  what: string,
  scene: SceneKind,
  removes: readonly string[],
  request: Partial<CollectRequest>,
): Tried {
  const work = (context: TestContext) => collectSnapshots(context, IMAGE, { dryRun: false, ...request });
  const looks = request.dryRun ?? false;
  const removesGarbage = request.names === undefined;
  return { what: `collect ${what} (${scene})`, scene, looks, removes, removesGarbage, work };
}

function creating(
  what: string,
  scene: SceneKind,
  storePath?: string,
  special: Partial<CreateOptions> = {},
): Tried {
  const options = { clusterSizeBytes: CLUSTER_BYTES, storePath, ...special };
  const work = (context: TestContext) => create(context, 'd', options);
  return { what: `create ${what} (${scene})`, scene, looks: false, removes: [], creates: 'd', work };
}

function reading(name: string, scene: SceneKind): Tried {
  return { ...looking(`read ${name}`, scene, (context) => read(context, name)), reads: true };
}

function looking(what: string, scene: SceneKind, work: Tried['work']): Tried {
  return { what: `${what} (${scene})`, scene, looks: true, removes: [], work };
}

/** As snap-read -o does it. */
async function readIntoFile(context: TestContext, name: string): Promise<number> {
  const { host, signal } = context;
  const sink = await openFileSink(host.files, {
    path: OUTPUT,
    imagePath: IMAGE,
    sidecarPath: `${IMAGE}.snap`,
    like: { mode: 0o644 },
    randomBytes: (lengthBytes) => host.randomBytes(lengthBytes),
    signal,
  });
  const options = { offsetBytes: 0, allowModifiedOrigin: false, digest: false };
  try {
    const { bytes } = await readSnapshot(context, { image: IMAGE, name }, options, sink);
    await sink.finish();
    return bytes;
  } catch (error) {
    await quietly(() => sink.abort());
    throw error;
  }
}

/** Complete under its name, or not there at all. */
async function checkOutput(host: MemoryHost, error: unknown): Promise<void> {
  const there = (await host.files.list('/')).includes(OUTPUT.slice(1));
  assert.ok(there || error !== undefined, 'the file is missing');
  if (there)
    assert.ok((await contentOf(host, OUTPUT)).equals(await read(testContext(host), 'c')), 'half a file');
}

async function writeZeros(context: TestContext): Promise<void> {
  const options = { offsetBytes: zeros.offsetBytes, extend: false, delta: false, sync: true };
  const { failure } = await writeImage(context, IMAGE, options, zeroSource(zeros.data.length));
  if (failure !== undefined) throw failure;
}

const fresh = { offsetBytes: 7 * CLUSTER_BYTES + 5, data: noise(20, 2 * CLUSTER_BYTES) };
const long = { offsetBytes: 3 * CLUSTER_BYTES + 5, data: noise(23, 7 * CLUSTER_BYTES) };
const copied = { offsetBytes: 3 * CLUSTER_BYTES, data: noise(21, CLUSTER_BYTES + 50) };
const extending = { offsetBytes: IMAGE_BYTES + 5000, data: noise(22, 3 * CLUSTER_BYTES) };
const zeros = { offsetBytes: 6 * CLUSTER_BYTES + 9, data: Buffer.alloc(CLUSTER_BYTES) };

export const TRIED: readonly Tried[] = [
  creating('first', 'plain'),
  creating('first, elsewhere', 'plain', '/elsewhere.cow'),
  creating('later', 'invalidate'),
  creating('later, elsewhere', 'invalidate', '/elsewhere.cow'),
  creating('later', 'open'),
  creating('later', 'owned'),
  creating('later', 'spilled'),
  creating('after a clone', 'newest-cloned'),
  creating('a clone, first', 'plain', undefined, { clone: true }),
  creating('a clone', 'invalidate', undefined, { clone: true }),
  creating('transient', 'invalidate', undefined, { transient: true }),
  writing('plainly', 'plain', fresh),
  writing('plainly, longer', 'plain', extending, { extend: true }),
  writing('fresh', 'invalidate', fresh),
  writing('fresh', 'open', fresh),
  writing('fresh', 'owned', fresh),
  writing('fresh, without a flush', 'invalidate', fresh, { sync: false }),
  writing('in batches, flushed ahead', 'invalidate', long, { pace: SMALL_PACE }),
  writing('in batches, flushed ahead', 'refuse', long, { pace: SMALL_PACE }),
  writing('fresh', 'limited', fresh),
  writing('fresh', 'ended', fresh),
  writing('fresh', 'left', fresh),
  writing('over several files', 'spilled', fresh),
  writing('under a clone', 'newest-cloned', fresh),
  writing('after a clone', 'cloned', fresh),
  writing('unflushed', 'transient', fresh),
  writing('copied', 'invalidate', copied),
  writing('past the end', 'invalidate', extending, { extend: true }),
  writing('delta', 'refuse', fresh, { delta: true }),
  { ...writing('zeros', 'invalidate', zeros), work: writeZeros },
  reading('a', 'invalidate'),
  reading('b', 'open'),
  reading('c', 'invalidate'),
  reading('c', 'spilled'),
  reading('a', 'cloned'),
  looking('read a range of b', 'invalidate', (context) =>
    read(context, 'b', { offsetBytes: 5000, lengthBytes: 9000, digest: true }),
  ),
  looking('read the image', 'invalidate', (context) => read(context)),
  {
    ...looking('read c into a file', 'invalidate', (context) => readIntoFile(context, 'c')),
    reads: true,
    check: checkOutput,
  },
  looking('verify', 'invalidate', (context) => verifySnapshots(context, IMAGE, [])),
  looking('verify b', 'open', (context) => verifySnapshots(context, IMAGE, ['b'])),
  looking('digests', 'invalidate', (context) => digestSnapshots(context, IMAGE, [], () => undefined)),
  looking('compare', 'invalidate', (context) => compareWithOrigin(context, IMAGE, [])),
  looking('list', 'invalidate', (context) => listImage(context, IMAGE)),
  looking('list all', 'left', (context) =>
    listDirectory(context, '/', (error) => {
      throw error;
    }),
  ),
  collecting('oldest', 'invalidate', ['a'], { names: ['a'] }),
  collecting('middle', 'invalidate', ['b'], { names: ['b'] }),
  collecting('middle, flushed ahead', 'invalidate', ['b'], { names: ['b'], pace: SMALL_PACE }),
  collecting('newest', 'invalidate', ['c'], { names: ['c'] }),
  collecting('newest', 'open', ['c'], { names: ['c'] }),
  collecting('newest', 'spilled', ['c'], { names: ['c'] }),
  collecting('middle', 'spilled', ['b'], { names: ['b'] }),
  collecting('clone', 'cloned', ['b'], { names: ['b'] }),
  collecting('newest clone', 'newest-cloned', ['c'], { names: ['c'] }),
  collecting('by rule', 'invalidate', ['a', 'b'], { rules: { keepLast: 1 } }),
  collecting('by size', 'invalidate', ['a', 'b'], { maxTotalBytes: 30_000 }),
  collecting('what is invalid', 'ended', ['c'], {}),
  collecting('what was left', 'left', [], {}),
  collecting('dry', 'left', [], { rules: { keepLast: 1 }, dryRun: true }),
  {
    what: 'accept-origin (touched)',
    scene: 'touched',
    looks: false,
    removes: [],
    work: (context) => acceptOrigin(context, IMAGE, { dryRun: false }),
  },
];

/** What the image holds once an operation is done. */
export function imageAfter(scene: Scene, { written }: Tried): Buffer {
  if (written === undefined) return scene.image;
  const endBytes = written.offsetBytes + written.data.length;
  const after = Buffer.alloc(Math.max(scene.image.length, endBytes));
  scene.image.copy(after);
  written.data.copy(after, written.offsetBytes);
  return after;
}
