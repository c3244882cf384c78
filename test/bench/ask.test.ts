/** How a question is asked, on a bench that only notes what it is told to run: no times, no processes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Answer, ask, type Bench, type Outcome } from '../../bench/harness/ask.ts';
import { ScriptFailure, TooSlow } from '../../bench/harness/place.ts';
import type { Comparison, Question } from '../../bench/harness/question.ts';

const COMPARISON: Comparison = {
  name: 'peer',
  reach: 1,
  ours: { label: 'ours', run: 'ours', prepare: 'prepare ours' },
  beside: { label: 'peer', run: 'peer', prepare: 'prepare peer' },
};

/** What was run, and the answers; `seconds` says how long each run takes, or throws. */
async function askWith(
  comparisons: readonly Comparison[],
  seconds: (script: string, run: number) => number,
  options: { readonly isSmall?: boolean; readonly setup?: () => Promise<void> } = {},
): Promise<{ log: string[]; outcomes: Outcome[] }> {
  const log: string[] = [];
  const run = async (script: string) => {
    log.push(script);
    return seconds(script, log.filter((each) => each === script).length);
  };
  const bench: Bench = {
    sizes: {},
    path: (name) => name,
    bash: run,
    peakMib: run,
    succeeds: async (test) => test === 'true',
    during: async (script, work) => {
      if (script !== undefined) log.push(`meanwhile ${script}`);
      return work();
    },
  };
  const question: Question = {
    name: 'question',
    title: 'a question',
    sizes: { full: {}, small: {} },
    setup: options.setup ?? (async () => undefined),
    comparisons,
  };
  const answers: Answer[] = [];
  await ask(question, bench, options.isSmall ?? false, (answer) => answers.push(answer));
  return { log, outcomes: answers.map(({ outcome }) => outcome) };
}

test('both sides run in turn, each after its preparation, and who begins changes', async () => {
  const { log } = await askWith([COMPARISON], () => 1);
  const oursFirst = ['prepare ours', 'ours', 'prepare peer', 'peer'];
  const peerFirst = ['prepare peer', 'peer', 'prepare ours', 'ours'];
  const turn = [...oursFirst, ...peerFirst];
  assert.deepEqual(log, [...turn, ...turn, ...turn]);
});

test('the first round is thrown away, and every other gives one ratio', async () => {
  const ours = [1000, 2, 4, 6, 8, 10];
  const { outcomes } = await askWith([COMPARISON], (script, run) =>
    script === 'ours' ? (ours[run - 1] ?? 0) : 2,
  );
  assert.deepEqual(outcomes, [
    {
      kind: 'measured',
      ratio: { median: 3, lowest: 1, highest: 5, count: 5 },
      ours: { median: 6, lowest: 2, highest: 10, count: 5 },
      beside: { median: 2, lowest: 2, highest: 2, count: 5 },
    },
  ]);
});

test('small, or where one round is asked for, each side runs once', async () => {
  for (const isSmall of [true, false]) {
    const { log } = await askWith([{ ...COMPARISON, rounds: isSmall ? 9 : 1 }], () => 1, { isSmall });
    assert.deepEqual(log, ['prepare ours', 'ours', 'prepare peer', 'peer']);
  }
});

test('what the machine lacks is told apart from what fails', async () => {
  const { log, outcomes } = await askWith(
    [
      { ...COMPARISON, needs: [{ lacking: 'not installed: peer', test: 'false' }] },
      { ...COMPARISON, needs: [{ lacking: 'there', test: 'true' }] },
    ],
    (script) => {
      if (script === 'peer') throw new ScriptFailure('peer: ended with 1');
      return 1;
    },
  );
  assert.deepEqual(outcomes, [
    { kind: 'unavailable', why: 'not installed: peer' },
    { kind: 'failed', why: 'peer: ended with 1' },
  ]);
  assert.equal(log.filter((script) => script === 'ours').length, 1);
});

test('only ours can miss a target by being given up', async () => {
  for (const slow of ['ours', 'peer', 'prepare ours']) {
    const { outcomes } = await askWith([COMPARISON], (script) => {
      if (script === slow) throw new TooSlow(script, 300);
      return 1;
    });
    assert.equal(outcomes[0]?.kind, slow === 'ours' ? 'slow' : 'failed');
  }
});

test('a setup that fails fails every comparison, and an interrupt ends everything', async () => {
  const failing = { setup: () => Promise.reject(new ScriptFailure('no space')) };
  const { log, outcomes } = await askWith([COMPARISON, COMPARISON], () => 1, failing);
  assert.deepEqual(log, []);
  assert.deepEqual(outcomes, [
    { kind: 'failed', why: 'no space' },
    { kind: 'failed', why: 'no space' },
  ]);
  await assert.rejects(askWith([COMPARISON], () => Promise.reject(new Error('interrupted')) as never));
});

test('memory is compared with its limit, and what runs beside is there while ours is timed', async () => {
  const memory: Comparison = { ...COMPARISON, beside: { label: '128 MiB', peakMib: 128 } };
  const { outcomes } = await askWith([memory], () => 64);
  assert.equal(outcomes[0]?.kind === 'measured' ? outcomes[0].ratio.median : undefined, 0.5);
  const busy: Comparison = {
    ...COMPARISON,
    rounds: 1,
    ours: { label: 'ours', run: 'ours', meanwhile: 'load' },
  };
  const { log } = await askWith([busy], () => 1);
  assert.deepEqual(log, ['meanwhile load', 'ours', 'prepare peer', 'peer']);
});
