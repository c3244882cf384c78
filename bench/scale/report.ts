/** The figures as tables of Markdown: for each size of image the commands, and for all of them what is on disk. */
import { formatSize } from '../../core/base/units.ts';
import type { Cost } from '../harness/place.ts';
import { formatSeconds } from '../report/rows.ts';
import type { Extent, Structures } from './scene.ts';

/** What a command took, or why that is not known. */
export type Measured = Cost | string;

export interface SceneResult {
  readonly sizeBytes: number;
  readonly count: number;
  readonly commands: readonly { readonly title: string; readonly measured: Measured }[];
  readonly structures: Structures | undefined;
  /** What `snap-list --json` said, where it came to its end. */
  readonly jsonBytes: number | undefined;
}

function markdown(lines: readonly (readonly string[])[]): string {
  const [head = [], ...rest] = lines;
  const marks = head.map((_, column) => (column === 0 ? '---' : '---:'));
  return [head, marks, ...rest].map((cells) => `| ${cells.join(' | ')} |\n`).join('');
}

function costText(measured: Measured | undefined): string {
  if (measured === undefined) return '';
  if (typeof measured === 'string') return measured;
  return `${formatSeconds(measured.seconds)}, ${Math.ceil(measured.peakMib)} MiB`;
}

/** A row for each command, a column for each number of snapshots. */
export function commandTable(results: readonly SceneResult[]): string {
  const titles = [...new Set(results.flatMap(({ commands }) => commands.map(({ title }) => title)))];
  const rows = titles.map((title) => [
    title,
    ...results.map(({ commands }) => costText(commands.find((each) => each.title === title)?.measured)),
  ]);
  return markdown([['Command', ...results.map(({ count }) => countText(count))], ...rows]);
}

function countText(count: number): string {
  return `${count.toLocaleString('en')} snapshots`;
}

function extentText({ apparent, allocated }: Extent): string {
  return `${formatSize(apparent)} (${formatSize(allocated)})`;
}

/** A row for each scene: apparent sizes, and in brackets what the disk has of them. */
export function structureTable(results: readonly SceneResult[]): string {
  const head = [
    'Image, snapshots',
    '`catalog.json`',
    '`reserve`',
    '`state`',
    'store, empty',
    'store, with data',
    'all stores',
    '`snap-list --json`',
  ];
  const rows = results.flatMap(({ sizeBytes, count, structures, jsonBytes }) => {
    if (structures === undefined) return [];
    const { catalog, reserve, state, emptyStore, copyingStore, allStores } = structures;
    return [
      [
        `${formatSize(sizeBytes)}, ${count.toLocaleString('en')}`,
        ...[catalog, reserve, state, emptyStore, copyingStore, allStores].map(extentText),
        jsonBytes === undefined ? '' : formatSize(jsonBytes),
      ],
    ];
  });
  return markdown([head, ...rows]);
}
