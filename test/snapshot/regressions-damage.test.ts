/** What went wrong once with files that are damaged, foreign, newer or elsewhere: told, survived, and left alone. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { xxh64 } from '../../core/base/xxh64.ts';
import { createSnapshot } from '../../core/snapshot/create.ts';
import { listImage } from '../../core/snapshot/list.ts';
import { verifySnapshots } from '../../core/snapshot/verify.ts';
import { writeImage } from '../../core/snapshot/write.ts';
import { PACE } from '../../core/store/append.ts';
import { ENTRY, regions, STORE_HEADER } from '../../core/store/layout.ts';
import { decodeStoreHeader, encodeStoreHeader } from '../../core/store/store-header.ts';
import { openFileSink } from '../../core/stream/file-sink.ts';
import { MemoryHost } from '../sim/memory-host.ts';
import { testContext } from '../support/context.ts';
import {
  create,
  IMAGE,
  makeImage,
  noise,
  rawImage,
  read,
  sourceOf,
  withFile,
  write,
} from '../support/image.ts';

const SIDECAR = `${IMAGE}.snap`;
const CLUSTER_BYTES = 4096;

async function overwrite(host: MemoryHost, path: string, bytes: Buffer, offsetBytes: number): Promise<void> {
  const file = await host.files.open(path, 'update');
  await file.write(bytes, offsetBytes);
  await file.close();
}

async function copyDirectory(host: MemoryHost, from: string, to: string): Promise<void> {
  await host.files.makeDirectory(to, 0o755);
  for (const name of await host.files.list(from)) {
    const file = await host.files.open(`${from}/${name}`, 'read');
    const bytes = Buffer.alloc((await file.stat()).sizeBytes);
    await file.read(bytes, 0);
    await file.close();
    const copy = await host.files.open(`${to}/${name}`, 'create');
    await copy.write(bytes, 0);
    await copy.close();
  }
}

async function storeOf(host: MemoryHost, name: string): Promise<string> {
  const found = (await host.files.list(SIDECAR)).find((each) => each.startsWith(`${name}-`));
  assert.ok(found !== undefined, `no store of ${name}`);
  return `${SIDECAR}/${found}`;
}

async function imageWithSnapshot(sizeBytes: number): Promise<MemoryHost> {
  const host = new MemoryHost();
  await makeImage(host, noise(1, sizeBytes));
  await create(testContext(host), 'a', { clusterSizeBytes: CLUSTER_BYTES });
  return host;
}

/** Writes to a cluster whose place in the table was overwritten from `firstCluster` on; cluster 0 was copied before. */
async function writeOverGarbage(firstCluster: number) {
  const sizeBytes = 256 * CLUSTER_BYTES;
  const host = await imageWithSnapshot(sizeBytes);
  await write(testContext(host), 0, noise(2, CLUSTER_BYTES));
  const { tableOffsetBytes } = regions({ sizeBytes, clusterSizeBytes: CLUSTER_BYTES });
  const offsetBytes = tableOffsetBytes + firstCluster * ENTRY.sizeBytes;
  await overwrite(host, await storeOf(host, 'a'), noise(7, 4096), offsetBytes);
  const before = await rawImage(host);
  const session = host.session();
  let operations = 0;
  session.files.onOperation = () => {
    operations += 1;
    assert.ok(operations < 5000, 'it does not end');
  };
  const { failure, summary } = await write(
    testContext(session),
    (firstCluster + 8) * CLUSTER_BYTES,
    noise(3, CLUSTER_BYTES),
  );
  return { host, before, failure, summary };
}

test('a page of garbage in the table, over what was copied too: the write is refused, and ends', async () => {
  const { host, before, failure, summary } = await writeOverGarbage(0);
  assert.equal(failure?.code, 'damage');
  assert.equal(summary.bytesWritten, 0);
  assert.ok((await rawImage(host)).equals(before));
});

test('garbage in the table where nothing was copied is cleared, and the snapshot stays right', async () => {
  const { host, failure } = await writeOverGarbage(128);
  assert.equal(failure, undefined);
  assert.ok((await read(testContext(host), 'a')).equals(noise(1, 256 * CLUSTER_BYTES)));
});

test('verification blames no snapshot that does not cover the damaged cluster', async () => {
  const host = await imageWithSnapshot(4 * CLUSTER_BYTES);
  const grownBytes = 1000 * CLUSTER_BYTES;
  await write(testContext(host), 0, noise(3, grownBytes), { extend: true });
  await create(testContext(host), 'b');
  await write(testContext(host), 900 * CLUSTER_BYTES, noise(4, CLUSTER_BYTES));
  const { dataOffsetBytes } = regions({ sizeBytes: grownBytes, clusterSizeBytes: CLUSTER_BYTES });
  await overwrite(host, await storeOf(host, 'b'), Buffer.from('x'), dataOffsetBytes);
  const { damaged, snapshots, findings } = await verifySnapshots(testContext(host), IMAGE, []);
  assert.equal(damaged, true);
  assert.deepEqual(
    snapshots.map(({ name, ok }) => [name, ok]),
    [
      ['a', true],
      ['b', false],
    ],
  );
  assert.deepEqual(
    findings.map(({ name, clusterIndex }) => [name, clusterIndex]),
    [['b', 900]],
  );
});

/** A header of ours with a feature word set, and its check made right. */
async function headerWithFeature(field: { readonly at: number }): Promise<Buffer> {
  const bytes = encodeStoreHeader({
    sidecarUuid: '00000000-0000-4000-8000-000000000001',
    storeUuid: '00000000-0000-4000-8000-000000000002',
    snapshotNumber: 1,
    sizeBytes: 4096,
    clusterSizeBytes: CLUSTER_BYTES,
  });
  bytes.writeUInt32LE(1, field.at);
  const checkAt = STORE_HEADER.fields.check.at;
  bytes.writeBigUInt64LE(xxh64(bytes.subarray(0, checkAt)), checkAt);
  return bytes;
}

test('a store with a compatible feature is opened, one with an incompatible is of a newer version', async () => {
  const { compatibleFeatures, incompatibleFeatures } = STORE_HEADER.fields;
  assert.equal(decodeStoreHeader(await headerWithFeature(compatibleFeatures), 'x').snapshotNumber, 1);
  const newer = await headerWithFeature(incompatibleFeatures);
  assert.throws(() => decodeStoreHeader(newer, 'x'), { code: 'newer-version' });
});

test('a first creation that fails removes no file that it did not make', async () => {
  const host = new MemoryHost();
  await makeImage(host, noise(1, CLUSTER_BYTES));
  await host.files.makeDirectory('/spare', 0o755);
  const session = host.session();
  session.files.onOperation = async ({ kind }) => {
    // Somebody makes a file of that name after it was looked for.
    if (kind !== 'makeDirectory') return;
    const file = await host.files.open('/spare/x.cow', 'create');
    await file.write(Buffer.from('precious'), 0);
    await file.close();
  };
  const options = { onFull: 'invalidate', storePath: '/spare/x.cow' } as const;
  const creating = createSnapshot(testContext(session), { image: IMAGE, name: 'a' }, options);
  await assert.rejects(creating, { code: 'exists' });
  assert.deepEqual(await host.files.list('/spare'), ['x.cow']);
  assert.equal((await host.files.stat('/spare/x.cow'))?.sizeBytes, 8);
  assert.deepEqual(await host.files.list('/'), ['disk.img', 'spare']);
});

test('the link to the sidecar led elsewhere under a running writer: it stops before its next batch', async () => {
  const { batchBytes } = PACE;
  const host = await imageWithSnapshot(3 * batchBytes);
  await host.files.rename(SIDECAR, '/one');
  host.files.makeSymlink('/one', SIDECAR);
  const before = await rawImage(host);
  const source = sourceOf(noise(2, 3 * batchBytes), 1 << 20);
  let given = 0;
  const slow = {
    read: async (target: Buffer) => {
      if (given === batchBytes) {
        // This is asked for while the first batch is written: until that is done and the lock is free.
        while ((await rawImage(host)).subarray(0, batchBytes).equals(before.subarray(0, batchBytes)))
          await host.sleep(1);
        await listImage(testContext(host.session()), IMAGE);
        await copyDirectory(host, '/one', '/two');
        await host.files.remove(SIDECAR);
        host.files.makeSymlink('/two', SIDECAR);
      }
      const got = await source.read(target);
      given += got;
      return got;
    },
  };
  const options = { offsetBytes: 0, extend: false, delta: false, sync: true };
  const { failure, summary } = await writeImage(testContext(host), IMAGE, options, slow);
  assert.equal(failure?.code, 'io');
  assert.match(failure?.message ?? '', /moved or replaced/);
  assert.equal(summary.bytesWritten, batchBytes);
  assert.ok((await rawImage(host)).subarray(batchBytes).equals(before.subarray(batchBytes)));
  assert.ok((await read(testContext(host), 'a')).equals(before));
});

test('a sidecar on a file system where locks may not hold is refused', async () => {
  const host = await imageWithSnapshot(4 * CLUSTER_BYTES);
  await host.files.makeDirectory('/nfs', 0o755);
  await host.files.rename(SIDECAR, '/nfs/sidecar');
  host.files.makeSymlink('/nfs/sidecar', SIDECAR);
  host.files.isCoherent = async (path) => !path.startsWith('/nfs');
  const { failure, summary } = await write(testContext(host), 0, noise(2, 10));
  assert.equal(failure?.code, 'refused');
  assert.equal(summary.bytesWritten, 0);
  await assert.rejects(read(testContext(host), 'a'), { code: 'refused' });
  const frozen = await read(testContext(host, { anyFileSystem: true }), 'a');
  assert.ok(frozen.equals(noise(1, 4 * CLUSTER_BYTES)));
});

test('a result is never written over a store, wherever that stands', async () => {
  const host = new MemoryHost();
  await makeImage(host, noise(1, CLUSTER_BYTES));
  await host.files.makeDirectory('/spare', 0o755);
  const options = { onFull: 'invalidate', storePath: '/spare/a.cow' } as const;
  const context = testContext(host);
  await createSnapshot(context, { image: IMAGE, name: 'a' }, options);
  const opening = openFileSink(host.files, {
    path: '/spare/a.cow',
    imagePath: IMAGE,
    sidecarPath: SIDECAR,
    like: { mode: 0o600 },
    randomBytes: (lengthBytes) => host.randomBytes(lengthBytes),
    signal: context.signal,
  });
  await assert.rejects(opening, { code: 'refused' });
  assert.deepEqual(await host.files.list('/spare'), ['a.cow']);
});

test('an image that was cut can still be written to', async () => {
  for (const leftBytes of [0, 1, 2 * CLUSTER_BYTES + 5]) {
    const host = await imageWithSnapshot(8 * CLUSTER_BYTES);
    await write(testContext(host), CLUSTER_BYTES, noise(2, 10));
    await withFile(host, 'update', (file) => file.truncate(leftBytes));
    const data = noise(3, 8 * CLUSTER_BYTES);
    const { failure } = await write(testContext(host), 0, data, { extend: true });
    assert.equal(failure, undefined, `cut to ${leftBytes}`);
    assert.ok((await rawImage(host)).equals(data));
    await assert.rejects(read(testContext(host), 'a'), { code: 'invalid' });
  }
});

test('an image that was cut inside a cluster that a newer snapshot covered whole can still be written to', async () => {
  const sizeBytes = 3 * CLUSTER_BYTES + 100;
  const host = await imageWithSnapshot(sizeBytes);
  await write(testContext(host), sizeBytes, noise(2, 4 * CLUSTER_BYTES), { extend: true });
  await create(testContext(host), 'b');
  await withFile(host, 'update', (file) => file.truncate(sizeBytes));
  const before = await rawImage(host);
  const { failure } = await write(testContext(host), 3 * CLUSTER_BYTES, noise(4, 50));
  assert.equal(failure, undefined);
  await assert.rejects(read(testContext(host), 'b'), { code: 'invalid' });
  // It was touched outside, so it is marked; what it reads as is right all the same.
  assert.ok((await read(testContext(host), 'a', { allowModifiedOrigin: true })).equals(before));
});

/**
 * Two snapshots; the older one has its own copy of what the newer one's last batch copied. Then `state` is unreadable,
 * as after a power loss, and one entry of that last batch is damaged. The bitmap, which counts, still has its bit.
 */
async function stateLostAndEntryDamaged() {
  const sizeBytes = 8 * CLUSTER_BYTES;
  const host = await imageWithSnapshot(sizeBytes);
  const frozen = await rawImage(host);
  await write(testContext(host), CLUSTER_BYTES, noise(2, CLUSTER_BYTES));
  await create(testContext(host), 'b');
  await write(testContext(host), CLUSTER_BYTES, noise(3, CLUSTER_BYTES));
  host.reboot();
  await overwrite(host, `${SIDECAR}/state`, Buffer.alloc(512), 0);
  const { tableOffsetBytes } = regions({ sizeBytes, clusterSizeBytes: CLUSTER_BYTES });
  const checkAt = tableOffsetBytes + ENTRY.sizeBytes + ENTRY.fields.check.at;
  await overwrite(host, await storeOf(host, 'b'), Buffer.alloc(8, 0xff), checkAt);
  return { host, frozen };
}

test('repair after a lost state leaves damage of the last batch damage', async () => {
  const { host, frozen } = await stateLostAndEntryDamaged();
  const isDamage = { code: 'damage', clusterIndex: 1 };
  await assert.rejects(read(testContext(host), 'b'), isDamage);
  for (let attempt = 0; attempt < 2; attempt += 1) {
    await write(testContext(host), 5 * CLUSTER_BYTES, noise(4, CLUSTER_BYTES));
    await assert.rejects(read(testContext(host), 'b'), isDamage, 'the image is passed off as the snapshot');
    assert.ok((await read(testContext(host), 'a')).equals(frozen));
    assert.equal((await verifySnapshots(testContext(host), IMAGE, [])).damaged, true);
  }
});
