/**
 * The ratios as an SVG chart: a dot for each figure, a line for its spread, a mark for the target. The axis is
 * logarithmic, so that half and twice the time lie equally far from once.
 */
import type { Answer } from '../harness/ask.ts';
import { isLimit } from '../harness/question.ts';
import { isReached, ratioOf, rowOf } from './rows.ts';

const WIDTH = 1000;
const LEFT = 560;
const RIGHT = 930;
const TOP = 56;
const ROW = 24;
/** What fits to the left of the axis. */
const LABEL_CHARACTERS = 74;
const LOWEST = 1 / 8;
const HIGHEST = 8;
const LEGEND = 'line: spread; upright mark: at most; green: reached; red: not; grey: no target';
const STYLE = `
  text { font: 13px system-ui, sans-serif; fill: #222 }
  .beside, .axis { fill: #777 }
  .grid { stroke: #ddd } .once { stroke: #777 }
  .yes { stroke: #2a7d4f; fill: #2a7d4f } .no { stroke: #c0392b; fill: #c0392b } .plain { stroke: #777; fill: #777 }
  .target { stroke: #222; stroke-width: 2 }
  .paper { fill: #fff }
  @media (prefers-color-scheme: dark) {
    text { fill: #ddd } .paper { fill: #111 } .grid { stroke: #333 } .target { stroke: #ddd }
  }`;

/** Where a ratio is on the axis; what lies beyond its ends is at the end. */
export function xOf(ratio: number): number {
  const share = Math.log2(ratio / LOWEST) / Math.log2(HIGHEST / LOWEST);
  return Math.round((LEFT + Math.min(1, Math.max(0, share)) * (RIGHT - LEFT)) * 10) / 10;
}

export function renderChart(answers: readonly Answer[], title: string): string {
  const measured = answers.filter(({ outcome }) => outcome.kind === 'measured');
  const height = TOP + measured.length * ROW + 34;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img">`,
    `<title>${escapeText(title)}</title><style>${STYLE}\n</style>`,
    `<rect class="paper" width="${WIDTH}" height="${height}"/>`,
    `<text x="12" y="24">${escapeText(title)} <tspan class="beside">${LEGEND}</tspan></text>`,
    ...axis(height - 30),
    ...measured.map((answer, index) => plotRow(answer, TOP + index * ROW)),
    '</svg>\n',
  ].join('\n');
}

function axis(bottom: number): string[] {
  const marks: string[] = [];
  for (let ratio = LOWEST; ratio <= HIGHEST; ratio *= 2) {
    const x = xOf(ratio);
    marks.push(
      `<line class="${ratio === 1 ? 'once' : 'grid'}" x1="${x}" x2="${x}" y1="${TOP - 12}" y2="${bottom}"/>`,
      `<text class="axis" x="${x}" y="${bottom + 16}" text-anchor="middle">${ratio}</text>`,
    );
  }
  return marks;
}

function plotRow(answer: Answer, top: number): string {
  const { comparison, outcome } = answer;
  if (outcome.kind !== 'measured') return '';
  const { name, beside } = rowOf(answer);
  const label = shorten(`beside ${beside.replaceAll('`', '')}`, LABEL_CHARACTERS - name.length);
  const ratio = ratioOf(outcome.ratio, isLimit(comparison.beside));
  const { reach } = comparison;
  const y = top + ROW / 2 - 4;
  const colour = reach === undefined ? 'plain' : isReached(ratio, reach) ? 'yes' : 'no';
  const target =
    reach === undefined
      ? ''
      : `<line class="target" x1="${xOf(reach)}" x2="${xOf(reach)}" y1="${y - 8}" y2="${y + 8}"/>`;
  const { lowest, highest } = outcome.ratio;
  return [
    `<text x="12" y="${y + 4}">${escapeText(name)} <tspan class="beside">${escapeText(label)}</tspan></text>`,
    target,
    `<line class="${colour}" x1="${xOf(lowest)}" x2="${xOf(highest)}" y1="${y}" y2="${y}"/>`,
    `<circle class="${colour}" cx="${xOf(ratio)}" cy="${y}" r="4"/>`,
    `<text x="${RIGHT + 12}" y="${y + 4}">${ratio.toFixed(2)}</text>`,
  ].join('');
}

function shorten(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length - 1).trimEnd()}…` : text;
}

function escapeText(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
