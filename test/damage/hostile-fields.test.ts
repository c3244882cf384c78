/** Hostile values in every field of the binary structures, with the check made right: right bytes, or an error of ours. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CHOSEN, checkUnspoilt, SEED, sample, sweep } from './examination.ts';
import { fieldMutations, placesOf } from './hostile-fields.ts';
import { KINDS, makeScene } from './scene.ts';

/** Of the many mutations of each scene every so manieth is tried each day. */
const STRIDES = {
  'with digests': 421,
  'without digests': 83,
  'left open, another boot': 211,
  'with candidates': 127,
};

for (const kind of [...KINDS, 'killed in a batch', 'with candidates'] as const) {
  const scene = await makeScene(SEED, kind);
  const stride = kind === 'killed in a batch' ? 127 : STRIDES[kind];
  const places = await placesOf(scene);

  test(`nothing is hostile, ${kind}: all is right`, () => checkUnspoilt(scene));

  for (const part of ['state', 'header', 'record', 'entry']) {
    test(`hostile values in every field of ${part}, ${kind}`, async (t) => {
      const chosen = places.filter(({ what }) => what.includes(part));
      assert.ok(chosen.length > 0);
      const all = [];
      for (const place of chosen) all.push(...(await fieldMutations(scene, place, SEED)));
      const tried = sample(all, stride);
      t.diagnostic(`IMGSNAP_SEED=${CHOSEN}: ${tried.length} of ${all.length} values`);
      await sweep(scene, tried, 'thorough');
    });
  }
}
