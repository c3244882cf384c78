/** Verifying stores of few copies among many clusters: each is found, wherever it is, and looked at. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { verifySnapshots } from '../../core/snapshot/verify.ts';
import { regions } from '../../core/store/layout.ts';
import { MemoryHost } from '../sim/memory-host.ts';
import type { Operation } from '../sim/session.ts';
import { systemError } from '../sim/system-error.ts';
import { testContext } from '../support/context.ts';
import { create, IMAGE, makeImage, write } from '../support/image.ts';

const CLUSTER_BYTES = 4096;
/** More than two of the stretches in which bits are looked for, and neither whole windows nor whole bytes. */
const CLUSTERS = 2 * 262_144 + 4096 + 77;
/** At the ends of windows and of stretches, and in the last cluster. */
const PLACES = [0, 4095, 4096, 100_000, 262_143, 262_144, 266_240, 524_287, 524_288, CLUSTERS - 1];

async function withCopies(places: readonly number[], isSealed: boolean): Promise<MemoryHost> {
  const host = new MemoryHost(1);
  await makeImage(host, CLUSTERS * CLUSTER_BYTES - 5);
  await create(testContext(host), 'a', { clusterSizeBytes: CLUSTER_BYTES });
  for (const place of places) await write(testContext(host), place * CLUSTER_BYTES, Buffer.from('x'));
  if (isSealed) await create(testContext(host), 'b');
  return host;
}

async function storeOf(host: MemoryHost): Promise<string> {
  const [name = ''] = (await host.files.list(`${IMAGE}.snap`)).filter((each) => each.startsWith('a-'));
  return `${IMAGE}.snap/${name}`;
}

for (const isSealed of [false, true]) {
  test(`every copied cluster is checked (${isSealed ? 'sealed' : 'the newest'})`, async () => {
    for (const places of [PLACES, PLACES.slice(1), [CLUSTERS - 1], [262_144], []]) {
      const host = await withCopies(places, isSealed);
      const found = await verifySnapshots(testContext(host), IMAGE, []);
      assert.deepEqual(found.findings, []);
      assert.equal(found.snapshots[0]?.clustersChecked, places.length, `${places}`);
    }
  });

  test(`an entry that is gone is told of (${isSealed ? 'sealed' : 'the newest'})`, async () => {
    for (const place of PLACES) {
      const host = await withCopies(PLACES, isSealed);
      const path = await storeOf(host);
      const { tableOffsetBytes } = regions({
        sizeBytes: CLUSTERS * CLUSTER_BYTES - 5,
        clusterSizeBytes: CLUSTER_BYTES,
      });
      const file = await host.files.open(path, 'update');
      await file.write(Buffer.alloc(32), tableOffsetBytes + place * 32);
      await file.close();
      const found = await verifySnapshots(testContext(host), IMAGE, []);
      assert.deepEqual(
        found.findings.map(({ kind, clusterIndex }) => ({ kind, clusterIndex })),
        [{ kind: 'entry', clusterIndex: place }],
      );
    }
  });
}

test('where a page of the bitmap becomes unreadable, all but its clusters are checked, and it is told of', async () => {
  const host = await withCopies(PLACES, true);
  const path = await storeOf(host);
  const { bitmapOffsetBytes, tableOffsetBytes } = regions({
    sizeBytes: CLUSTERS * CLUSTER_BYTES - 5,
    clusterSizeBytes: CLUSTER_BYTES,
  });
  // Bits of clusters 98,304 to 131,071: among them 100,000.
  const badBytes = bitmapOffsetBytes + 98_304 / 8;
  let isBad = false;
  const session = host.session(async ({ kind, path: at, offsetBytes = 0, lengthBytes = 0 }: Operation) => {
    if (at !== path || kind !== 'read') return;
    // Once the bitmap was proven, and the first entries are looked at.
    if (offsetBytes >= tableOffsetBytes) isBad = true;
    if (isBad && offsetBytes < badBytes + 4096 && offsetBytes + lengthBytes > badBytes)
      throw systemError('EIO');
  });
  const found = await verifySnapshots(testContext(session), IMAGE, []);
  assert.ok(isBad);
  assert.equal(found.damaged, true);
  assert.equal(found.snapshots[0]?.clustersChecked, PLACES.length - 1);
  assert.ok(found.findings.length >= 1 && found.findings.length <= 12, `${found.findings.length} findings`);
  for (const { message } of found.findings) assert.match(message, /EIO/);
});
