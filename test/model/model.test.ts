/**
 * Random sequences of operations, each done with core on a simulated machine and with a model that keeps whole
 * copies, compared byte for byte after every step. A failure prints its seed and the shortest sequence found.
 *
 *   IMGSNAP_MODEL_RUNS=20000 IMGSNAP_SEED=12345 node --import tsx --test test/model/model.test.ts
 */
import { randomInt } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Op, operations, type Setup, setups } from './operations.ts';
import { World } from './world.ts';

const DEFAULT_RUNS = 2000;

const runs = Number(process.env.IMGSNAP_MODEL_RUNS ?? DEFAULT_RUNS);
const seed = Number(process.env.IMGSNAP_SEED ?? randomInt(2 ** 31));

test('every snapshot reads as it was frozen, whatever happens to the image', async (t) => {
  t.diagnostic(`${runs} sequences, IMGSNAP_SEED=${seed}`);
  const property = fc.asyncProperty(setups, operations, runSequence);
  const result = await fc.check(property, { numRuns: runs, seed });
  if (!result.failed) return;
  const cause = result.errorInstance;
  const message = cause instanceof Error ? cause.message : String(cause);
  throw new Error(`IMGSNAP_SEED=${seed} (path ${result.counterexamplePath}) finds, shrunk:\n${message}`, {
    cause,
  });
});

async function runSequence(setup: Setup, ops: readonly Op[]): Promise<void> {
  const world = await World.make(setup);
  try {
    for (const [index, op] of ops.entries()) await world.step(op, (setup.seed + 1) * (index + 1) * 7919);
  } catch (error) {
    const what = error instanceof Error ? error.message : String(error);
    throw new Error(`  ${world.lines.join('\n  ')}\n${what}`, { cause: error });
  }
}
