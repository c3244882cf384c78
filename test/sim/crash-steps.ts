/** What the crash simulator does to an image: one command a step, chosen by chance or given, and carried out on core. */
import { collectSnapshots } from '../../core/snapshot/collect.ts';
import { createSnapshot } from '../../core/snapshot/create.ts';
import { writeImage } from '../../core/snapshot/write.ts';
import { testContext } from '../support/context.ts';
import { sourceOf } from '../support/image.ts';
import { IMAGE, readAll } from './crash-check.ts';
import type { Random } from './crash-content.ts';
import type { Expectation } from './crash-expectation.ts';
import type { MemoryHost } from './memory-host.ts';

export type Step =
  | { readonly kind: 'create'; readonly name: string }
  | { readonly kind: 'write'; readonly offsetBytes: number; readonly data: Buffer; readonly sync: boolean }
  | { readonly kind: 'remove'; readonly name: string }
  | { readonly kind: 'collect' }
  | { readonly kind: 'read'; readonly name: string };

export const CLUSTER_BYTES = 4096;
/** Handed over under one lock: a cluster, so that most removals need several steps. */
const HAND_OVER_BYTES = CLUSTER_BYTES;

export function describe(step: Step): string {
  if (step.kind === 'write') {
    return `write ${step.data.length} bytes at ${step.offsetBytes}${step.sync ? '' : ' without flush'}`;
  }
  return step.kind === 'collect' ? 'collect' : `${step.kind} ${step.name}`;
}

/** What a random run does next; each snapshot has a name that was never used before. */
export function chooseStep(random: Random, expected: Expectation, newName: () => string): Step {
  const below = (limit: number) => random() % limit;
  const names = [...expected.snapshots.keys()];
  const name = names[below(Math.max(1, names.length))];
  const roll = below(100);
  if (roll < 25 || name === undefined) return { kind: 'create', name: newName() };
  if (roll < 40) return { kind: 'remove', name };
  if (roll < 45) return { kind: 'collect' };
  if (roll < 55) return { kind: 'read', name };
  const grows = below(6) === 0 ? CLUSTER_BYTES : 0;
  const offsetBytes = below(expected.image.length + grows + 1);
  const lengthBytes = 1 + below(below(2) === 0 ? 600 : 3 * CLUSTER_BYTES);
  const most = expected.image.length + grows - offsetBytes;
  const fill = below(4) === 0 ? 0 : random() & 0xff;
  const data = Buffer.alloc(Math.max(0, Math.min(lengthBytes, most)), fill);
  return { kind: 'write', offsetBytes, data, sync: below(4) > 0 };
}

/** @throws what the command fails with */
export async function executeStep(session: MemoryHost, step: Step): Promise<void> {
  const context = testContext(session);
  if (step.kind === 'create') {
    const options = { clusterSizeBytes: CLUSTER_BYTES, onFull: 'invalidate' } as const;
    await createSnapshot(context, { image: IMAGE, name: step.name }, options);
  } else if (step.kind === 'write') {
    const options = { offsetBytes: step.offsetBytes, extend: true, delta: false, sync: step.sync };
    const { failure } = await writeImage(context, IMAGE, options, sourceOf(step.data));
    if (failure !== undefined) throw failure;
  } else if (step.kind === 'read') {
    await readAll(session, step.name);
  } else {
    const names = step.kind === 'remove' ? [step.name] : undefined;
    await collectSnapshots(context, IMAGE, { names, dryRun: false, handOverBytes: HAND_OVER_BYTES });
  }
}
