/**
 * Each call of each operation fails, once or for good, in each way: the answer is right, and nothing that was there is
 * harmed. Here a sample of them by a seed; `npm run test:faults` tries all.
 */
import { test } from 'node:test';
import { chooseRandom } from './choose.ts';
import { TRIED } from './operations.ts';
import { sweep } from './sweep.ts';

/** One in so many faults. */
const SHARE = Number(process.env.IMGSNAP_FAULTS_SHARE ?? 12);

for (const tried of TRIED) {
  for (const stays of [false, true]) {
    test(`${tried.what}: a call fails ${stays ? 'and all after it' : 'once'}`, async (t) => {
      const random = chooseRandom(t);
      const count = await sweep(tried, stays, () => random() % SHARE === 0);
      t.diagnostic(`${count} faults`);
    });
  }
}
