/** RESULTS.md: the caveat first, then the machine, the method and the figures. */
import type { Answer } from '../harness/ask.ts';
import type { Facts } from './machine.ts';
import { rowOf } from './rows.ts';
import { markdownTable } from './table.ts';

const CAVEAT = `These are ratios from one run on one machine. Another disk, processor or kernel gives other ratios, and
so does another load. Absolute times are given to show what was compared, not to be compared with those of other
machines.`;

const METHOD = `Every figure is the time of ours divided by the time of what stands beside it, both measured in the same
minute, in turn; who begins changes from round to round. The ratio is the median of the ratios of at least five rounds,
the spread is from the lowest to the highest. A round before those is thrown away, since the first touch of fresh disk
blocks and of a cold cache costs more. Where a run takes minutes there is one, and it says so.

Whole processes are timed, with their start and the start of the shell that runs them, from \`dist/\` as installed. Output
goes into a real pipe (\`| cat >/dev/null\`) on both sides alike. What is read is in the page cache. Before each run what it
needs is made anew, and written data is flushed; that is not timed. What writes is timed until its data is on disk, unless
the table says otherwise. A timed run of more than 300 s is given up.

Memory is the most that a process had in memory, as the kernel counts it for the process itself; the highest of all
runs counts, and its ratio is to the limit.

\`npm run bench\` repeats all of it and writes this file; \`npm run bench -- NAME\` asks one question. What a question runs
exactly is in \`bench/questions/\`.`;

export function renderResults(answers: readonly Answer[], facts: Facts, load: string, date: string): string {
  const rows = answers.map(rowOf);
  const judged = rows.filter(({ verdict }) => verdict === 'yes' || verdict === 'NO');
  const reached = judged.filter(({ verdict }) => verdict === 'yes').length;
  return [
    '# Results of the benchmark',
    `${CAVEAT} ${load}`,
    '## Machine',
    [
      '| | |\n|---|---|',
      ...facts.map(([name, value]) => `| ${name} | ${value} |`),
      `| Date | ${date} |`,
    ].join('\n'),
    '## Method',
    METHOD,
    '## Figures',
    `${reached} of ${judged.length} targets reached. Ratios: less is better. No target: shown for orientation.`,
    '![The ratios with their targets](results.svg)',
    markdownTable(rows),
  ].join('\n\n');
}
