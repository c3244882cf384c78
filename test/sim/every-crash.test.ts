/** Every short sequence of operations, the power lost at every point; `npm run test:crash:all` has more of both. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { everyCrash } from './every-crash.ts';

const NONE = { killed: [], next: [], statesAtPoint: 0 };

test('power lost at every point of every operation: nothing is lost, nothing is wrong', async (t) => {
  const { sequences, states } = await everyCrash({ statesByLength: [2], kills: NONE });
  t.diagnostic(`${states} states of ${sequences} sequences`);
  assert.ok(sequences > 10);
});
