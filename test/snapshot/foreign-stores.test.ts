/**
 * Every operation on a sidecar whose catalog, with a check that holds, names a file that is not ours as a store: a path
 * in a catalog proves nothing, the header does (invariant 9). What it names is neither written to nor removed.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hasCode, SnapError } from '../../core/base/errors.ts';
import { acceptOrigin } from '../../core/snapshot/accept-origin.ts';
import { collectSnapshots } from '../../core/snapshot/collect.ts';
import type { Context } from '../../core/snapshot/context.ts';
import { createSnapshot } from '../../core/snapshot/create.ts';
import { verifySnapshots } from '../../core/snapshot/verify.ts';
import { decodeCatalog, encodeCatalog } from '../../core/store/catalog-codec.ts';
import { contentOf, copyMachine, setContent } from '../damage/copy-machine.ts';
import { MemoryHost } from '../sim/memory-host.ts';
import { testContext } from '../support/context.ts';
import { create, IMAGE, makeImage, noise, read, write } from '../support/image.ts';

const SIDECAR = `${IMAGE}.snap`;
const CATALOG = `${SIDECAR}/catalog.json`;
const CLUSTER_BYTES = 4096;
const SEED = 1;

const OPERATIONS: Readonly<Record<string, (context: Context) => Promise<unknown>>> = {
  verify: (context) => verifySnapshots(context, IMAGE, []),
  read: (context) => read(context, 'one'),
  write: (context) => write(context, 0, noise(7, 3 * CLUSTER_BYTES)),
  create: (context) => create(context, 'new'),
  'remove one': (context) => collectSnapshots(context, IMAGE, { names: ['one'], dryRun: false }),
  'remove two': (context) => collectSnapshots(context, IMAGE, { names: ['two'], dryRun: false }),
  'remove both': (context) => collectSnapshots(context, IMAGE, { names: ['one', 'two'], dryRun: false }),
  collect: (context) => collectSnapshots(context, IMAGE, { rules: { keepLast: 1 }, dryRun: false }),
  'accept the origin': (context) => acceptOrigin(context, IMAGE, { dryRun: false }),
};

async function makeFile(host: MemoryHost, path: string, content: Buffer): Promise<void> {
  const file = await host.files.open(path, 'create', 0o640);
  await file.write(content, 0);
  await file.close();
}

/** An image with two snapshots, another image's snapshot, and a file that is somebody's. */
async function history(): Promise<MemoryHost> {
  const host = new MemoryHost(SEED);
  const context = testContext(host);
  await makeImage(host, noise(1, 3 * CLUSTER_BYTES));
  await create(context, 'one', { clusterSizeBytes: CLUSTER_BYTES });
  await write(context, 0, noise(2, 100));
  await create(context, 'two');
  await write(context, CLUSTER_BYTES, noise(3, 100));
  await makeFile(host, '/precious', noise(4, 3 * CLUSTER_BYTES));
  await makeFile(host, '/other.img', noise(5, 3 * CLUSTER_BYTES));
  const other = { onFull: 'invalidate', clusterSizeBytes: CLUSTER_BYTES, storePath: '/other.cow' } as const;
  await createSnapshot(context, { image: '/other.img', name: 'one' }, other);
  await makeFile(host, `${SIDECAR}/copy.cow`, await contentOf(host, '/other.cow'));
  host.files.makeLink('/precious', `${SIDECAR}/link.cow`);
  return host;
}

async function name(host: MemoryHost, snapshot: string, storePath: string): Promise<void> {
  const catalog = decodeCatalog(await contentOf(host, CATALOG), CATALOG);
  const snapshots = catalog.snapshots.map((each) => (each.name === snapshot ? { ...each, storePath } : each));
  await setContent(host, CATALOG, encodeCatalog({ ...catalog, snapshots }));
}

async function identity(host: MemoryHost, path: string): Promise<unknown> {
  const stat = await host.files.linkStat(path);
  return stat && { ...stat, content: await contentOf(host, path) };
}

/** Tries everything with `storePath` in the catalog; `path` is what must stay as it is. */
async function assertLeftAlone(storePath: string, path: string): Promise<void> {
  const whole = await history();
  for (const snapshot of ['one', 'two']) {
    for (const [what, operation] of Object.entries(OPERATIONS)) {
      // Links are lost in the copy: this one must be a second name again.
      const host = copyMachine(whole, SEED);
      await host.files.remove(`${SIDECAR}/link.cow`);
      host.files.makeLink('/precious', `${SIDECAR}/link.cow`);
      await name(host, snapshot, storePath);
      const before = await identity(host, path);
      // Also where repair is due, which writes to stores.
      if (what !== 'verify') host.reboot();
      await operation(testContext(host)).catch((error: unknown) => {
        if (!(error instanceof SnapError)) throw error;
      });
      assert.deepEqual(await identity(host, path), before, `${what}, as the store of ${snapshot}`);
    }
  }
}

for (const path of ['/precious', '/other.cow', '/other.img', IMAGE, `${SIDECAR}/state`]) {
  test(`a catalog that names ${path} as a store leaves it alone`, async () => {
    // What commands write there as image or state is not what they take for a store.
    const own = [IMAGE, `${SIDECAR}/state`].includes(path);
    if (!own) return assertLeftAlone(path, path);
    const host = copyMachine(await history(), SEED);
    await name(host, 'one', path);
    await collectSnapshots(testContext(host), IMAGE, { names: ['one'], dryRun: false });
    assert.equal((await host.files.linkStat(path))?.kind, 'file');
    assert.equal((await verifySnapshots(testContext(host), IMAGE, [])).damaged, false);
  });
}

test("a catalog that names another sidecar's store, put into this one, leaves it alone", () =>
  assertLeftAlone('copy.cow', `${SIDECAR}/copy.cow`));

test('a second name of a file in the sidecar may go, the file stays as it is', async () => {
  const bytes = noise(4, 3 * CLUSTER_BYTES);
  const whole = await history();
  for (const [what, operation] of Object.entries(OPERATIONS)) {
    const host = copyMachine(whole, SEED);
    await host.files.remove(`${SIDECAR}/link.cow`);
    host.files.makeLink('/precious', `${SIDECAR}/link.cow`);
    await name(host, 'two', 'link.cow');
    await operation(testContext(host)).catch((error: unknown) => {
      if (!(error instanceof SnapError)) throw error;
    });
    assert.ok((await contentOf(host, '/precious')).equals(bytes), what);
  }
});

test('a second name of a file in place of state is not made a state', async () => {
  const bytes = noise(4, 3 * CLUSTER_BYTES);
  const whole = await history();
  for (const [what, operation] of Object.entries(OPERATIONS)) {
    const host = copyMachine(whole, SEED);
    await host.files.remove(`${SIDECAR}/state`);
    host.files.makeLink('/precious', `${SIDECAR}/state`);
    const path = `${SIDECAR}/state`;
    await operation(testContext(host)).catch((error: unknown) => {
      assert.ok(hasCode(error, 'damage') && error.path === path, `${what}: ${error}`);
    });
    assert.ok((await contentOf(host, IMAGE)).equals(await contentOf(whole, IMAGE)), what);
    assert.ok((await contentOf(host, '/precious')).equals(bytes), what);
    assert.equal((await host.files.linkStat(path))?.kind, 'file');
  }
});

test('no file of the sidecar but a store can be named as one, and nothing that climbs', async () => {
  const whole = await history();
  for (const path of [
    'state',
    'catalog.json',
    'reserve',
    '../precious',
    '../other.cow',
    'a/b.cow',
    '..',
    'x\0.cow',
  ]) {
    const host = copyMachine(whole, SEED);
    await name(host, 'one', path);
    await assert.rejects(collectSnapshots(testContext(host), IMAGE, { names: ['one'], dryRun: false }), {
      code: 'damage',
      message: `${CATALOG}: the catalog is absurd (snapshots[0].store)`,
    });
  }
});
