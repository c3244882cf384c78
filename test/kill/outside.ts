/**
 * Rounds in which somebody has written to the image past copy-on-write: a kill must not hide it, and `--accept-origin`
 * must be one that can be killed.
 */
import assert from 'node:assert/strict';
import { statSync, utimesSync } from 'node:fs';
import { writeBytes } from '../support/commands.ts';
import { type Below, content, type Job, RECIPES } from './jobs.ts';
import type { Done } from './model.ts';
import type { Scene } from './scene.ts';

type Kill = (scene: Scene, jobs: readonly Job[]) => Promise<Done[]>;

/** Another time than it had, however coarse the clock. */
function touch(path: string): void {
  const { atime, mtimeMs } = statSync(path);
  utimesSync(path, atime, new Date(Math.floor(mtimeMs) - 1000));
}

/** The time changed and not the content; everything that has a digest is trusted again in the end. */
export async function acceptRound(scene: Scene, kill: Kill): Promise<void> {
  const { work, image } = scene;
  await work.ok('snap-gc', ['-q', image]);
  for (const name of scene.model.names) await work.ok('snap-read', [`${image}@${name}`]);
  for (const { name, digest } of await scene.list()) assert.ok(digest !== undefined, `no digest of ${name}`);
  touch(scene.path);
  const args = ['-q', image, '--accept-origin'];
  const job: Job = { recipe: 'gc --accept-origin', command: 'snap-gc', args, effect: {} };
  await scene.check(await kill(scene, [job]), 'may be marked');
  await work.ok('snap-gc', args);
  await scene.check([]);
}

/** The content changed. Whatever is killed then: what is still trusted is right, and the rest says that it is not. */
export async function outsideRound(scene: Scene, below: Below, kill: Kill): Promise<void> {
  const { work, image, model } = scene;
  // Where a batch was killed just before, nobody can tell (documented): its repair comes first.
  await work.ok('snap-gc', ['-q', image]);
  const offsetBytes = below(model.image.length);
  const data = content(
    below,
    1 + below(Math.min(3 * scene.clusterSizeBytes, model.image.length - offsetBytes)),
  );
  writeBytes(scene.path, offsetBytes, data);
  touch(scene.path);
  data.copy(model.image, offsetBytes);
  const recipe = ['write', 'create', 'gc', 'gc newest'][below(4)] ?? 'gc';
  const made = RECIPES[recipe]?.make(scene, below, { from: 0, to: 1, names: model.names, shared: false });
  assert.ok(made);
  const { command, args, stdin, effect } = made;
  const job = { recipe: `changed outside, ${recipe}`, command, args, effect, ...(stdin && { stdin }) };
  const done = await kill(scene, [job]);
  await scene.check(done, 'may be marked');
  const marked = (await scene.list()).filter(({ state }) => state === 'modified').map(({ name }) => name);
  if (marked.length === 0) return;
  await work.ok('snap-gc', ['-q', ...marked.map((name) => `${image}@${name}`)]);
  await scene.check([{ effect: { removes: marked }, outcome: 'finished' }]);
}
