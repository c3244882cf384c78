/** What went wrong once with long chains, with readers that changed too much, and with files that root made. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readSnapshot } from '../../core/snapshot/read.ts';
import type { Catalog } from '../../core/store/catalog.ts';
import { decodeCatalog } from '../../core/store/catalog-codec.ts';
import { decodeState } from '../../core/store/state.ts';
import { MemoryHost } from '../sim/memory-host.ts';
import { testContext } from '../support/context.ts';
import {
  CollectingSink,
  create,
  IMAGE,
  limitOf,
  makeImage,
  noise,
  read,
  withFile,
  write,
} from '../support/image.ts';

const SIDECAR = `${IMAGE}.snap`;
const CLUSTER_BYTES = 4096;

/** All bytes of the sidecar, by file. */
async function sidecarBytes(host: MemoryHost): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>();
  for (const name of await host.files.list(SIDECAR)) {
    const file = await host.files.open(`${SIDECAR}/${name}`, 'read');
    const bytes = Buffer.alloc((await file.stat()).sizeBytes);
    await file.read(bytes, 0);
    await file.close();
    files.set(name, bytes);
  }
  return files;
}

async function withSnapshot(): Promise<MemoryHost> {
  const host = new MemoryHost();
  await makeImage(host, noise(1, 8 * CLUSTER_BYTES));
  await create(testContext(host), 'a', { clusterSizeBytes: CLUSTER_BYTES });
  await write(testContext(host), 0, noise(2, CLUSTER_BYTES));
  return host;
}

function withoutDigests(bytes: Buffer | undefined): Catalog {
  const catalog = decodeCatalog(bytes ?? Buffer.alloc(0), 'catalog.json');
  return { ...catalog, snapshots: catalog.snapshots.map((record) => ({ ...record, digest: undefined })) };
}

test('a first complete read records the digest and changes nothing else; a second one changes nothing', async () => {
  const host = await withSnapshot();
  const before = await sidecarBytes(host);
  await read(testContext(host), 'a');
  const after = await sidecarBytes(host);
  assert.deepEqual([...after.keys()], [...before.keys()]);
  for (const [name, bytes] of after) {
    if (name === 'catalog.json') assert.deepEqual(withoutDigests(bytes), withoutDigests(before.get(name)));
    else if (name !== 'state') assert.ok(before.get(name)?.equals(bytes), name);
  }
  const [stateBefore, stateAfter] = [before, after].map((files) =>
    decodeState(files.get('state') ?? Buffer.alloc(0), 'state'),
  );
  assert.ok(stateBefore !== undefined && stateAfter !== undefined);
  // Its commit takes a number, as every change does.
  assert.deepEqual({ ...stateAfter, batch: 0 }, { ...stateBefore, batch: 0 });
  assert.match(String(after.get('catalog.json')), /"digest": "xxh64:/);
  await read(testContext(host), 'a');
  assert.deepEqual(await sidecarBytes(host), after);
});

test('where repair is due, a read changes nothing at all', async () => {
  for (const killedAt of ['.cow', '/state', IMAGE]) {
    const host = await withSnapshot();
    const session = host.session();
    let begun = false;
    session.files.onOperation = ({ kind, path }) => {
      begun ||= kind === 'write' && path.endsWith('.cow');
      if (begun && kind === 'write' && path.endsWith(killedAt)) session.kill();
    };
    await assert.rejects(write(testContext(session), CLUSTER_BYTES, noise(3, CLUSTER_BYTES)));
    const before = await sidecarBytes(host);
    assert.ok(decodeState(before.get('state') ?? Buffer.alloc(0), 'state')?.mark !== undefined);
    assert.ok((await read(testContext(host), 'a')).equals(noise(1, 8 * CLUSTER_BYTES)));
    assert.deepEqual(await sidecarBytes(host), before, killedAt);
  }
});

test('where the origin was changed outside, before or while it is read, a read changes nothing at all', async () => {
  const changed = await withSnapshot();
  await withFile(changed, 'update', (file) => file.write(noise(4, 10), 5 * CLUSTER_BYTES));
  const before = await sidecarBytes(changed);
  await assert.rejects(read(testContext(changed), 'a'), { code: 'modified' });
  await read(testContext(changed), 'a', { allowModifiedOrigin: true });
  assert.deepEqual(await sidecarBytes(changed), before);

  const host = await withSnapshot();
  const unchanged = await sidecarBytes(host);
  const sink = new CollectingSink(() =>
    withFile(host, 'update', (file) => file.write(noise(4, 10), 5 * CLUSTER_BYTES)),
  );
  const options = { offsetBytes: 0, allowModifiedOrigin: false, digest: false };
  const context = testContext(host);
  await readSnapshot(context, { image: IMAGE, name: 'a' }, options, sink);
  assert.deepEqual(await sidecarBytes(host), unchanged);
  assert.deepEqual(context.warnings, []);
  const later = testContext(host);
  await write(later, 0, noise(3, 10));
  assert.equal(later.warnings.filter(({ loss }) => loss).length, 1, 'whoever writes next tells of it');
});

test('more stores than are kept open at a time, all with limits: copying goes on', async () => {
  const host = new MemoryHost();
  const frozen = noise(1, 100 * CLUSTER_BYTES);
  await makeImage(host, frozen);
  const roomy = { clusterSizeBytes: CLUSTER_BYTES, maxSizeBytes: 9000 * CLUSTER_BYTES };
  await create(testContext(host), 'a', roomy);
  for (let count = 0; count < 70; count += 1) {
    await create(testContext(host), `s${count}`, { maxSizeBytes: limitOf(1, CLUSTER_BYTES) });
    // Two clusters are more than its limit: it ends, and what is copied later is on the account of `a`.
    assert.equal((await write(testContext(host), 0, noise(count + 5, 2 * CLUSTER_BYTES))).failure, undefined);
  }
  for (const at of [50, 60]) {
    const { failure } = await write(testContext(host), at * CLUSTER_BYTES, noise(2, CLUSTER_BYTES));
    assert.equal(failure, undefined);
  }
  assert.ok((await read(testContext(host), 'a')).equals(frozen));
});

test('the oldest of 300 snapshots is read right, with few files open at a time', async () => {
  const host = new MemoryHost();
  const frozen = noise(1, 30 * CLUSTER_BYTES);
  await makeImage(host, frozen);
  for (let count = 0; count < 300; count += 1) {
    await create(testContext(host), `s${count}`, { clusterSizeBytes: CLUSTER_BYTES });
    if (count % 10 === 0)
      await write(testContext(host), (count / 10) * CLUSTER_BYTES, noise(count + 2, CLUSTER_BYTES));
  }
  const session = host.session();
  let mostOpen = 0;
  session.files.onOperation = () => {
    mostOpen = Math.max(mostOpen, session.files.openCount);
  };
  assert.ok((await read(testContext(session), 's0')).equals(frozen));
  assert.ok(mostOpen <= 70, `${mostOpen} files open`);
  assert.equal(session.files.openCount, 0);
});

/** Root, who has the umask and the ownership of nobody else, commits twice. */
async function committedByRoot(): Promise<MemoryHost> {
  const host = new MemoryHost();
  await makeImage(host, noise(1, CLUSTER_BYTES));
  await host.files.setOwner(IMAGE, { userId: 1000, groupId: 1001 });
  await host.files.setPermissions(IMAGE, 0o660);
  await create(testContext(host), 'a', { clusterSizeBytes: CLUSTER_BYTES });
  await create(testContext(host), 'b');
  return host;
}

test("when root commits, catalog and stores keep the image's owner and mode", async () => {
  const host = await committedByRoot();
  for (const name of await host.files.list(SIDECAR)) {
    if (name === 'reserve') continue;
    const stat = await host.files.stat(`${SIDECAR}/${name}`);
    assert.deepEqual([stat?.userId, stat?.groupId, stat?.mode], [1000, 1001, 0o660], name);
  }
});

test("when root commits, the reserve keeps the image's owner", async () => {
  const host = await committedByRoot();
  const stat = await host.files.stat(`${SIDECAR}/reserve`);
  assert.deepEqual([stat?.userId, stat?.groupId], [1000, 1001]);
});
