/** Every short sequence of operations, the power lost at every point; `npm run test:crash:all` has more of both. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { everyCrash } from './every-crash.ts';

test('power lost at every point of every sequence of two operations: nothing is lost, nothing is wrong', async (t) => {
  const { sequences, states } = await everyCrash({ statesByLength: [2, 1], statesAfterKill: 0 });
  t.diagnostic(`${states} states of ${sequences} sequences`);
  assert.ok(sequences > 100);
});
