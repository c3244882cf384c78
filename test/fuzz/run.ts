/**
 * Fuzzes for as long as one likes: `npm run test:fuzz -- [SECONDS] [SEED]`. With a file of the corpus instead, runs the
 * inputs in it once: `npm run test:fuzz -- FILE`.
 *
 * `--keep` puts what came somewhere new into the corpus; a run of 0 seconds leaves out of it again what smaller inputs
 * show as well.
 */
import { existsSync } from 'node:fs';
import { relative } from 'node:path';
import { corpusPath, foundPath, writeInputs } from './corpus.ts';
import { Fuzzer } from './fuzzer.ts';
import type { Finding } from './lane.ts';

const DEFAULT_SECONDS = 60;
const REPORT_MS = 60_000;

let findings = 0;

function tell(finding: Finding, keeps: boolean): void {
  findings += 1;
  console.log(`FOUND in ${finding.target}, input ${finding.executions}: ${finding.error.stack}`);
  console.log(`  input: ${JSON.stringify(finding.input)}`);
  if (!keeps) return;
  const path = foundPath(finding.target, finding.input);
  writeInputs(path, [finding.input]);
  console.log(`  again: npm run test:fuzz -- ${relative('', path)}`);
}

function describe(fuzzer: Fuzzer, seconds: number): string {
  const lanes = fuzzer.lanes.map(({ name, executions, corpus, spentMs }) => {
    const perSecond = spentMs === 0 ? 0 : Math.round((executions / spentMs) * 1000);
    return `${name}: ${executions} (${perSecond}/s, corpus ${corpus.length})`;
  });
  const all = [...fuzzer.coverage().values()];
  const executed = all.reduce((sum, file) => sum + file.executed, 0);
  const there = all.reduce((sum, file) => sum + file.all, 0);
  const percent = ((100 * executed) / there).toFixed(2);
  const rss = Math.round(process.memoryUsage().rss / 2 ** 20);
  const found = `${findings} found`;
  return `${Math.round(seconds)} s; ${lanes.join('; ')}; ${executed} of ${there} characters, ${percent}%; ${rss} MiB; ${found}`;
}

async function fuzz(seconds: number, seed: number, keep: boolean): Promise<void> {
  console.log(`fuzzer: seed ${seed}, ${seconds} s`);
  const onFinding = (finding: Finding) => tell(finding, true);
  const fuzzer = await Fuzzer.create({ seed, onFinding, watched: true, processes: true });
  await fuzzer.loadCorpus();
  const startMs = performance.now();
  const elapsedMs = () => performance.now() - startMs;
  console.log(`corpus: ${describe(fuzzer, 0)}`);
  for (let reportMs = REPORT_MS; elapsedMs() < seconds * 1000; ) {
    await fuzzer.round();
    if (elapsedMs() < reportMs) continue;
    console.log(describe(fuzzer, elapsedMs() / 1000));
    reportMs += REPORT_MS;
  }
  console.log(`end: ${describe(fuzzer, elapsedMs() / 1000)}`);
  for (const [path, { executed, all }] of [...fuzzer.coverage()].sort()) {
    console.log(`  ${((100 * executed) / all).toFixed(1).padStart(5)}% ${path}`);
  }
  if (keep) for (const lane of fuzzer.lanes) writeInputs(corpusPath(lane.name), lane.corpus);
  await fuzzer.stop();
}

async function replay(path: string): Promise<void> {
  const onFinding = (finding: Finding) => tell(finding, false);
  const fuzzer = await Fuzzer.create({ seed: 0, onFinding, watched: true, processes: true });
  await fuzzer.replay(path);
  console.log(findings === 0 ? `${path}: nothing is wrong` : `${path}: ${findings} found`);
  await fuzzer.stop();
}

const [first = String(DEFAULT_SECONDS), second = String(Date.now() % 2 ** 31)] = process.argv
  .slice(2)
  .filter((word) => word !== '--keep');
if (existsSync(first)) await replay(first);
else await fuzz(Number(first), Number(second), process.argv.includes('--keep'));
process.exitCode = findings === 0 ? 0 : 1;
