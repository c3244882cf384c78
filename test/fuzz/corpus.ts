/** Inputs as text: one line of JSON each, in a file for each target; and what was found, in a file of its own. */

import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packagePath } from '../support/process.ts';

export const CORPUS_FOLDER = packagePath('test/fuzz/corpus');

export function corpusPath(target: string): string {
  return join(CORPUS_FOLDER, `${target}.jsonl`);
}

/** The inputs of one file; none where there is no file. */
export function readInputs(path: string): unknown[] {
  if (!existsSync(path)) return [];
  const lines = readFileSync(path, 'utf8').split('\n').filter(Boolean);
  return lines.map((line): unknown => JSON.parse(line));
}

export function writeInputs(path: string, inputs: readonly unknown[]): void {
  writeFileSync(path, inputs.map((input) => `${JSON.stringify(input)}\n`).join(''));
}

/** Where an input is kept that showed a mistake: the same one always at the same place. */
export function foundPath(target: string, input: unknown): string {
  const hash = createHash('sha256').update(JSON.stringify(input)).digest('hex').slice(0, 8);
  return join(CORPUS_FOLDER, `found-${target}-${hash}.jsonl`);
}

/** The target whose inputs a file of the corpus holds: `sidecar` for `found-sidecar-1a2b3c4d.jsonl`. */
export function targetOf(path: string): string {
  return /(?:found-)?(\w+)[^/]*\.jsonl$/.exec(path)?.[1] ?? '';
}
