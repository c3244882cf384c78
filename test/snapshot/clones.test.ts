/** Clones beside what else there is: other snapshots, limits, changes from outside, files that are not ours. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { collectSnapshots } from '../../core/snapshot/collect.ts';
import { verifySnapshots } from '../../core/snapshot/verify.ts';
import { KilledError } from '../sim/system-error.ts';
import { testContext } from '../support/context.ts';
import { create, IMAGE, limitOf, noise, withFile } from '../support/image.ts';
import { CLUSTER_BYTES, FROZEN, SmallMachine } from '../support/small-machine.ts';

test('no file is removed that stands where the clone would', async () => {
  const machine = await SmallMachine.make();
  const { files } = machine.host;
  await files.makeDirectory('/elsewhere', 0o755);
  await (await files.open('/elsewhere/s.clone', 'create')).close();
  const options = { clone: true, storePath: '/elsewhere/s.cow' };
  for (const name of ['first', 'second']) {
    await assert.rejects(machine.create(name, options), { code: 'exists' });
    assert.deepEqual(await files.list('/elsewhere'), ['s.clone']);
    if (name === 'first') await machine.create('other');
  }
});

test('a change from outside just before the clone is made is not taken for what older snapshots had', async () => {
  const machine = await SmallMachine.make();
  await machine.create('old');
  const session = machine.host.session(async ({ kind, path }) => {
    if (kind !== 'create' || !path.includes('.clone')) return;
    await withFile(machine.host, 'update', (file) => file.write(noise(9, CLUSTER_BYTES), 0));
  });
  await assert.rejects(create(testContext(session), 'clone', { clone: true }), { code: 'io' });
  await assert.rejects(machine.readsAs('old', FROZEN), { code: 'modified' });
  const left = await machine.host.files.list('/disk.img.snap');
  assert.equal(left.filter((name) => /cow|clone/.test(name)).length, 1, left.join(' '));
  await machine.create('clone', { clone: true });
});

test('a clone stays while the image is shorter than older snapshots', async () => {
  const machine = await SmallMachine.make();
  await machine.create('old');
  await machine.create('clone', { clone: true });
  await machine.write(2, 2);
  await machine.resizeOutside(10 * CLUSTER_BYTES);
  await machine.remove('clone');
  await machine.readsAs('old', FROZEN);
  await machine.create('new');
  await machine.write(3, 3);
  await machine.collect();
  await machine.readsAs('old', FROZEN);
  await machine.remove('old');
  await machine.collect();
  const names = async () => (await machine.records()).map(({ name }) => name);
  assert.deepEqual(await names(), ['new']);
});

test('one that hands over while the image becomes shorter stays, too', async () => {
  const machine = await SmallMachine.make();
  await machine.create('old');
  await machine.create('clone', { clone: true });
  await machine.write(2, 2);
  let isShorter = false;
  const session = machine.host.session(async ({ kind, to }) => {
    if (kind !== 'rename' || !to?.endsWith('catalog.json') || isShorter) return;
    isShorter = true;
    await machine.resizeOutside(10 * CLUSTER_BYTES);
  });
  await collectSnapshots(testContext(session), IMAGE, { names: ['clone'], dryRun: false });
  assert.ok(isShorter);
  await machine.readsAs('old', FROZEN);
  assert.deepEqual(
    (await machine.records()).map(({ name, hidden }) => `${name} ${hidden}`),
    ['old false', 'clone true'],
  );
  // As long again, the image has zeros there that no snapshot had.
  await machine.resizeOutside(FROZEN.length);
  await machine.collect();
  assert.equal((await machine.records()).length, 1);
  await machine.readsAs('old', FROZEN);
});

test('what is copied behind a clone counts against no limit of a snapshot that ends at it', async () => {
  const machine = await SmallMachine.make();
  await machine.create('old', { maxSizeBytes: limitOf(1, CLUSTER_BYTES) });
  await machine.create('clone', { clone: true });
  let commits = 0;
  // What it is compared with is there, and is left.
  const killed = machine.host.session(({ kind, path, to }) => {
    if (kind === 'rename' && to?.endsWith('catalog.json')) commits += 1;
    if (kind === 'read' && path.endsWith('.clone') && commits > 0) killed.kill();
  });
  const removal = collectSnapshots(testContext(killed), IMAGE, { names: ['clone'], dryRun: false });
  await assert.rejects(removal, KilledError);
  assert.equal((await machine.records()).length, 3);
  // As where it was read when it was to be removed.
  await machine.changeCatalog((catalog) => ({
    ...catalog,
    snapshots: catalog.snapshots.map((each) => (each.isClone ? { ...each, hidden: true } : each)),
  }));
  await machine.write(0, 2, 8);
  await machine.readsAs('old', FROZEN);
  await machine.collect();
  await machine.readsAs('old', FROZEN);
  assert.equal((await machine.records()).length, 1);
});

test('a store that is missing behind a clone harms no snapshot that ends at it', async () => {
  const machine = await SmallMachine.make();
  for (const name of ['old', 'clone', 'new', 'newest'])
    await machine.create(name, { clone: name === 'clone' });
  await machine.write(0, 2, 4);
  const [, , lost] = await machine.records();
  await machine.host.files.remove(`${IMAGE}.snap/${lost?.storePath}`);
  const { snapshots, damaged } = await verifySnapshots(machine.context(), IMAGE, []);
  assert.ok(damaged);
  assert.deepEqual(
    snapshots.map(({ name, ok }) => `${name} ${ok}`),
    ['old true', 'clone true', 'new false', 'newest true'],
  );
  await machine.readsAs('old', FROZEN);
  await machine.readsAs('clone', FROZEN);
  await machine.readsAs('newest', FROZEN);
  // It goes without it: nobody older needs what it had.
  await machine.remove('new');
  // What cannot be told counts as other: it is handed over from the clone.
  await machine.remove('clone');
  await machine.readsAs('old', FROZEN);
});

test('one behind which a store is missing is removed all the same', async () => {
  const machine = await SmallMachine.make();
  for (const name of ['old', 'clone', 'new', 'newest'])
    await machine.create(name, { clone: name === 'clone' });
  await machine.write(0, 2, 4);
  const [, , lost] = await machine.records();
  await machine.host.files.remove(`${IMAGE}.snap/${lost?.storePath}`);
  await machine.remove('clone');
  await machine.readsAs('old', FROZEN);
});
