/** Snapshots with different policies and different needs, and a disk that is full at a chosen call of a write. */
import assert from 'node:assert/strict';
import { hasCode } from '../../core/base/errors.ts';
import { listImage } from '../../core/snapshot/list.ts';
import { verifySnapshots } from '../../core/snapshot/verify.ts';
import { copyMachine } from '../damage/copy-machine.ts';
import { MemoryHost } from '../sim/memory-host.ts';
import type { Operation, OperationKind } from '../sim/session.ts';
import { systemError } from '../sim/system-error.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { create, IMAGE, makeImage, noise, rawImage, read, write } from '../support/image.ts';

const SEED = 5;
const CLUSTER_BYTES = 4096;
const COUNT = 8;
/** What is written in the end: two clusters. */
const WRITTEN = { offsetBytes: 2 * CLUSTER_BYTES, data: noise(40, 2 * CLUSTER_BYTES) };

type Policy = 'invalidate' | 'refuse';

export interface Kept {
  readonly name: string;
  readonly onFull: Policy;
  /** Has what will be written already, in its own store or a newer one: it can neither end nor refuse. */
  readonly complete: boolean;
  readonly frozen: Buffer;
}

export interface FullScene {
  readonly what: string;
  readonly host: MemoryHost;
  readonly kept: readonly Kept[];
  readonly image: Buffer;
}

/** Oldest first: each snapshot's policy, and whether it copies what will be written before the next is taken. */
export type Plan = readonly (readonly [onFull: Policy, copies: boolean])[];

export async function makeFullScene(plan: Plan): Promise<FullScene> {
  const host = new MemoryHost(SEED);
  await makeImage(host, noise(1, COUNT * CLUSTER_BYTES));
  const lastCopy = plan.findLastIndex(([, copies]) => copies);
  const kept: Kept[] = [];
  for (const [index, [onFull, copies]] of plan.entries()) {
    const name = 'abc'.charAt(index);
    kept.push({ name, onFull, complete: index <= lastCopy, frozen: await rawImage(host) });
    await create(testContext(host), name, { clusterSizeBytes: CLUSTER_BYTES, onFull });
    const offsetBytes = copies ? WRITTEN.offsetBytes : 0;
    const { failure } = await write(testContext(host), offsetBytes, noise(50 + index, 2 * CLUSTER_BYTES));
    if (failure !== undefined) throw failure;
  }
  const what = plan.map(([onFull, copies]) => `${onFull}${copies ? ' with a copy' : ''}`).join(', ');
  return { what, host, kept, image: await rawImage(host) };
}

const TAKES_SPACE: readonly OperationKind[] = [
  'create',
  'write',
  'truncate',
  'syncData',
  'syncAll',
  'syncDirectory',
];

/** `at` is a call, counted over those that may take space; `freePages` is what the disk has left. */
export type Full =
  | { readonly at: number; readonly errno: string; readonly stays: boolean }
  | { readonly freePages: number };

interface Written {
  readonly error: unknown;
  readonly context: TestContext;
  /** Those that may take space. */
  readonly calls: readonly Operation[];
}

/** Writes, meeting the full disk where it is said, if anywhere. */
export async function writeWhileFull(host: MemoryHost, full?: Full): Promise<Written> {
  const calls: Operation[] = [];
  const session = host.session((operation) => {
    if (!TAKES_SPACE.includes(operation.kind)) return;
    calls.push(operation);
    if (full === undefined || 'freePages' in full || calls.length - 1 < full.at) return;
    if (full.stays || calls.length - 1 === full.at) throw systemError(full.errno);
  });
  const { budget } = host.files.volume;
  if (full !== undefined && 'freePages' in full) budget.limitPages = budget.usedPages + full.freePages;
  const context = testContext(session);
  const { failure } = await write(context, WRITTEN.offsetBytes, WRITTEN.data).catch((error: unknown) => ({
    failure: error,
  }));
  session.kill();
  budget.limitPages = undefined;
  return { error: failure, context, calls };
}

export function copyFull(scene: FullScene): MemoryHost {
  return copyMachine(scene.host, SEED);
}

/** `full` is what was met; the contract of --on-full holds. */
export async function checkContract(scene: FullScene, full: Full): Promise<'written' | 'refused'> {
  const host = copyFull(scene);
  const { error, context } = await writeWhileFull(host, full);
  const found = await rawImage(host);
  const after = Buffer.from(scene.image);
  WRITTEN.data.copy(after, WRITTEN.offsetBytes);
  if (error === undefined) assert.ok(found.equals(after), 'acknowledged and not written');
  else assert.ok(hasCode(error, 'no-space'), String(error));
  const touched = !found.equals(scene.image);
  const lacking = scene.kept.filter(({ complete }) => !complete);
  const ended: string[] = [];
  for (const { name, frozen } of scene.kept) {
    const bytes = await read(testContext(host), name).catch((failure: unknown) => {
      if (!hasCode(failure, 'invalid')) throw failure;
      ended.push(name);
      return undefined;
    });
    if (bytes !== undefined) assert.ok(bytes.equals(frozen), `${name} reads wrong`);
  }
  for (const { name, complete } of scene.kept) {
    if (complete) assert.ok(!ended.includes(name), `${name} had everything and ended`);
  }
  // One that refuses protects all.
  if (lacking.some(({ onFull }) => onFull === 'refuse'))
    assert.deepEqual(ended, [], 'one refuses, and some ended');
  if (ended.length > 0)
    assert.deepEqual(
      ended,
      lacking.map(({ name }) => name),
      'some ended, and others not',
    );
  const losses = context.warnings.filter(({ loss }) => loss).map(({ message }) => message);
  for (const name of ended)
    assert.ok(
      losses.some((message) => message.includes(`@${name}: ended`)),
      'not told',
    );
  assert.equal(losses.length, ended.length, 'told of what is not so');
  const { findings } = await verifySnapshots(testContext(host), IMAGE, []);
  assert.deepEqual(
    findings.filter(({ kind }) => kind !== 'invalid'),
    [],
  );
  await checkNext(host, scene, ended, after);
  return touched ? 'written' : 'refused';
}

/** There is room again: the same write works, and nobody else ends. */
async function checkNext(
  host: MemoryHost,
  scene: FullScene,
  ended: readonly string[],
  after: Buffer,
): Promise<void> {
  const { error, context } = await writeWhileFull(host);
  if (error !== undefined) throw error;
  assert.deepEqual(context.warnings, []);
  assert.ok((await rawImage(host)).equals(after), 'the image in the end');
  for (const { name, frozen } of scene.kept) {
    if (!ended.includes(name))
      assert.ok((await read(testContext(host), name)).equals(frozen), `${name} reads wrong`);
  }
  const { snapshots } = await listImage(testContext(host), IMAGE);
  const invalid = snapshots.filter(({ state }) => state === 'invalid').map(({ name }) => name);
  assert.deepEqual(invalid, ended);
}
