/**
 * Holds the tables of docs/FORMAT.md to the code: a field, a flag, a constant, a member or a lock that is in one and
 * not in the other fails, and so does one that stands elsewhere. Prose about offsets drifts; this keeps it from that.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import * as locks from '../../core/io/lock-offsets.ts';
import * as catalogLimits from '../../core/store/catalog.ts';
import { encodeCatalog } from '../../core/store/catalog-codec.ts';
import { CLONE_SUFFIX } from '../../core/store/clone-file.ts';
import * as dmExceptions from '../../core/store/dm-exceptions.ts';
import * as layout from '../../core/store/layout.ts';
import * as sidecar from '../../core/store/sidecar.ts';
import { packagePath } from '../support/process.ts';

type Row = Readonly<Record<string, string>>;

interface Table {
  /** The line before the table, without blank ones. */
  readonly lead: string;
  readonly heading: string;
  readonly columns: readonly string[];
  readonly rows: readonly Row[];
}

const TABLES = parseTables(readFileSync(packagePath('docs/FORMAT.md'), 'utf8'));

function cellsOf(line: string): string[] {
  return line
    .slice(1, line.lastIndexOf('|'))
    .split('|')
    .map((cell) => cell.trim());
}

function parseTables(text: string): Table[] {
  const tables: Table[] = [];
  let [heading, lead, isCode] = ['', '', false];
  let open: { columns: string[]; rows: Row[] } | undefined;
  for (const line of text.split('\n')) {
    if (line.startsWith('```')) isCode = !isCode;
    if (isCode) continue;
    if (!line.startsWith('|')) {
      open = undefined;
      if (line.startsWith('#')) heading = line.replace(/^#+ /, '');
      if (line.trim() !== '') lead = line;
    } else if (open === undefined) {
      open = { columns: cellsOf(line), rows: [] };
      tables.push({ lead, heading, columns: open.columns, rows: open.rows });
    } else if (!/^[|\s:-]+$/.test(line)) {
      const cells = cellsOf(line);
      assert.equal(cells.length, open.columns.length, `a cell too many or too few: ${line}`);
      open.rows.push(Object.fromEntries(open.columns.map((column, index) => [column, cells[index] ?? ''])));
    }
  }
  return tables;
}

/** The one table with these columns below a heading, or a line, that has `text`. */
function tableOf(text: string, ...columns: string[]): Table {
  const found = TABLES.filter(
    (table) =>
      (table.heading.includes(text) || table.lead.includes(text)) &&
      columns.every((column) => table.columns.includes(column)),
  );
  assert.equal(found.length, 1, `tables about ${text}`);
  const [table] = found;
  assert.ok(table !== undefined);
  return table;
}

function bare(cell: string | undefined): string {
  return (cell ?? '').replaceAll('`', '');
}

interface Structure {
  readonly sizeBytes: number;
  readonly fields: Readonly<Record<string, { readonly at: number; readonly bytes: number }>>;
  readonly magicText?: string;
  readonly offsetBytes?: number;
  readonly offsetsBytes?: readonly number[];
}

function isStructure(value: unknown): value is Structure {
  return typeof value === 'object' && value !== null && 'fields' in value;
}

const structures = Object.entries({ ...layout, ...dmExceptions }).flatMap(([name, value]) =>
  isStructure(value) ? [[name, value] as const] : [],
);

test('layout.ts and dm-exceptions.ts have the structures that there are tables for', () => {
  const names = structures.map(([name]) => name);
  assert.deepEqual(names.sort(), ['DM_ENTRY', 'DM_HEADER', 'ENTRY', 'FLUSH_RECORD', 'STATE', 'STORE_HEADER']);
  const documented = TABLES.filter(({ columns }) => columns.includes('Offset'));
  assert.equal(documented.length, names.length, 'tables with a column Offset');
});

for (const [name, structure] of structures) {
  test(`${name}: offsets, sizes, names and their order`, () => {
    const { heading, rows } = tableOf(`\`${name}\``, 'Offset', 'Bytes', 'Name');
    const documented = rows.map((row) => [bare(row.Name), Number(row.Offset), Number(row.Bytes)]);
    const actual = Object.entries(structure.fields).map(([field, { at, bytes }]) => [field, at, bytes]);
    assert.deepEqual(documented, actual);
    assert.ok(heading.includes(`${structure.sizeBytes} bytes`), `${heading}: ${structure.sizeBytes} bytes`);
    if (structure.magicText !== undefined) {
      assert.ok(heading.includes(`\`${structure.magicText}\``), `${heading}: ${structure.magicText}`);
      assert.ok(rows[0]?.Meaning?.includes(structure.magicText), 'the magic in its row');
    }
    for (const offset of structure.offsetsBytes ?? []) {
      assert.ok(new RegExp(`\\b${offset}\\b`).test(heading), `${heading}: ${offset}`);
    }
  });

  test(`${name}: fields do not overlap and lie within the structure`, () => {
    let end = 0;
    for (const [field, { at, bytes }] of Object.entries(structure.fields)) {
      assert.ok(at >= end, `${field} begins before the one before it ends`);
      end = at + bytes;
    }
    assert.ok(end <= structure.sizeBytes, 'the last field ends behind the structure');
  });
}

const flagSets = {
  ENTRY_FLAG: layout.ENTRY_FLAG,
  STATE_FLAG: layout.STATE_FLAG,
  STORE_FEATURE: layout.STORE_FEATURE,
};

for (const [name, flags] of Object.entries(flagSets)) {
  test(`${name}: bits and names`, () => {
    const { rows } = tableOf(`\`${name}\``, 'Bit', 'Name');
    const documented = rows.map((row) => [bare(row.Name), Number(row.Bit)]);
    assert.deepEqual(documented.sort(), Object.entries(flags).sort());
  });
}

test('every number that layout.ts and the catalog export is in the table of constants, and no other', () => {
  const actual = new Map<string, number>();
  for (const [name, value] of [...Object.entries(layout), ...Object.entries(catalogLimits)]) {
    if (typeof value === 'number') actual.set(name, value);
  }
  const documented = new Map(
    tableOf('Conventions', 'Constant').rows.map((row) => [bare(row.Constant), Number(row.Value)]),
  );
  assert.deepEqual([...documented].sort(), [...actual].sort());
});

test('the examples of where the parts of a store begin', () => {
  const { rows } = tableOf('Store', 'Snapshot bytes', 'Slots at');
  for (const row of rows) {
    const geometry = {
      sizeBytes: Number(row['Snapshot bytes']),
      clusterSizeBytes: Number(row['Cluster bytes']),
      hasCandidates: row['Candidates at'] !== '-',
    };
    const regions = layout.regions(geometry);
    assert.deepEqual(
      ['Clusters', 'Bitmap at', 'Bitmap bytes', 'Candidates at', 'Needed at', 'Table at', 'Slots at'].map(
        (column) => (row[column] === '-' ? undefined : Number(row[column])),
      ),
      [
        layout.clusterCount(geometry),
        regions.bitmapOffsetBytes,
        regions.bitmapSizeBytes,
        geometry.hasCandidates ? regions.candidateOffsetBytes : undefined,
        geometry.hasCandidates ? regions.neededOffsetBytes : undefined,
        regions.tableOffsetBytes,
        regions.dataOffsetBytes,
      ],
    );
  }
  assert.ok(rows.length >= 4);
});

/** A catalog in which every member that can be there is. */
async function wholeCatalog(): Promise<Readonly<Record<string, unknown>>> {
  const figure = { batch: 3, count: 2, xorLow: 1, xorHigh: 2 };
  const bytes = encodeCatalog({
    sidecarUuid: '00000000-0000-4000-8000-000000000001',
    generation: 2,
    clusterSizeBytes: 65536,
    nextNumber: 2,
    leftovers: [{ uuid: '00000000-0000-4000-8000-000000000003', path: '/place' }],
    snapshots: [
      {
        name: 'a',
        uuid: '00000000-0000-4000-8000-000000000002',
        number: 1,
        created: '2026-11-20T07:17:31Z',
        sizeBytes: 1,
        hasCandidates: true,
        trust: 'invalid',
        ending: { reason: 'why', time: '2026-11-20T07:17:31Z', clusterIndex: 0 },
        hidden: true,
        maxSizeBytes: 65536,
        onFull: 'refuse',
        transient: '00000000-0000-4000-8000-000000000002',
        label: 'remark',
        spill: { maxFileBytes: 1, paths: ['/place'] },
        part: { ofUuid: '00000000-0000-4000-8000-000000000002', index: 1 },
        digest: 'xxh64:0000000000000000',
        storePath: 'a-00000000.cow',
        isClone: true,
        sealed: figure,
      },
    ],
  });
  const json: unknown = JSON.parse(bytes.toString());
  return asObject(json);
}

function asObject(value: unknown): Readonly<Record<string, unknown>> {
  assert.ok(typeof value === 'object' && value !== null);
  return Object.fromEntries(Object.entries(value));
}

test('the members of the catalog, in their order', async () => {
  const catalog = await wholeCatalog();
  const [snapshot] = Array.isArray(catalog.snapshots) ? catalog.snapshots : [];
  const record = asObject(snapshot);
  const objects = {
    Catalog: catalog,
    SnapshotRecord: record,
    Ending: asObject(record.ending),
    Spill: asObject(record.spill),
    Part: asObject(record.part),
    Leftover: asObject(Array.isArray(catalog.leftovers) ? catalog.leftovers[0] : undefined),
    Figure: asObject(record.sealed),
  };
  for (const [name, object] of Object.entries(objects)) {
    const { rows } = tableOf(`\`${name}\``, 'Member', 'Type');
    assert.deepEqual(
      rows.map((row) => bare(row.Member)),
      Object.keys(object),
      name,
    );
  }
});

test('the bytes of the locks', () => {
  const { rows } = tableOf('Locks', 'Byte', 'Kind');
  const documented = new Map(rows.map((row) => [row.Name, Number(/^\d+/.exec(row.Byte ?? '')?.[0])]));
  assert.deepEqual(
    [...documented],
    [
      ['next', locks.NEXT_LOCK_OFFSET_BYTES],
      ['active', locks.ACTIVE_LOCK_OFFSET_BYTES],
      ['removal', locks.REMOVAL_LOCK_OFFSET_BYTES],
      ['in use', locks.inUseOffset(0)],
    ],
  );
  const powers = rows.map((row) => /\((2\^52)(?: \+ (\d+))?\)/.exec(row.Byte ?? ''));
  powers.forEach((match, index) => {
    assert.equal(2 ** 52 + Number(match?.[2] ?? 0), [...documented.values()][index]);
  });
});

test('the names of the files', () => {
  const documented = tableOf('Files', 'Name', 'Rebuildable').rows.map((row) => bare(row.Name));
  const { CATALOG_FILE, STATE_FILE, RESERVE_FILE, UNFINISHED_SUFFIX } = sidecar;
  const store = `NAME-UUID8${catalogLimits.STORE_SUFFIX}`;
  const clone = `NAME-UUID8${CLONE_SUFFIX}`;
  assert.deepEqual(documented, [
    CATALOG_FILE,
    STATE_FILE,
    RESERVE_FILE,
    store,
    clone,
    `${CATALOG_FILE}${UNFINISHED_SUFFIX}`,
    `${store}${UNFINISHED_SUFFIX}`,
    `${clone}${UNFINISHED_SUFFIX}`,
  ]);
});
