/** Removing what was read to its end: of three snapshots each, beside another reader, under a name that was taken again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SnapError } from '../../core/base/errors.ts';
import { collectSnapshots } from '../../core/snapshot/collect.ts';
import { listImage } from '../../core/snapshot/list.ts';
import { readSnapshot } from '../../core/snapshot/read.ts';
import { removeDelivered } from '../../core/snapshot/then-delete.ts';
import { MemoryHost } from '../sim/memory-host.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { CollectingSink, create, IMAGE, makeImage, noise, rawImage, read, write } from '../support/image.ts';

const CLUSTER_BYTES = 4096;
const OPTIONS = { offsetBytes: 0, allowModifiedOrigin: false, digest: false };

async function makeScene(): Promise<{ host: MemoryHost; contents: Map<string, Buffer> }> {
  const host = new MemoryHost();
  await makeImage(host, noise(1, 6 * CLUSTER_BYTES));
  const contents = new Map<string, Buffer>();
  for (const [index, name] of ['a', 'b', 'c'].entries()) {
    contents.set(name, await rawImage(host));
    await create(testContext(host), name, { clusterSizeBytes: CLUSTER_BYTES });
    await write(testContext(host), index * CLUSTER_BYTES, noise(2 + index, 2 * CLUSTER_BYTES));
  }
  return { host, contents };
}

/** Reads a snapshot whole; what was read. `uuid` is told for what is to be removed. */
async function readWhole(context: TestContext, name: string, afterChunk?: () => Promise<void>) {
  const sink = new CollectingSink(afterChunk);
  const { uuid = '' } = await readSnapshot(context, { image: IMAGE, name }, OPTIONS, sink);
  return { name, uuid, bytes: sink.bytes() };
}

const names = async (context: TestContext) =>
  (await listImage(context, IMAGE)).snapshots.map(({ name }) => name);

test('the oldest, one in the middle, and the newest: the others read as before, and nothing is left', async () => {
  for (const name of ['a', 'b', 'c']) {
    const { host, contents } = await makeScene();
    const context = testContext(host);
    const delivered = await readWhole(context, name);
    assert.ok(delivered.bytes.equals(contents.get(name) ?? Buffer.alloc(0)));
    assert.ok((await removeDelivered(context, IMAGE, delivered)).bytesFreed > 0);
    contents.delete(name);
    assert.deepEqual(await names(context), [...contents.keys()]);
    for (const [left, bytes] of contents) assert.ok((await read(context, left)).equals(bytes), left);
    const files = await host.files.list(`${IMAGE}.snap`);
    assert.equal(files.filter((each) => each.endsWith('.cow')).length, 2);
    assert.deepEqual(context.warnings, []);
  }
});

test('two readers: the first that is done hides it, the last one removes it', async () => {
  const { host, contents } = await makeScene();
  const first = testContext(host.session());
  const last = testContext(host.session());
  const freed: number[] = [];
  const delivered = await readWhole(last, 'b', async () => {
    freed.push((await removeDelivered(first, IMAGE, await readWhole(first, 'b'))).bytesFreed);
  });
  assert.ok(delivered.bytes.equals(contents.get('b') ?? Buffer.alloc(0)));
  freed.push((await removeDelivered(last, IMAGE, delivered)).bytesFreed);
  assert.equal(freed[0], 0);
  assert.equal((await host.files.list(`${IMAGE}.snap`)).filter((each) => each.endsWith('.cow')).length, 2);
  assert.deepEqual(
    first.warnings.map(({ message }) => message),
    ['/disk.img@b: its name is free, its space is not yet: it is being read'],
  );
  assert.deepEqual(await names(last), ['a', 'c']);
  assert.ok((await read(last, 'a')).equals(contents.get('a') ?? Buffer.alloc(0)));
});

test('removed by somebody else meanwhile, and its name taken again: that one stays', async () => {
  const { host } = await makeScene();
  const context = testContext(host);
  const delivered = await readWhole(context, 'c');
  await collectSnapshots(context, IMAGE, { names: ['c'], dryRun: false });
  const present = await rawImage(host);
  await create(context, 'c');
  const { removed, bytesFreed } = await removeDelivered(context, IMAGE, delivered);
  assert.deepEqual([removed, bytesFreed], [[], 0]);
  assert.ok((await read(context, 'c')).equals(present));
});

test('a removal that fails says that all was delivered, and never that it is damaged; the snapshot stays', async () => {
  const { host, contents } = await makeScene();
  const context = testContext(host);
  const delivered = await readWhole(context, 'c');
  // What is handed over must be whole.
  const [store = ''] = (await host.files.list(`${IMAGE}.snap`)).filter((each) => each.startsWith('c-'));
  const file = await host.files.open(`${IMAGE}.snap/${store}`, 'update');
  const { sizeBytes } = await file.stat();
  await file.write(noise(9, CLUSTER_BYTES), sizeBytes - CLUSTER_BYTES);
  await file.close();
  await assert.rejects(removeDelivered(context, IMAGE, delivered), (error) => {
    assert.ok(error instanceof SnapError);
    assert.equal(error.code, 'io');
    assert.match(error.message, /^\/disk\.img@c: was delivered as a whole, but not removed: .* is damaged/);
    return true;
  });
  assert.deepEqual(await names(context), [...contents.keys()]);
});

test('interrupted after the delivery: it stays, and the interruption is what is told', async () => {
  const { host } = await makeScene();
  const context = testContext(host);
  const delivered = await readWhole(context, 'b');
  const stop = new AbortController();
  stop.abort();
  await assert.rejects(removeDelivered({ ...context, signal: stop.signal }, IMAGE, delivered), {
    code: 'interrupted',
  });
  assert.deepEqual(await names(context), ['a', 'b', 'c']);
});
