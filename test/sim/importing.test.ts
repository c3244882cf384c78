/**
 * A snapshot that is made from a store of dm-snapshot is there as a whole, durably, or not at all: the power is lost
 * before every change that such a creation makes, into an image's first sidecar or into one that is there already.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { collectSnapshots } from '../../core/snapshot/collect.ts';
import { createSnapshot } from '../../core/snapshot/create.ts';
import { verifySnapshots } from '../../core/snapshot/verify.ts';
import { STATE } from '../../core/store/layout.ts';
import { decodeState, type State } from '../../core/store/state.ts';
import { makeStore, overlay } from '../dm/exception-store.ts';
import { testContext } from '../support/context.ts';
import { IMAGE } from './crash-check.ts';
import { newSnapshot } from './crash-expectation.ts';
import { type CrashScene, losePower, plainScene } from './crash-scene.ts';
import { CLUSTER_BYTES } from './crash-steps.ts';
import { CORNERS } from './crash-volume.ts';
import { MemoryFileSystem } from './memory-file-system.ts';
import { MemoryHost, mulberry32 } from './memory-host.ts';
import { isChange } from './session.ts';

const STORE = '/kernel.cow';
/** Two of the image's three clusters; one of them all zeros. */
const exceptions = [
  { old: 2, data: Buffer.alloc(CLUSTER_BYTES, 7) },
  { old: 0, data: Buffer.alloc(CLUSTER_BYTES) },
];

async function importInto({ volume, host, expected }: CrashScene): Promise<void> {
  const store = makeStore(CLUSTER_BYTES, exceptions);
  const file = await host.files.open(STORE, 'create', 0o600);
  await file.write(store, 0);
  await file.syncAll();
  await file.close();
  const frozen = overlay(expected.image, store, expected.image.length);
  expected.snapshots.set('imported', newSnapshot(frozen));
  let failure: unknown;
  let points = 0;
  const session = host.session(async (operation) => {
    if (failure !== undefined) throw failure;
    if (!isChange(operation)) return;
    points += 1;
    // Core must not take it for an error of the disk.
    await losePower(volume, expected, 3).catch((error: unknown) => {
      failure = new Error(`before ${operation.kind} of ${operation.path}: ${error}`, { cause: error });
      throw failure;
    });
  });
  const options = { importDmPath: STORE, onFull: 'refuse' } as const;
  await createSnapshot(testContext(session), { image: IMAGE, name: 'imported' }, options).catch(
    (error: unknown) => {
      throw failure ?? error;
    },
  );
  assert.ok(points > 15);
  expected.snapshots.set('imported', { ...newSnapshot(frozen), certain: true });
  await losePower(volume, expected, 30);
  // Nothing is left to be made up for: who only looks finds nothing, after a power loss too.
  for (let seed = 0; seed < 10; seed += 1) {
    const lost = new MemoryHost(seed, new MemoryFileSystem(volume.afterCrash(mulberry32(seed), CORNERS[0])));
    const { findings } = await verifySnapshots(testContext(lost), IMAGE, []);
    assert.deepEqual(findings, []);
    const state = await stateOf(lost);
    assert.equal(state.phase, 'closed');
    assert.deepEqual([state.figure.count, state.mark], [2, undefined]);
    assert.ok(state.batch >= state.figure.batch);
  }
}

async function stateOf(host: MemoryHost): Promise<State> {
  const file = await host.files.open(`${IMAGE}.snap/state`, 'read');
  const bytes = Buffer.alloc(STATE.sizeBytes);
  await file.read(bytes, 0);
  await file.close();
  return decodeState(bytes, 'state') ?? assert.fail('no state');
}

test('the first sidecar', async () => {
  await importInto(await plainScene());
});

test('a sidecar without a snapshot', async () => {
  const scene = await plainScene();
  const context = testContext(scene.host);
  const options = { clusterSizeBytes: CLUSTER_BYTES, onFull: 'refuse' } as const;
  await createSnapshot(context, { image: IMAGE, name: 'gone' }, options);
  await collectSnapshots(context, IMAGE, { names: ['gone'], dryRun: false });
  await importInto(scene);
});
