/**
 * The corpus of the fuzzer, run again, and as much fuzzing as every test run can have; `npm run test:fuzz` has more.
 * It counts inputs, not seconds: what is tried does not depend on how fast the machine is.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Fuzzer } from './fuzzer.ts';
import type { Finding } from './lane.ts';

const SEED = Number(process.env.IMGSNAP_SEED ?? Math.floor(Math.random() * 2 ** 31));
const ROUNDS = { sidecar: 40, decoder: 8, command: 16 };

const findings: Finding[] = [];
let fuzzer: Fuzzer;

before(async () => {
  const onFinding = (finding: Finding) => findings.push(finding);
  fuzzer = await Fuzzer.create({ seed: SEED, onFinding, watched: false, processes: false });
});
after(() => fuzzer.stop());

/** @throws what was found since the last call, with the inputs that show it */
function assertNothingFound(): void {
  const told = findings.splice(0).map(({ target, input, error }) => {
    return `${target}: ${error.stack}\n  input: ${JSON.stringify(input)}`;
  });
  assert.deepEqual(told, [], `IMGSNAP_SEED=${SEED}`);
}

test('inputs that came somewhere once, and those that showed a mistake, show none', async () => {
  await fuzzer.loadCorpus();
  assertNothingFound();
  for (const { name, corpus } of fuzzer.lanes) assert.ok(corpus.length > 10, `no corpus for ${name}`);
});

test('whatever a sidecar, a header or a command line is: a right answer, or an error that says what is wrong', async (t) => {
  t.diagnostic(`IMGSNAP_SEED=${SEED}`);
  for (const [name, rounds] of Object.entries(ROUNDS)) {
    const lane = fuzzer.lanes.find((each) => each.name === name);
    assert.ok(lane !== undefined);
    for (let round = 0; round < rounds; round += 1) await lane.round();
  }
  assertNothingFound();
});
