/**
 * A hand-over goes by the bits of the store that receives. Where they are not right (a page of it was lost, or is not
 * what was written), that store is repaired from its table first: a bit too many would lose a cluster for good, and a
 * bit too few would put a second entry where one stands.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { collectSnapshots } from '../../core/snapshot/collect.ts';
import { verifySnapshots } from '../../core/snapshot/verify.ts';
import { regions } from '../../core/store/layout.ts';
import { testContext } from '../support/context.ts';
import { checkSnapshots, IMAGE, rawImage } from './crash-check.ts';
import { freeze, frozenScene, overwrite } from './crash-scene.ts';
import { CLUSTER_BYTES } from './crash-steps.ts';

for (const [what, bits] of Object.entries({ 'too many': 0b011, 'too few': 0b000, 'the wrong one': 0b100 })) {
  test(`bits of the receiver: ${what}`, async () => {
    const { host, expected } = await frozenScene();
    // `a` has the first cluster; what it reads of the second is in the store of `b`.
    await overwrite(host.session(), 0, 2, true);
    await freeze(host.session(), 'b');
    await overwrite(host.session(), 0, 3, true);
    await overwrite(host.session(), 1, 3, true);
    const sidecar = `${IMAGE}.snap`;
    const name = (await host.files.list(sidecar)).find((each) => /^a-.*\.cow$/.test(each));
    const store = await host.files.open(`${sidecar}/${name}`, 'update');
    const { bitmapOffsetBytes } = regions({
      sizeBytes: expected.image.length,
      clusterSizeBytes: CLUSTER_BYTES,
    });
    await store.write(Buffer.from([bits]), bitmapOffsetBytes);
    await store.close();

    await collectSnapshots(testContext(host.session()), IMAGE, { names: ['b'], dryRun: false });
    expected.image = await rawImage(host.session());
    assert.deepEqual((await checkSnapshots(host, expected, 'look')).names, new Set(['a']));
    assert.deepEqual((await verifySnapshots(testContext(host.session()), IMAGE, [])).findings, []);
  });
}
