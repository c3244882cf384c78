/** Partition tables against what sfdisk made and says of them, and tables that are not understood to the end. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import type { Extent } from '../../core/contents/ext-blocks.ts';
import { readPartitions } from '../../core/contents/partitions.ts';
import { NodeHost } from '../../core/io/node-host.ts';
import { MIB, noise, skipWithout, type Workplace, workplace } from '../support/commands.ts';

const SECTOR_BYTES = 512;
const IMAGE_BYTES = 64 * MIB;

function makeDisk(work: Workplace, script: string): string {
  const path = work.path('disk.img');
  writeFileSync(path, '');
  truncateSync(path, IMAGE_BYTES);
  execFileSync('sfdisk', ['-q', path], { input: script, stdio: ['pipe', 'ignore', 'pipe'] });
  return path;
}

async function look(path: string): Promise<readonly Extent[] | string | undefined> {
  const file = await new NodeHost().files.open(path, 'read');
  try {
    return await readPartitions(file, (await file.stat()).sizeBytes);
  } finally {
    await file.close();
  }
}

/** What sfdisk says, without the partitions that only hold others. */
function bySfdisk(path: string): Extent[] {
  const json: {
    partitiontable: { partitions: { start: number; size: number; type: string }[] };
  } = JSON.parse(execFileSync('sfdisk', ['-J', path], { encoding: 'utf8' }));
  return json.partitiontable.partitions
    .filter(({ type }) => !['5', 'f', '85'].includes(type))
    .map(({ start, size }) => ({ offsetBytes: start * SECTOR_BYTES, lengthBytes: size * SECTOR_BYTES }))
    .sort((a, b) => a.offsetBytes - b.offsetBytes);
}

const TABLES: Readonly<Record<string, string>> = {
  'a GPT': 'label: gpt\nsize=8MiB, type=uefi\nsize=20MiB\nsize=20MiB\n',
  'a GPT with places left free and out of order':
    'label: gpt\nstart=80000, size=2000\nstart=4096, size=1000\n',
  'a GPT without partitions': 'label: gpt\n',
  'an MBR': 'label: dos\nsize=8MiB, type=c, bootable\nsize=20MiB\nsize=20MiB\n',
  'an MBR with logical partitions':
    'label: dos\nsize=8MiB\nsize=8MiB, type=e\ntype=f\nsize=10MiB\nsize=10MiB\nsize=5MiB\n',
  'an MBR with an empty extended partition': 'label: dos\nsize=8MiB\nsize=20MiB, type=5\n',
};

for (const [name, script] of Object.entries(TABLES)) {
  test(`${name}: as sfdisk says`, async (t) => {
    if (skipWithout(t, 'sfdisk')) return;
    const path = makeDisk(await workplace(t), script);
    const expected = script === 'label: gpt\n' ? [] : bySfdisk(path);
    assert.deepEqual(await look(path), expected);
  });
}

test('what is no table is none', async (t) => {
  const work = await workplace(t);
  for (const bytes of [Buffer.alloc(0), Buffer.alloc(511), Buffer.alloc(MIB), noise(1, MIB)]) {
    writeFileSync(work.path('disk.img'), bytes);
    assert.equal(await look(work.path('disk.img')), undefined);
  }
});

/** Changes the bytes of the image. */
type Spoil = (bytes: Buffer) => void;

const GPT = 'label: gpt\nsize=8MiB\nsize=20MiB\n';
const LOGICAL = 'label: dos\ntype=f\nsize=10MiB\nsize=10MiB\n';
const NOT_UNDERSTOOD: Readonly<Record<string, readonly [script: string, why: RegExp, spoil: Spoil]>> = {
  'a GPT whose header is damaged': [GPT, /GPT does not match/, (bytes) => bytes.writeUInt8(7, 512 + 40)],
  'a GPT whose entries are damaged': [GPT, /GPT does not match/, (bytes) => bytes.writeUInt8(7, 1024 + 33)],
  'a GPT that is missing': [GPT, /GPT is missing/, (bytes) => bytes.fill(0, 512, 1024)],
  'an MBR beside the GPT': [GPT, /that differ/, (bytes) => bytes.writeUInt8(0x83, 466)],
  'partitions that overlap': [
    'label: dos\nsize=8MiB\nsize=8MiB\n',
    /overlap/,
    (bytes) => bytes.writeUInt32LE(3000, 462 + 8),
  ],
  'a partition past the end': [
    'label: dos\nsize=8MiB\n',
    /past the end/,
    (bytes) => bytes.writeUInt32LE(1 << 24, 446 + 12),
  ],
  'text in place of a table': [
    'label: dos\nsize=8MiB\n',
    /absurd/,
    (bytes) => bytes.write('some text ', 446),
  ],
  'a chain that is broken': [
    LOGICAL,
    /chain of logical partitions is broken/,
    (bytes) => bytes.fill(0, MIB + 510, MIB + 512),
  ],
  'a chain that leads back': [
    LOGICAL,
    /chain of logical partitions does not end/,
    (bytes) => bytes.writeUInt32LE(0, MIB + 462 + 8),
  ],
};

for (const [name, [script, why, spoil]] of Object.entries(NOT_UNDERSTOOD)) {
  test(`not understood: ${name}`, async (t) => {
    if (skipWithout(t, 'sfdisk')) return;
    const path = makeDisk(await workplace(t), script);
    const bytes = readFileSync(path);
    spoil(bytes);
    writeFileSync(path, bytes);
    assert.match(String(await look(path)), why);
  });
}
