/** What an answer says in words and numbers: the same in the terminal, in RESULTS.md and in the chart. */
import type { Answer } from '../harness/ask.ts';
import { isLimit } from '../harness/question.ts';
import type { Figure } from '../harness/statistics.ts';

export type Verdict = 'yes' | 'NO' | 'not measured' | 'failed' | '';

export interface Row {
  readonly name: string;
  readonly title: string;
  readonly beside: string;
  readonly ratio: string;
  readonly spread: string;
  readonly ours: string;
  readonly theirs: string;
  readonly reach: string;
  readonly verdict: Verdict;
}

export function rowOf({ question, comparison, outcome }: Answer): Row {
  const { note, beside, reach } = comparison;
  const isMemory = isLimit(beside);
  const words = {
    name: `${question.name}/${comparison.name}`,
    title: note === undefined ? question.title : `${question.title}: ${note}`,
    beside: beside.label,
    reach: reach === undefined ? '' : reach.toFixed(2),
    ratio: '',
    spread: '',
    ours: '',
    theirs: '',
  };
  if (outcome.kind === 'failed') return { ...words, ratio: `failed: ${outcome.why}`, verdict: 'failed' };
  if (outcome.kind === 'unavailable') return { ...words, ratio: outcome.why, verdict: 'not measured' };
  if (outcome.kind === 'slow') {
    const verdict = reach === undefined ? '' : 'NO';
    return { ...words, ratio: `given up after ${outcome.limitSeconds} s`, verdict };
  }
  const { ratio, ours, beside: theirs } = outcome;
  const format = isMemory ? formatMib : formatSeconds;
  return {
    ...words,
    ratio: ratioOf(ratio, isMemory).toFixed(2),
    spread: ratio.count === 1 ? 'one run' : `${ratio.lowest.toFixed(2)} to ${ratio.highest.toFixed(2)}`,
    ours: format(ratioOf(ours, isMemory)),
    theirs: format(theirs.median),
    verdict: reach === undefined ? '' : isReached(ratioOf(ratio, isMemory), reach) ? 'yes' : 'NO',
  };
}

/** What is judged: the middle of times, the worst of memory, since a limit is a limit. */
export function ratioOf(figure: Figure, isMemory: boolean): number {
  return isMemory ? figure.highest : figure.median;
}

/** By the two digits that are shown. */
export function isReached(ratio: number, reach: number): boolean {
  return Number(ratio.toFixed(2)) <= reach;
}

export function formatSeconds(seconds: number): string {
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;
}

function formatMib(mib: number): string {
  return `${Math.ceil(mib)} MiB`;
}
