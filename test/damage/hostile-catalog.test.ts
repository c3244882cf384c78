/** Hostile values in every key of the catalog, with its check made right: right bytes, or an error of ours. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { collectSnapshots } from '../../core/snapshot/collect.ts';
import { testContext } from '../support/context.ts';
import { IMAGE } from '../support/image.ts';
import { contentOf, setContent } from './copy-machine.ts';
import { CHOSEN, machineOf, SEED, sample, sweep } from './examination.ts';
import { memberMutations, sealed, wholeMutations } from './hostile-catalog.ts';
import { KINDS, makeScene, SIDECAR } from './scene.ts';

/** Of the many mutations every so manieth is tried each day. */
const STRIDES = {
  'with digests': 149,
  'without digests': 67,
  'left open, another boot': 149,
  'with candidates': 149,
};

for (const kind of [...KINDS, 'with candidates'] as const) {
  const scene = await makeScene(SEED, kind);

  test(`hostile values in every key of the catalog, ${kind}`, async (t) => {
    const all = await memberMutations(scene);
    const tried = sample(all, STRIDES[kind]);
    t.diagnostic(`IMGSNAP_SEED=${CHOSEN}: ${tried.length} of ${all.length} values`);
    await sweep(scene, tried, 'thorough');
  });

  test(`catalogs that are absurd as a whole, ${kind}`, async () => {
    await sweep(scene, sample(await wholeMutations(scene), kind === 'without digests' ? 2 : 7), 'thorough');
  });
}

test('a time that is none is damage, and no rule goes by it', async () => {
  const scene = await makeScene(SEED, 'with digests');
  const times = ['', 'x', '2026-02-30T00:00:00Z', '2026-11-20T07:17:31+01:00', '2026-11-20T07:17:31Z\n'];
  for (const created of times) {
    const host = machineOf(scene);
    const path = `${SIDECAR}/catalog.json`;
    const catalog = JSON.parse((await contentOf(host, path)).toString());
    catalog.snapshots[1].created = created;
    await setContent(host, path, sealed(catalog));
    const collecting = collectSnapshots(testContext(host), IMAGE, { rules: { keepDaily: 1 }, dryRun: false });
    await assert.rejects(collecting, { code: 'damage' }, created);
  }
});
