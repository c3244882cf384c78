/** As many snapshots as a catalog may have: whatever would add one more to it is refused, since nobody could read it then. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MAX_SNAPSHOT_COUNT, type SnapshotRecord } from '../../core/store/catalog.ts';
import { EMPTY_FIGURE } from '../../core/store/figure.ts';
import { MAX_CLUSTER_COUNT } from '../../core/store/layout.ts';
import { noise, write } from '../support/image.ts';
import { CLUSTER_BYTES, FROZEN, fileOf, SmallMachine } from '../support/small-machine.ts';

/** A machine with a snapshot that has ended, and room for numbers after it. */
async function makeMachine(): Promise<SmallMachine> {
  const machine = await SmallMachine.make();
  await machine.create('ended');
  await machine.changeCatalog((catalog) => ({
    ...catalog,
    nextNumber: 2 * MAX_SNAPSHOT_COUNT,
    snapshots: catalog.snapshots.map((record) => ({ ...record, trust: 'invalid' as const })),
  }));
  return machine;
}

/** Puts ended snapshots after the first one until there are as many as there can be. */
async function fillCatalog(machine: SmallMachine): Promise<void> {
  await machine.changeCatalog((catalog) => {
    const [first, ...others] = catalog.snapshots;
    assert.ok(first !== undefined);
    const count = MAX_SNAPSHOT_COUNT - catalog.snapshots.length;
    const ended = Array.from(
      { length: count },
      (_, at): SnapshotRecord => ({
        name: `n${at}`,
        uuid: `00000000-0000-4000-8000-${at.toString(16).padStart(12, '0')}`,
        number: first.number + 1 + at,
        created: first.created,
        sizeBytes: 0,
        trust: 'invalid',
        hidden: false,
        onFull: 'invalidate',
        storePath: `n${at}-00000000.cow`,
        sealed: EMPTY_FIGURE,
      }),
    );
    return { ...catalog, snapshots: [first, ...ended, ...others] };
  });
}

test('a part', async () => {
  const machine = await makeMachine();
  const options = { spillPaths: ['/'], maxStoreFileBytes: fileOf(1), onFull: 'refuse' as const };
  await machine.create('x', options);
  await fillCatalog(machine);
  const { failure } = await write(machine.context(), 0, noise(2, 4 * CLUSTER_BYTES));
  assert.equal(failure?.code, 'no-space');
  assert.equal((await machine.records()).length, MAX_SNAPSHOT_COUNT);
  await machine.readsAs('x', FROZEN);
});

test('what a clone is compared with while it is removed', async () => {
  const machine = await makeMachine();
  await machine.create('old');
  await machine.create('clone', { clone: true });
  await fillCatalog(machine);
  await machine.write(1, 2);
  await assert.rejects(machine.remove('clone'), { code: 'refused' });
  assert.equal((await machine.records()).length, MAX_SNAPSHOT_COUNT);
  await machine.readsAs('old', FROZEN);
});

test('an image that became too large for a snapshot: its clones are removed all the same', async () => {
  const machine = await SmallMachine.make();
  await machine.create('old');
  await machine.create('clone', { clone: true });
  await machine.write(1, 2);
  await machine.resizeOutside(CLUSTER_BYTES * MAX_CLUSTER_COUNT + 1);
  await machine.remove('clone');
  await machine.readsAs('old', FROZEN);
});
