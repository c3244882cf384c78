/**
 * Files of a sidecar that are older copies of themselves, alone and in pairs, or come from somewhere else in pairs: what
 * a partial restore, or a copy that was made while somebody wrote, leaves behind.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setContent } from './copy-machine.ts';
import { CHOSEN, type Mutation, SEED, sample, sweep } from './examination.ts';
import { type Kind, makeScene, NAMES, type Scene } from './scene.ts';

const FILES = ['state', 'catalog.json', ...NAMES] as const;
/**
 * Not the state left open by another boot: there the image's time says nothing, and so nothing can tell an older state,
 * together with an older store or catalog that belongs to it, from what was there.
 */
const KINDS: readonly Kind[] = ['with digests', 'without digests'];

/** Puts copies in the place of files. */
function replaced(scene: Scene, what: string, copies: readonly (readonly [name: string, bytes: Buffer])[]) {
  const mutation: Mutation = {
    what,
    spoil: async (host) => {
      for (const [name, bytes] of copies) {
        await setContent(host, scene.paths.get(name) ?? assert.fail(name), bytes);
      }
    },
  };
  return mutation;
}

function olderMutations(scene: Scene): Mutation[] {
  const found: Mutation[] = [];
  for (const [step, copies] of scene.history.entries()) {
    for (const [at, first] of FILES.entries()) {
      const older = copies.get(first);
      if (older === undefined) continue;
      found.push(replaced(scene, `${first} after step ${step}`, [[first, older]]));
      for (const [otherStep, otherCopies] of scene.history.entries()) {
        for (const second of FILES.slice(at + 1)) {
          const other = otherCopies.get(second);
          if (other === undefined) continue;
          const what = `${first} after step ${step}, ${second} after step ${otherStep}`;
          const pair = [
            [first, older],
            [second, other],
          ] as const;
          found.push(replaced(scene, what, pair));
        }
      }
    }
  }
  return found;
}

/** Pairs of files of another image with the same snapshots. */
function foreignMutations(scene: Scene, foreign: Scene): Mutation[] {
  const bytes = (name: string) => foreign.history.at(-1)?.get(name) ?? assert.fail(name);
  return FILES.flatMap((first, at) =>
    FILES.slice(at + 1).map((second) =>
      replaced(scene, `foreign ${first} and ${second}`, [
        [first, bytes(first)],
        [second, bytes(second)],
      ]),
    ),
  );
}

for (const kind of KINDS) {
  const scene = await makeScene(SEED, kind);

  test(`older copies of one file or two put back, ${kind}`, async (t) => {
    const all = olderMutations(scene);
    const tried = sample(all, kind === 'without digests' ? 13 : 41);
    t.diagnostic(`IMGSNAP_SEED=${CHOSEN}: ${tried.length} of ${all.length} combinations`);
    await sweep(scene, tried);
  });

  test(`two files of another image, ${kind}`, async () => {
    await sweep(scene, foreignMutations(scene, await makeScene(SEED + 1, kind)));
  });
}
