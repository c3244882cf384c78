/** Pairs of commands, each at one point that is chosen by chance; `npm run test:race:pairs` goes through all. */
import { test } from 'node:test';
import { mulberry32 } from '../sim/memory-host.ts';
import { workplace } from '../support/commands.ts';
import { somePoints } from '../support/points.ts';
import { PAIRS, PairPlace } from './pairs.ts';

test('two commands, one stopped or killed in the middle: as if they came one after the other', async (t) => {
  const seed = Number(process.env.IMGSNAP_SEED ?? Math.floor(Math.random() * 2 ** 31));
  t.diagnostic(`IMGSNAP_SEED=${seed}`);
  const random = mulberry32(seed);
  const place = new PairPlace((await workplace(t)).directory);
  for (const [name, pair] of somePoints(Object.entries(PAIRS))) {
    const choice = random();
    await t.test(name, () => place.tryOne(pair, choice));
  }
});
