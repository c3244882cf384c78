/**
 * --on-full where the disk or the quota is full at any call of a batch, once or for good: one that refuses keeps all
 * and fails the write; otherwise all that lack a cluster end, are told, and the write goes on; whoever has it stays.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  checkContract,
  copyFull,
  type Full,
  type FullScene,
  makeFullScene,
  type Plan,
  writeWhileFull,
} from './full-disk.ts';

const PLANS: readonly Plan[] = [
  [['invalidate', false]],
  [['refuse', false]],
  [
    ['invalidate', false],
    ['refuse', false],
    ['invalidate', false],
  ],
  [
    ['invalidate', false],
    ['invalidate', false],
    ['refuse', false],
  ],
  [
    ['refuse', true],
    ['invalidate', false],
    ['invalidate', false],
  ],
  [
    ['invalidate', false],
    ['invalidate', false],
    ['invalidate', false],
  ],
];

/** A batch takes less than that. */
const MOST_PAGES = 12;

async function faultsOf(scene: FullScene): Promise<Full[]> {
  const { calls } = await writeWhileFull(copyFull(scene));
  return calls.flatMap((_, at) => [
    { at, errno: at % 2 === 0 ? 'ENOSPC' : 'EDQUOT', stays: false },
    { at, errno: at % 2 === 0 ? 'EDQUOT' : 'ENOSPC', stays: true },
  ]);
}

for (const plan of PLANS) {
  const title = plan.map(([onFull, copies]) => (copies ? `${onFull}, complete` : onFull)).join('; ');
  test(`no space at any call, ${title}`, async (t) => {
    const scene = await makeFullScene(plan);
    const outcomes = { written: 0, refused: 0 };
    for (const full of await faultsOf(scene)) {
      const outcome = await checkContract(scene, full).catch((error: unknown) => {
        throw new Error(`${JSON.stringify(full)}: ${String(error)}`, { cause: error });
      });
      outcomes[outcome] += 1;
    }
    t.diagnostic(`${outcomes.written} written, ${outcomes.refused} refused`);
    assert.ok(outcomes.written > 0 && outcomes.refused > 0);
  });

  test(`no page left, or few, ${title}: the reserve lets the ends be committed`, async () => {
    const scene = await makeFullScene(plan);
    const refuses = plan.some(([onFull, copies]) => onFull === 'refuse' && !copies);
    for (let freePages = 0; freePages <= MOST_PAGES; freePages += 1) {
      const outcome = await checkContract(scene, { freePages });
      if (freePages === 0) assert.equal(outcome, refuses ? 'refused' : 'written');
      if (!refuses || freePages === MOST_PAGES) assert.equal(outcome, 'written', `${freePages} pages`);
    }
  });
}
