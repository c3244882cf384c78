/** The crash simulator, as much of it as every test run can have; `npm run test:crash` has more. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runCrashes } from './run-crashes.ts';

const CRASHES = 500;

test('power lost, processes killed, flushes failing: nothing is lost and nothing is wrong', async (t) => {
  const seed = Number(process.env.IMGSNAP_SEED ?? Math.floor(Math.random() * 2 ** 31));
  t.diagnostic(`IMGSNAP_SEED=${seed}`);
  assert.ok((await runCrashes(CRASHES, seed)) >= CRASHES);
});
