/**
 * Goes through all points of all pairs: `npm run test:race:pairs -- [TEXT]`, or of those whose name has TEXT in it.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PAIRS, PairPlace } from './pairs.ts';

const text = process.argv[2] ?? '';
const directory = mkdtempSync(join(tmpdir(), 'imgsnap-pairs-'));
const place = new PairPlace(directory);
try {
  for (const [name, pair] of Object.entries(PAIRS)) {
    if (!name.includes(text)) continue;
    process.stdout.write(`${name}: `);
    const { points, busy } = await place.tryAll(pair);
    console.log(`${points} points, at ${busy} of them somebody had to give up`);
  }
} finally {
  rmSync(directory, { recursive: true, force: true });
}
