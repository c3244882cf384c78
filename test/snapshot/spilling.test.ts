/** Snapshots whose copies spilled, in chains with ended snapshots in between. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limitOf } from '../support/image.ts';
import { CLUSTER_BYTES, FROZEN, fileOf, SmallMachine } from '../support/small-machine.ts';

test('a part gets nothing that an ended snapshot between it and its own has', async () => {
  const machine = await SmallMachine.make();
  await machine.create('x', { spillPaths: ['/'] });
  await machine.create('y', { maxSizeBytes: limitOf(1, CLUSTER_BYTES), maxStoreFileBytes: fileOf(1) });
  await machine.write(0, 2);
  // Ends `y`, and has room only in a part of `x`.
  await machine.write(1, 3);
  const trusts = (await machine.records()).map(({ name, trust }) => `${name} ${trust}`);
  assert.deepEqual(trusts, ['x valid', 'y invalid', 'x invalid']);
  await machine.create('z');
  await machine.write(0, 4);
  await machine.remove('z');
  await machine.readsAs('x', FROZEN);
  await machine.collect();
  await machine.readsAs('x', FROZEN);
});
