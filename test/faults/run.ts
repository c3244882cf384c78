/**
 * Every fault that is sampled in every test run, all of them, for as long as that takes: `npm run test:faults -- [PART]`.
 * PART is `core` (the sweep in the simulated machine) or `bundles` (the installed commands); both where none is given.
 * `npm run build` first.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eachOf, Workplace } from '../support/commands.ts';
import { failuresOf } from './bundle-points.ts';
import { Bundles, CASES, type Case, titleOf } from './bundles.ts';
import { TRIED } from './operations.ts';
import { sweep } from './sweep.ts';

let failures = 0;

async function attempted(what: string, work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    failures += 1;
    console.log(`${what}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

async function sweepAll(): Promise<void> {
  let count = 0;
  for (const tried of TRIED) {
    for (const stays of [false, true]) {
      const what = `${tried.what}, ${stays ? 'for good' : 'once'}`;
      await attempted(what, async () => {
        count += await sweep(tried, stays, () => true);
      });
    }
  }
  console.log(`core: ${count} faults tried`);
}

async function tryCase(bundles: Bundles, tried: Case): Promise<number> {
  const { points, usual } = await bundles.points(tried);
  const works: [string, () => Promise<void>][] = [
    ['all short', () => bundles.short(tried, usual, { call: 1, stays: true })],
  ];
  for (const { call, point } of points) {
    if (/^(read|write) /.test(point))
      works.push([`${point} short`, () => bundles.short(tried, usual, { call })]);
  }
  for (const failure of failuresOf(tried, points)) {
    const { errno, call, point } = failure;
    works.push([`${errno} at ${call}, ${point}`, () => bundles.fail(tried, failure)]);
  }
  await eachOf(works, ([what, work]) => attempted(`${titleOf(tried)}: ${what}`, work));
  return works.length;
}

async function tryBundles(): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'imgsnap-'));
  try {
    const bundles = await Bundles.make(new Workplace(directory));
    let count = 0;
    for (const tried of CASES) {
      const more = await tryCase(bundles, tried);
      console.log(`${titleOf(tried)}: ${more} faults tried`);
      count += more;
    }
    console.log(`bundles: ${count} faults tried`);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

const part = process.argv[2];
if (part !== 'bundles') await sweepAll();
if (part !== 'core') await tryBundles();
console.log(`${failures} failures`);
process.exitCode = failures === 0 ? 0 : 1;
