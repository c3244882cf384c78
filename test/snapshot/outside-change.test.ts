/** What must not be forgotten, or get in the way, once something wrote to the image past copy-on-write. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SnapError } from '../../core/base/errors.ts';
import { MemoryHost } from '../sim/memory-host.ts';
import type { OperationHook } from '../sim/session.ts';
import { testContext } from '../support/context.ts';
import { create, makeImage, noise, rawImage, read, withFile, write } from '../support/image.ts';

const CLUSTER_BYTES = 4096;

/** A machine with an image of noise, and a snapshot `a` of it. */
async function withSnapshot(sizeBytes: number): Promise<MemoryHost> {
  const host = new MemoryHost();
  await makeImage(host, noise(1, sizeBytes));
  await create(testContext(host), 'a', { clusterSizeBytes: CLUSTER_BYTES });
  return host;
}

/** Counts the operations of `work`, which is done on a machine of its own. */
async function operationCount(work: (hook: OperationHook) => Promise<unknown>): Promise<number> {
  let count = 0;
  await work(() => {
    count += 1;
  });
  return count;
}

test('a change from outside is remembered, wherever the command that found it dies and the machine boots', async () => {
  const attempt = async (hookOf: (host: MemoryHost) => OperationHook) => {
    const host = await withSnapshot(CLUSTER_BYTES);
    await withFile(host, 'update', (file) => file.write(noise(2, 100), 0));
    const session = host.session();
    session.files.onOperation = hookOf(session);
    await write(testContext(session), 0, noise(3, 1)).catch(() => undefined);
    return host;
  };
  const total = await operationCount((hook) => attempt(() => hook));
  for (let last = 0; last < total; last += 1) {
    const host = await attempt((session) => {
      let count = 0;
      return () => {
        count += 1;
        if (count > last) session.kill();
      };
    });
    host.reboot();
    await assert.rejects(read(testContext(host), 'a'), { code: 'modified' }, `killed at operation ${last}`);
  }
});

test('an image that was cut can be written to, and what is left of older snapshots is copied first', async () => {
  const sizeBytes = 3 * CLUSTER_BYTES + 100;
  const host = await withSnapshot(sizeBytes);
  const context = testContext(host);
  await write(context, sizeBytes, noise(2, 4 * CLUSTER_BYTES), { extend: true });
  await create(context, 'b');
  await withFile(host, 'update', (file) => file.truncate(sizeBytes));
  const { failure } = await write(context, 3 * CLUSTER_BYTES, noise(4, 50));
  assert.equal(failure, undefined);
  assert.deepEqual((await rawImage(host)).subarray(3 * CLUSTER_BYTES, 3 * CLUSTER_BYTES + 50), noise(4, 50));
  await assert.rejects(read(context, 'b'), { code: 'invalid' });
  assert.equal((await read(context, 'a', { allowModifiedOrigin: true })).length, sizeBytes);
});

test('a snapshot that was wholly copied stays valid, and one taken afterwards is trusted', async () => {
  const host = await withSnapshot(2 * CLUSTER_BYTES + 1);
  const frozen = await rawImage(host);
  const context = testContext(host);
  await write(context, 0, noise(2, frozen.length));
  await create(context, 'b');
  await write(context, 0, noise(3, 1));
  await withFile(host, 'update', (file) => file.write(noise(4, 10), 0));
  const changed = await rawImage(host);
  assert.deepEqual(await read(context, 'a'), frozen);
  await assert.rejects(read(context, 'b'), { code: 'modified' });
  assert.equal((await read(context, 'b', { allowModifiedOrigin: true })).length, frozen.length);
  await create(context, 'c');
  await write(context, 0, noise(5, frozen.length));
  assert.deepEqual(await read(context, 'c'), changed);
  assert.deepEqual(await read(context, 'a'), frozen);
  // Later writes do not make it trusted again.
  await assert.rejects(read(context, 'b'), (error: SnapError) => error.code === 'modified');
  assert.equal(context.warnings.filter(({ loss }) => loss).length, 1);
});
