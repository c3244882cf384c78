/** Snapshots whose copies spilled, in chains with ended snapshots in between. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { collectSnapshots } from '../../core/snapshot/collect.ts';
import { systemError } from '../sim/system-error.ts';
import { IMAGE, limitOf, noise, write } from '../support/image.ts';
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

test('places that cannot be looked at keep nothing else from being collected, and are remembered', async () => {
  const machine = await SmallMachine.make();
  const { files } = machine.host;
  await files.makeDirectory('/far', 0o755);
  const spilling = { spillPaths: ['/far', '/far'], maxStoreFileBytes: fileOf(1) };
  await machine.create('x', spilling);
  await machine.create('y', spilling);
  await machine.write(0, 2, 2);
  const parts = await files.list('/far');
  assert.equal(parts.length, 1);
  for (const code of ['ENOTDIR', 'EACCES', 'EIO']) {
    machine.host.files.onOperation = ({ kind, path }) => {
      if (/stat|linkStat|open|realPath/i.test(kind) && path.startsWith('/far/')) throw systemError(code);
    };
    await machine.collect();
    await collectSnapshots(machine.context(), IMAGE, { dryRun: true });
    if (code === 'ENOTDIR') await machine.remove('x');
    machine.host.files.onOperation = undefined;
  }
  const leftovers = async () => {
    let count: number | undefined;
    await machine.changeCatalog((catalog) => {
      count = catalog.leftovers?.length ?? 0;
      return catalog;
    });
    return count;
  };
  assert.equal(await leftovers(), 2);
  await machine.collect();
  assert.equal(await leftovers(), 0);
});

test('a full disk ends those without further places; whose places there are goes on in them', async () => {
  const machine = await SmallMachine.make();
  await machine.create('oldest');
  await machine.host.files.makeDirectory('/far', 0o755);
  await machine.create('spilling', { spillPaths: ['/far'] });
  await machine.write(0, 2);
  await machine.create('newest');
  machine.host.files.onOperation = ({ kind, path, offsetBytes = 0 }) => {
    const isSlot = path.includes('/newest-') && offsetBytes >= fileOf(0);
    if (kind === 'write' && isSlot) throw systemError('ENOSPC');
  };
  await machine.write(0, 3, 3);
  machine.host.files.onOperation = undefined;
  const trusts = (await machine.records()).map(({ name, trust, part }) => `${name} ${part ? 'part' : trust}`);
  assert.deepEqual(trusts, ['oldest valid', 'spilling valid', 'newest invalid', 'spilling part']);
  await machine.readsAs('oldest', FROZEN);
  await machine.readsAs('spilling', FROZEN);
  await machine.collect();
  await machine.readsAs('oldest', FROZEN);
  await machine.readsAs('spilling', FROZEN);
});

test('a newest one that refuses to end is kept, whatever places older ones have', async () => {
  const machine = await SmallMachine.make();
  await machine.create('spilling', { spillPaths: ['/'] });
  await machine.create('newest', { onFull: 'refuse', maxStoreFileBytes: fileOf(1) });
  await machine.write(0, 2);
  const { failure } = await write(machine.context(), CLUSTER_BYTES, noise(3, CLUSTER_BYTES));
  assert.equal(failure?.code, 'no-space');
  for (const name of ['spilling', 'newest']) await machine.readsAs(name, FROZEN);
});
