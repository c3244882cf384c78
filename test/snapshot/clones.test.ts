/** Clones beside what else there is: other snapshots, limits, changes from outside, files that are not ours. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SmallMachine } from '../support/small-machine.ts';

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
