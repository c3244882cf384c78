/** What the crash simulator does to an image: one command a step, chosen by chance or given, and carried out on core. */

import type { ByteSource } from '../../core/io/byte-stream.ts';
import { collectSnapshots } from '../../core/snapshot/collect.ts';
import { createSnapshot } from '../../core/snapshot/create.ts';
import { writeImage } from '../../core/snapshot/write.ts';
import { PACE, type Pace } from '../../core/store/append.ts';
import { testContext } from '../support/context.ts';
import { candidatesBy, limitOf } from '../support/image.ts';
import { IMAGE, readAll, SPILL_DIRECTORY } from './crash-check.ts';
import type { Random } from './crash-content.ts';
import type { Expectation } from './crash-expectation.ts';
import type { MemoryHost } from './memory-host.ts';

export type Step =
  | {
      readonly kind: 'create';
      readonly name: string;
      readonly onFull?: 'invalidate' | 'refuse';
      readonly maxSizeBytes?: number | undefined;
      readonly transient?: boolean;
      readonly clone?: boolean;
      /** So many clusters a file takes, and then copying goes on in the next. */
      readonly clustersInFile?: number | undefined;
      /** A bit for each of the first clusters that is a candidate; all are where it is absent. */
      readonly candidates?: number | undefined;
    }
  | { readonly kind: 'write'; readonly offsetBytes: number; readonly data: Buffer; readonly sync: boolean }
  | { readonly kind: 'remove'; readonly name: string }
  | { readonly kind: 'collect' }
  /** Something else writes to the image, and flushes. */
  | { readonly kind: 'outside'; readonly offsetBytes: number; readonly data: Buffer }
  | { readonly kind: 'read'; readonly name: string };

export const CLUSTER_BYTES = 4096;
/** What stands before the slots of a store, for images of so few clusters. */
const STORE_TABLES_BYTES = 6 * 4096;
/** And of one with candidates. */
const CHOSEN_TABLES_BYTES = STORE_TABLES_BYTES + 2 * 4096;

/** What a snapshot of `image` reads as: zero where it is no candidate. */
export function frozenBy(step: Step & { readonly kind: 'create' }, image: Buffer): Buffer {
  const frozen = Buffer.from(image);
  for (let at = 0; at < frozen.length; at += CLUSTER_BYTES) {
    if (!isCandidate(step.candidates, at / CLUSTER_BYTES)) frozen.subarray(at, at + CLUSTER_BYTES).fill(0);
  }
  return frozen;
}

function isCandidate(mask: number | undefined, clusterIndex: number): boolean {
  return mask === undefined || ((mask >>> (clusterIndex % 16)) & 1) === 1;
}

export function describe(step: Step): string {
  if (step.kind === 'outside') return `write ${step.data.length} bytes at ${step.offsetBytes} from outside`;
  if (step.kind === 'create') {
    const { name, onFull, maxSizeBytes, candidates } = step;
    const limit = maxSizeBytes === undefined ? '' : ` at ${maxSizeBytes} bytes`;
    const policy = onFull === undefined ? '' : `, ${onFull}${limit}`;
    const chosen = candidates === undefined ? '' : `, candidates ${candidates.toString(2)}`;
    return `create ${name}${policy}${chosen}${manner(step)}`;
  }
  if (step.kind === 'write') {
    return `write ${step.data.length} bytes at ${step.offsetBytes}${step.sync ? '' : ' without flush'}`;
  }
  return step.kind === 'collect' ? 'collect' : `${step.kind} ${step.name}`;
}

function manner({ transient, clone, clustersInFile }: Step & { readonly kind: 'create' }): string {
  const files = clustersInFile === undefined ? '' : `, ${clustersInFile} clusters a file`;
  return `${transient ? ', transient' : ''}${clone ? ', clone' : ''}${files}`;
}

export interface Choices {
  /** A name that was never used before. */
  readonly newName: () => string;
  /** Snapshots have limits, and some refuse to end. */
  readonly limits: boolean;
  /** All is on disk, and the state says so: a change from outside must be noticed. */
  readonly mayChangeOutside: boolean;
}

/** What a random run does next. */
export function chooseStep(random: Random, expected: Expectation, choices: Choices): Step {
  const below = (limit: number) => random() % limit;
  const names = [...expected.snapshots.keys()];
  const name = names[below(Math.max(1, names.length))];
  const roll = below(100);
  if (roll < 25 || name === undefined) {
    const name = choices.newName();
    if (below(5) === 0) return { kind: 'create', name, clone: true };
    const clustersInFile = below(4) === 0 ? 1 + below(3) : undefined;
    const transient = below(5) === 0;
    const candidates = below(3) === 0 ? below(1 << 16) : undefined;
    const step = { kind: 'create', name, transient, clustersInFile, candidates } as const;
    if (!choices.limits) return step;
    // One that refuses has no limit: a write that is refused would tell nothing.
    if (below(3) === 0) return { ...step, onFull: 'refuse' };
    const clusters = 1 + below(4);
    const maxSizeBytes = clusters < 4 ? limitOf(clusters, CLUSTER_BYTES) : undefined;
    return { ...step, onFull: 'invalidate', maxSizeBytes };
  }
  if (roll < 40) return { kind: 'remove', name };
  if (roll < 45) return { kind: 'collect' };
  if (roll < 55) return { kind: 'read', name };
  if (roll < 60 && choices.mayChangeOutside) {
    const data = Buffer.alloc(1 + below(2 * CLUSTER_BYTES), random() & 0xff);
    const offsetBytes = below(expected.image.length);
    return { kind: 'outside', offsetBytes, data: data.subarray(0, expected.image.length - offsetBytes) };
  }
  const grows = below(6) === 0 ? CLUSTER_BYTES : 0;
  const offsetBytes = below(expected.image.length + grows + 1);
  const lengthBytes = 1 + below(below(2) === 0 ? 600 : 3 * CLUSTER_BYTES);
  const most = expected.image.length + grows - offsetBytes;
  const fill = below(4) === 0 ? 0 : random() & 0xff;
  const data = Buffer.alloc(Math.max(0, Math.min(lengthBytes, most)), fill);
  return { kind: 'write', offsetBytes, data, sync: below(4) > 0 };
}

/** How a command is carried out. */
export interface Manner {
  /** A cluster at one taking of the lock, so that a write has several batches and a removal several steps. */
  readonly inSmallSteps: boolean;
  /** Called by a write between two batches, when that many bytes of its data have been written. */
  readonly between: (doneBytes: number) => Promise<void>;
}

/**
 * Where nothing is small, a batch has many clusters, which are copied run by run and flushed ahead, and all that is handed
 * over is one step, since nobody waits for the lock.
 */
function paceOf(inSmallSteps: boolean, flushesAhead: boolean): Pace {
  if (inSmallSteps) return { ...PACE, batchBytes: CLUSTER_BYTES, aloneBytes: CLUSTER_BYTES };
  return flushesAhead ? { ...PACE, flushAheadBytes: CLUSTER_BYTES } : PACE;
}

/** @throws what the command fails with */
export async function executeStep(
  session: MemoryHost,
  step: Step,
  { inSmallSteps, between }: Manner,
): Promise<void> {
  const context = testContext(session);
  if (step.kind === 'create') {
    const {
      name,
      onFull = 'invalidate',
      maxSizeBytes,
      transient = false,
      clone = false,
      clustersInFile,
    } = step;
    const candidates =
      step.candidates === undefined
        ? undefined
        : candidatesBy((index) => isCandidate(step.candidates, index));
    const options = { clusterSizeBytes: CLUSTER_BYTES, onFull, maxSizeBytes, transient, clone, candidates };
    const tablesBytes = candidates === undefined ? STORE_TABLES_BYTES : CHOSEN_TABLES_BYTES;
    // More files than any of these images has clusters, so that no snapshot ends for want of them.
    const spilling = clustersInFile && {
      spillPaths: Array.from({ length: 20 }, () => SPILL_DIRECTORY),
      maxStoreFileBytes: tablesBytes + clustersInFile * CLUSTER_BYTES,
    };
    await createSnapshot(context, { image: IMAGE, name }, { ...options, ...spilling });
  } else if (step.kind === 'outside') {
    const file = await session.files.open(IMAGE, 'update');
    await file.write(step.data, step.offsetBytes);
    await file.syncAll();
    await file.close();
  } else if (step.kind === 'write') {
    const options = { offsetBytes: step.offsetBytes, extend: true, delta: false, sync: step.sync };
    const pace = paceOf(inSmallSteps, step.data.length % 2 === 0);
    const { source, progress } = pausingSource(step.data, between);
    const { failure } = await writeImage({ ...context, progress }, IMAGE, { ...options, pace }, source);
    if (failure !== undefined) throw failure;
  } else if (step.kind === 'read') {
    await readAll(session, step.name);
  } else {
    const names = step.kind === 'remove' ? [step.name] : undefined;
    await collectSnapshots(context, IMAGE, { names, dryRun: false, pace: paceOf(inSmallSteps, true) });
  }
}

/** Gives more only when all that was given before has been written, however early it is asked for. */
function pausingSource(
  data: Buffer,
  between: Manner['between'],
): { readonly source: ByteSource; readonly progress: (doneBytes: number) => void } {
  let at = 0;
  let written: () => void = () => undefined;
  const read = async (target: Buffer) => {
    if (at > 0 && at < data.length) {
      await new Promise<void>((resolve) => {
        written = resolve;
      });
      await between(at);
    }
    const got = data.copy(target, 0, at);
    at += got;
    return got;
  };
  return { source: { read }, progress: () => written() };
}
