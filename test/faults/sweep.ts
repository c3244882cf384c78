/** One operation with each of its calls failing, in each way that it may. */
import assert from 'node:assert/strict';
import { attempt, disturb, errnosOf, type Fault } from './disturb.ts';
import type { Tried } from './operations.ts';
import { copyScene, makeScene, SEED } from './scenes.ts';

const MOST_SHOWN = 12;

/** @param isChosen which faults are tried @returns how many were */
export async function sweep(tried: Tried, stays: boolean, isChosen: () => boolean): Promise<number> {
  const scene = await makeScene(tried.scene);
  const usual = await attempt(copyScene(scene), tried);
  if (usual.error !== undefined) throw usual.error;
  const faults: Fault[] = usual.calls.flatMap((operation, at) =>
    errnosOf(operation, stays).map((errno) => ({ at, errno, stays })),
  );
  const failures: string[] = [];
  const chosen = faults.filter(isChosen);
  for (const fault of chosen) {
    try {
      await disturb(scene, tried, usual, fault);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      const { kind, path } = usual.calls[fault.at] ?? { kind: '', path: '' };
      failures.push(`${fault.errno} at ${fault.at} (${kind} ${path}): ${message}`);
    }
  }
  const shown = failures.slice(0, MOST_SHOWN).join('\n');
  assert.equal(failures.length, 0, `machine ${SEED}: ${failures.length} of ${chosen.length}\n${shown}`);
  return chosen.length;
}
