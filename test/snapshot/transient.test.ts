/** Stores of transient snapshots after a power loss, when there may be anything in them: they stand in nobody's way. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { collectSnapshots } from '../../core/snapshot/collect.ts';
import { openSnapshot } from '../../core/snapshot/read.ts';
import { verifySnapshots } from '../../core/snapshot/verify.ts';
import { Volume } from '../../core/snapshot/volume.ts';
import { KilledError } from '../sim/system-error.ts';
import { testContext } from '../support/context.ts';
import { IMAGE, noise } from '../support/image.ts';
import { CLUSTER_BYTES, fileOf, SmallMachine } from '../support/small-machine.ts';

/** Runs `work`, and then loses the power; a store outlives that only if it was flushed in `work`. */
async function losePowerAfter(machine: SmallMachine, work: () => Promise<void>): Promise<void> {
  const flushed = new Set<string>();
  machine.host.files.onOperation = ({ kind, path }) => {
    if (kind === 'syncData') flushed.add(path);
  };
  await work();
  machine.host.files.onOperation = undefined;
  const paths = (await machine.records()).map(({ storePath }) =>
    storePath.startsWith('/') ? storePath : `${IMAGE}.snap/${storePath}`,
  );
  machine.host.reboot();
  for (const path of paths.filter((each) => !flushed.has(each))) {
    const file = await machine.host.files.open(path, 'update');
    await file.write(noise(7, 16 * CLUSTER_BYTES), CLUSTER_BYTES);
    await file.close();
  }
}

test('one that a nameless snapshot still reads through was flushed', async () => {
  const machine = await SmallMachine.make();
  await machine.create('kept');
  const reading = await Volume.open(machine.context(), IMAGE, 'look');
  await openSnapshot(reading, 'kept', { allowModifiedOrigin: false });
  await machine.create('transient', { transient: true });
  await machine.remove('kept');
  await losePowerAfter(machine, () => machine.write(0, 2, 4));
  await machine.write(5, 3);
  await machine.create('next');
});

test('a part that outlived its snapshot is not looked at where nobody reads through it', async () => {
  const machine = await SmallMachine.make();
  await machine.create('older', { transient: true });
  const spillPaths = ['/', '/', '/'];
  await machine.create('transient', { transient: true, spillPaths, maxStoreFileBytes: fileOf(1) });
  await losePowerAfter(machine, async () => {
    await machine.write(0, 2, 4);
    let commits = 0;
    const killed = machine.host.session(({ kind, to }) => {
      if (kind !== 'rename' || !to?.endsWith('catalog.json')) return;
      commits += 1;
      if (commits === 2) killed.kill();
    });
    const removal = collectSnapshots(testContext(killed), IMAGE, { names: ['transient'], dryRun: false });
    await assert.rejects(removal, KilledError);
    await machine.remove('older');
  });
  assert.deepEqual(
    (await machine.records()).map(({ part }) => part?.index),
    [1, 2, 3],
  );
  const { damaged, findings } = await verifySnapshots(machine.context(), IMAGE, []);
  assert.deepEqual({ damaged, findings }, { damaged: false, findings: [] });
  await machine.write(0, 3, 4);
  await machine.create('next');
  await machine.collect();
  assert.deepEqual(
    (await machine.records()).map(({ name }) => name),
    ['next'],
  );
});

test('a void one is removed by name though an older nameless one is void, too', async () => {
  const machine = await SmallMachine.make();
  await machine.create('older', { transient: true });
  const reading = await Volume.open(machine.context(), IMAGE, 'look');
  await openSnapshot(reading, 'older', { allowModifiedOrigin: false });
  await machine.create('newer', { transient: true });
  await machine.remove('older');
  await losePowerAfter(machine, () => machine.write(0, 2, 4));
  await machine.write(5, 3);
  await machine.create('next');
  await machine.remove('newer');
  await machine.collect();
  assert.deepEqual(
    (await machine.records()).map(({ name }) => name),
    ['next'],
  );
});
