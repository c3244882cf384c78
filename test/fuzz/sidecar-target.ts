/** Sidecars with something wrong in them, and commands on each: what is tried there is in `sidecar-trial.ts`. */
import assert from 'node:assert/strict';
import { copyMachine, setContent } from '../damage/copy-machine.ts';
import { IMAGE_BYTES, type Scene } from '../damage/scene.ts';
import { rawImage } from '../support/image.ts';
import { type Chance, mutateList, shorter } from './chance.ts';
import { type Edit, editedFiles, wholeFiles } from './sidecar-edits.ts';
import { EditGrammar } from './sidecar-grammar.ts';
import { PRECIOUS, PRECIOUS_BYTES, STEPS, type Step, Trial } from './sidecar-trial.ts';
import type { Target } from './target.ts';

export interface SidecarInput {
  /** Which of the scenes is spoilt. */
  readonly scene: number;
  readonly edits: readonly Edit[];
  readonly steps: readonly Step[];
}

async function runSidecar(scenes: readonly Scene[], seed: number, input: SidecarInput): Promise<string[]> {
  const scene = scenes[input.scene];
  if (scene === undefined) throw new Error(`no scene ${input.scene}`);
  const host = copyMachine(scene.host, seed);
  if (scene.kind === 'left open, another boot') host.reboot();
  const files = editedFiles(scene, input.edits);
  for (const [name, path] of scene.paths) {
    const bytes = files.get(name);
    if (bytes === undefined) await host.files.remove(path);
    else if (bytes !== wholeFiles(scene).get(name)) await setContent(host, path, bytes);
  }
  for (const path of PRECIOUS) {
    if ((await host.files.stat(path)) === undefined) await (await host.files.open(path, 'create')).close();
    await setContent(host, path, PRECIOUS_BYTES);
  }
  const image = await rawImage(host);
  assert.equal(image.length, IMAGE_BYTES);
  const trial = new Trial(host, scene, image, input.edits);
  await trial.run(input.steps);
  return trial.answers;
}

/** @param seed the one that the scenes were made with */
export function sidecarTarget(scenes: readonly Scene[], seed: number): Target<SidecarInput> {
  const grammars = scenes.map((scene) => new EditGrammar(scene));
  const grammarOf = (scene: number) => grammars[scene] ?? new EditGrammar(scenes[0] as Scene);
  const someSteps = (chance: Chance) =>
    Array.from({ length: 1 + chance.below(4) }, () => chance.pick<Step>(STEPS));
  return {
    name: 'sidecar',
    batch: 1,
    generate(chance) {
      const scene = chance.below(scenes.length);
      return { scene, edits: [grammarOf(scene).make(chance)], steps: someSteps(chance) };
    },
    mutate(input, chance) {
      if (chance.once(8)) return { ...input, scene: chance.below(scenes.length) };
      if (chance.once(4)) {
        const pick = () => chance.pick<Step>(STEPS);
        return { ...input, steps: mutateList(input.steps, chance, pick, pick).slice(0, 8) };
      }
      return { ...input, edits: grammarOf(input.scene).change(input.edits, chance).slice(0, 12) };
    },
    *smaller(input) {
      for (const edits of shorter(input.edits)) yield { ...input, edits };
      for (const steps of shorter(input.steps)) yield { ...input, steps };
      if (input.scene > 0) yield { ...input, scene: 0 };
    },
    run: (input) => runSidecar(scenes, seed, input),
  };
}
