/** The answers as a table: aligned for a terminal, and as Markdown. */
import type { Row } from './rows.ts';

/** Columns as wide as their longest cell; numbers to the right. */
export function alignColumns(
  lines: readonly (readonly string[])[],
  rightFrom: number,
  rightTo: number,
): string {
  const widths = (lines[0] ?? []).map((_, column) =>
    Math.max(...lines.map((line) => (line[column] ?? '').length)),
  );
  const align = (cell: string, column: number) => {
    const width = widths[column] ?? 0;
    return column >= rightFrom && column < rightTo ? cell.padStart(width) : cell.padEnd(width);
  };
  return lines.map((line) => `${line.map(align).join('  ').trimEnd()}\n`).join('');
}

export function terminalTable(rows: readonly Row[]): string {
  const measured = rows.filter((row) => isNumber(row.ratio));
  const head = ['', 'ratio', 'at most', 'reached', 'spread', 'ours', 'beside', 'beside what'];
  const lines = measured.map((row) => [
    row.name,
    row.ratio,
    row.reach,
    row.verdict,
    row.spread,
    row.ours,
    row.theirs,
    row.beside,
  ]);
  const rest = rows.filter((row) => !isNumber(row.ratio)).map((row) => `${row.name}: ${row.ratio}\n`);
  return [lines.length > 0 ? alignColumns([head, ...lines], 1, 7) : '', ...rest].join('');
}

export function markdownTable(rows: readonly Row[]): string {
  const head = ['Question', 'Beside', 'Ratio', 'Spread', 'Ours', 'Beside it', 'At most', 'Reached'];
  const marks = ['---', '---', '---:', '---:', '---:', '---:', '---:', '---'];
  const lines = rows.map((row) => [
    `${row.title} (\`${row.name}\`)`,
    row.beside,
    row.ratio,
    row.spread,
    row.ours,
    row.theirs,
    row.reach,
    row.verdict === 'NO' ? '**no**' : row.verdict,
  ]);
  return [head, marks, ...lines].map((cells) => `| ${cells.map(escapeCell).join(' | ')} |\n`).join('');
}

function isNumber(text: string): boolean {
  return /^[\d.]+$/.test(text);
}

function escapeCell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ');
}
