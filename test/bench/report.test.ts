/** What the benchmark reports is what was measured: verdicts, tables and the places of dots. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Answer, Outcome } from '../../bench/harness/ask.ts';
import type { Comparison } from '../../bench/harness/question.ts';
import { summarize } from '../../bench/harness/statistics.ts';
import { QUESTIONS } from '../../bench/questions/index.ts';
import { renderChart, xOf } from '../../bench/report/chart.ts';
import { renderResults } from '../../bench/report/results.ts';
import { formatSeconds, rowOf } from '../../bench/report/rows.ts';
import { alignColumns, markdownTable, terminalTable } from '../../bench/report/table.ts';

function answer(outcome: Outcome, comparison: Partial<Comparison> = {}): Answer {
  return {
    question: {
      name: 'stream',
      title: 'stream a | b',
      sizes: { full: {}, small: {} },
      setup: async () => undefined,
      comparisons: [],
    },
    comparison: {
      name: 'cat',
      ours: { label: 'ours', run: '' },
      beside: { label: '`cat` <x>', run: '' },
      ...comparison,
    },
    outcome,
  };
}

function measured(ratios: readonly number[]): Outcome {
  return { kind: 'measured', ratio: summarize(ratios), ours: summarize(ratios), beside: summarize([1]) };
}

test('a target is reached by the median, and by the digits that are shown', () => {
  const verdict = (ratios: readonly number[], reach?: number) =>
    rowOf(answer(measured(ratios), reach === undefined ? {} : { reach })).verdict;
  assert.equal(verdict([0.5, 0.9, 3], 1), 'yes');
  assert.equal(verdict([0.5, 1.004, 3], 1), 'yes');
  assert.equal(verdict([0.5, 1.006, 3], 1), 'NO');
  assert.equal(verdict([9]), '');
});

test('memory is judged by its worst run', () => {
  const row = rowOf(
    answer(measured([0.5, 0.6, 1.2]), { reach: 1, beside: { label: '128 MiB', peakMib: 128 } }),
  );
  assert.deepEqual([row.ratio, row.verdict], ['1.20', 'NO']);
});

test('what was not measured shows why, and has no number', () => {
  assert.equal(rowOf(answer({ kind: 'slow', limitSeconds: 300 }, { reach: 1 })).verdict, 'NO');
  assert.equal(rowOf(answer({ kind: 'failed', why: 'broken' }, { reach: 1 })).verdict, 'failed');
  const lacking = answer({ kind: 'unavailable', why: 'not installed: qemu-img' }, { reach: 1 });
  assert.equal(rowOf(lacking).verdict, 'not measured');
  assert.match(terminalTable([rowOf(lacking)]), /^stream\/cat: not installed: qemu-img\n$/);
  assert.match(markdownTable([rowOf(lacking)]), /not installed: qemu-img .*not measured/);
});

test('times are shown with about three digits', () => {
  const shown = [0.0615, 0.9, 1.234, 12.34, 123.4].map(formatSeconds);
  assert.deepEqual(shown, ['62 ms', '900 ms', '1.23 s', '12.3 s', '123.4 s']);
});

test('columns are as wide as their longest cell, numbers to the right', () => {
  const lines = [
    ['', 'ratio', 'what'],
    ['stream', '0.9', 'cat'],
    ['a', '12.25', ''],
  ];
  assert.equal(alignColumns(lines, 1, 2), '        ratio  what\nstream    0.9  cat\na       12.25\n');
});

test('a cell of the Markdown table is one cell', () => {
  const [, , line = ''] = markdownTable([rowOf(answer(measured([1])))]).split('\n');
  assert.match(line, /stream a \\\| b/);
  assert.equal(line.split(/(?<!\\)\|/).length, 10);
});

test('the axis is logarithmic, with its ends as stops', () => {
  const step = xOf(2) - xOf(1);
  assert.ok(step > 0 && Math.abs(xOf(1) - xOf(0.5) - step) < 0.2 && Math.abs(xOf(4) - xOf(2) - step) < 0.2);
  assert.equal(xOf(1000), xOf(8));
  assert.equal(xOf(0.0001), xOf(1 / 8));
});

test('the chart has a dot where the median is, a line over the spread, a mark at the target', () => {
  const chart = renderChart(
    [answer(measured([0.5, 1, 4]), { reach: 2 }), answer({ kind: 'failed', why: '' })],
    'A & B',
  );
  assert.match(chart, /<title>A &amp; B<\/title>/);
  assert.match(chart, /beside cat &lt;x&gt;/);
  assert.equal(chart.match(/<circle/g)?.length, 1);
  assert.ok(chart.includes(`<circle class="yes" cx="${xOf(1)}"`));
  assert.ok(chart.includes(`<line class="yes" x1="${xOf(0.5)}" x2="${xOf(4)}"`));
  assert.ok(chart.includes(`<line class="target" x1="${xOf(2)}" x2="${xOf(2)}"`));
});

test('the results begin with the caveat, then machine, method and figures', () => {
  const answers = [
    answer(measured([1]), { reach: 1 }),
    answer(measured([2]), { reach: 1 }),
    answer(measured([3])),
  ];
  const text = renderResults(answers, [['Node', 'v20']], 'It was idle.', '2026-01-02');
  const order = [
    'ratios from one run on one machine',
    'It was idle.',
    '## Machine',
    '## Method',
    '## Figures',
  ];
  const places = order.map((each) => text.indexOf(each));
  assert.ok(
    places.every((place, index) => place > (places[index - 1] ?? 0)),
    places.join(),
  );
  assert.match(text, /1 of 2 targets reached/);
});

test('questions and their comparisons have names of their own', () => {
  const names = QUESTIONS.flatMap(({ name, comparisons }) =>
    comparisons.map((each) => `${name}/${each.name}`),
  );
  assert.equal(new Set(names).size, names.length);
  assert.equal(new Set(QUESTIONS.map(({ name }) => name)).size, QUESTIONS.length);
  for (const { sizes } of QUESTIONS) assert.deepEqual(Object.keys(sizes.small), Object.keys(sizes.full));
});
