/**
 * Shows that the crash simulator and the tests beside it can fail: puts known mistakes into a copy of the tree, one at a
 * time, and expects each to be found by what `mutation-list.ts` says. `npm run test:mutations`; a name limits it to those
 * mistakes that have it in theirs.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { MUTATIONS, type Mutation } from './mutation-list.ts';

/** Crash states tried before a mistake counts as not found. */
const MOST_CRASHES = 40_000;
const ROOT = fileURLToPath(new URL('../../', import.meta.url));

function isFound(mutation: Mutation, seed: number): boolean {
  const tree = mkdtempSync(join(tmpdir(), 'imgsnap-mutation-'));
  try {
    for (const name of ['core', 'test', 'package.json'])
      cpSync(join(ROOT, name), join(tree, name), { recursive: true });
    symlinkSync(join(ROOT, 'node_modules'), join(tree, 'node_modules'));
    const path = join(tree, mutation.file);
    const source = readFileSync(path, 'utf8');
    if (!source.includes(mutation.from))
      throw new Error(`${mutation.name}: ${mutation.file} has changed; mend the mutation`);
    writeFileSync(path, source.replaceAll(mutation.from, mutation.to));
    const atLength = ['test/sim/run-crashes.ts', String(MOST_CRASHES), String(seed)];
    const words = mutation.test === undefined ? atLength : ['--test', mutation.test];
    const run = spawnSync(process.execPath, ['--import', 'tsx', ...words], { cwd: tree, encoding: 'utf8' });
    if (run.status === 0) return false;
    const said = run.stderr + run.stdout;
    const why = /(?:crash \d+ during|after|reads wrong|snapshot \S+ is).*|error: .*(?:\n.*){0,2}/.exec(
      said,
    )?.[0];
    console.log(`found: ${mutation.name}: ${mutation.test ?? `seed ${seed}`}: ${why?.slice(0, 160)}`);
    return true;
  } finally {
    rmSync(tree, { recursive: true, force: true });
  }
}

const [wanted = '', seedText = String(Date.now() % 2 ** 31)] = process.argv.slice(2);
console.log(`mutations: seed ${seedText}`);
const missed = MUTATIONS.filter(({ name }) => name.includes(wanted)).filter(
  (mutation) => !isFound(mutation, Number(seedText)),
);
for (const { name } of missed) console.log(`NOT FOUND: ${name}`);
process.exitCode = missed.length === 0 ? 0 : 1;
