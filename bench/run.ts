/**
 * `npm run bench`: how the commands compare with what people would use instead, and whether they stay flat.
 *
 *   npm run bench              all questions; writes RESULTS.md and results.svg
 *   npm run bench -- NAME ...  these questions; writes nothing
 *   npm run bench -- --small   each once, small: shows only that everything works
 */
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Answer, ask, type Outcome } from './harness/ask.ts';
import { Place } from './harness/place.ts';
import { runProgram } from './harness/program.ts';
import type { Question } from './harness/question.ts';
import { QUESTIONS } from './questions/index.ts';
import { renderChart } from './report/chart.ts';
import { describeLoad, machineFacts } from './report/machine.ts';
import { renderResults } from './report/results.ts';
import { rowOf } from './report/rows.ts';
import { terminalTable } from './report/table.ts';

/** The benchmark cannot be run as it was asked for. */
class Refusal extends Error {}

const NEEDED_GIB = { full: 20, small: 1 };

async function answer(
  questions: readonly Question[],
  isSmall: boolean,
  signal: AbortSignal,
): Promise<Answer[]> {
  const answers: Answer[] = [];
  const askOne = async (question: Question) => {
    const place = new Place(isSmall ? question.sizes.small : question.sizes.full, signal);
    try {
      await ask(question, place, isSmall, (each) => {
        answers.push(each);
        const { name, ratio, spread, beside } = rowOf(each);
        console.error(`${name}: ${ratio}${spread === '' ? '' : ` times ${beside} (${spread})`}`);
      });
    } finally {
      place.remove();
    }
  };
  const rest = [...questions];
  const askNext = async () => {
    for (let next = rest.shift(); next !== undefined; next = rest.shift()) await askOne(next);
  };
  // Where the times mean nothing, two at a time take less of it.
  await Promise.all(isSmall ? [askNext(), askNext()] : [askNext()]);
  return answers;
}

function write(directory: string, answers: readonly Answer[], beforeLoad: number): void {
  const date = new Date().toISOString().slice(0, 10);
  const results = renderResults(answers, machineFacts(), describeLoad(beforeLoad), date);
  writeFileSync(join(directory, 'RESULTS.md'), results);
  writeFileSync(
    join(directory, 'results.svg'),
    renderChart(answers, `How many times what stands beside it, ${date}: less is better`),
  );
}

/** Makes all reports and shows none: what was measured small says nothing, but must not stop a report. */
function tryToWrite(answers: readonly Answer[], beforeLoad: number): void {
  const directory = mkdtempSync(join(tmpdir(), 'imgsnap-bench-report-'));
  try {
    terminalTable(answers.map(rowOf));
    write(directory, answers, beforeLoad);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** The questions that were asked for; all of them where none is named. */
function select(words: readonly string[]): {
  readonly questions: readonly Question[];
  readonly isSmall: boolean;
} {
  const names = words.filter((word) => word !== '--small');
  const known = QUESTIONS.map(({ name }) => name);
  const unknown = names.find((name) => !known.includes(name));
  if (unknown !== undefined) throw new Refusal(`no question ${unknown}; there are: ${known.join(', ')}`);
  const questions = QUESTIONS.filter(({ name }) => names.length === 0 || names.includes(name));
  return { questions, isSmall: words.includes('--small') };
}

async function main(words: readonly string[], signal: AbortSignal): Promise<number> {
  const { questions, isSmall } = select(words);
  const { bavail, bsize } = statfsSync(tmpdir());
  const neededGib = isSmall ? NEEDED_GIB.small : NEEDED_GIB.full;
  if ((bavail * bsize) / 2 ** 30 < neededGib)
    throw new Refusal(`${neededGib} GiB must be free in ${tmpdir()}`);
  const [beforeLoad = 0] = loadavg();
  const answers = await answer(questions, isSmall, signal);
  if (isSmall) {
    tryToWrite(answers, beforeLoad);
    const count = (kind: Outcome['kind']) => answers.filter(({ outcome }) => outcome.kind === kind).length;
    const left = `${count('unavailable')} not possible here, ${count('failed') + count('slow')} failed`;
    console.log(`small, each once, only to see that it works: ${count('measured')} measured, ${left}`);
    return count('failed') + count('slow') > 0 ? 1 : 0;
  }
  console.log(terminalTable(answers.map(rowOf)));
  if (questions.length === QUESTIONS.length) {
    write(fileURLToPath(new URL('.', import.meta.url)), answers, beforeLoad);
    console.log('written: bench/RESULTS.md, bench/results.svg');
  }
  return answers.some(({ outcome }) => outcome.kind === 'failed') ? 1 : 0;
}

await runProgram(main, (error) =>
  console.error(error instanceof Refusal ? `bench: ${error.message}` : error),
);
