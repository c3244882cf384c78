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
const FEW_CRASHES = 300;
const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** What is run for a mistake: its test, or the simulator at length. */
function wordsFor(test: string | undefined, crashCount: number, seed: number): string[] {
  const words =
    test === undefined ? ['test/sim/run-crashes.ts', `${crashCount}`, `${seed}`] : ['--test', test];
  return ['--import', 'tsx', ...words];
}

/** Without a mistake nothing may be found. */
function checkUnchanged(mutations: readonly Mutation[], seed: number): void {
  for (const test of new Set(mutations.map((mutation) => mutation.test))) {
    const run = spawnSync(process.execPath, wordsFor(test, FEW_CRASHES, seed), {
      cwd: ROOT,
      encoding: 'utf8',
    });
    if (run.status !== 0)
      throw new Error(`fails without any mistake: ${test ?? `seed ${seed}`}\n${run.stdout}${run.stderr}`);
  }
}

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
    const words = wordsFor(mutation.test, MOST_CRASHES, seed);
    const run = spawnSync(process.execPath, words, { cwd: tree, encoding: 'utf8' });
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
const mutations = MUTATIONS.filter(({ name }) => name.includes(wanted));
checkUnchanged(mutations, Number(seedText));
const missed = mutations.filter((mutation) => !isFound(mutation, Number(seedText)));
for (const { name } of missed) console.log(`NOT FOUND: ${name}`);
process.exitCode = missed.length === 0 ? 0 : 1;
