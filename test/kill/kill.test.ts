/**
 * Real commands killed on a real file system, as many as every test run can have; `npm run test:kill` has more. What is
 * killed follows from the seed that a failure prints.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runKills } from './run.ts';

const KILLS = 24;

test('commands killed at named points and at any moment: nothing is lost, wrong or left', async (t) => {
  const seed = Number(process.env.IMGSNAP_SEED ?? Math.floor(Math.random() * 2 ** 31));
  t.diagnostic(`IMGSNAP_SEED=${seed}`);
  const reports: string[] = [];
  await runKills(KILLS, seed, (report) => reports.push(report));
  assert.equal(reports.length, 4, 'every kind of world was gone through');
});
