/**
 * Free blocks of ext2, ext3 and ext4 against what dumpe2fs says of the same file system, over the features that change where
 * things stand; and that whatever gives reason for doubt keeps all of it.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  mkdirSync,
  openSync,
  readSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { type TestContext, test } from 'node:test';
import { getBit } from '../../core/base/bitmap.ts';
import { crc16, crc32, crc32c } from '../../core/base/crc.ts';
import { candidatesOfFileSystems } from '../../core/contents/file-systems.ts';
import type { Selection } from '../../core/contents/selection.ts';
import { NodeHost } from '../../core/io/node-host.ts';
import { KIB, MIB, noise, skipWithout, type Workplace, workplace } from '../support/commands.ts';

const CLUSTER_BYTES = 4096;

function run(program: string, ...args: readonly string[]): string {
  return execFileSync(program, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
    maxBuffer: 64 * MIB,
  });
}

/** A file system with files, of which some were removed again. */
function makeExt(work: Workplace, name: string, size: string, options: readonly string[]): string {
  const tree = work.path('tree');
  mkdirSync(`${tree}/directory`, { recursive: true });
  for (let index = 0; index < 12; index += 1) {
    writeFileSync(`${tree}/directory/file${index}`, noise(`${name} ${index}`, 3000 + index * 40 * KIB));
  }
  const path = work.path(name);
  run('mke2fs', '-q', '-F', ...options, '-d', tree, path, size);
  for (const index of [2, 3, 7, 11]) run('debugfs', '-w', '-R', `rm /directory/file${index}`, path);
  return path;
}

async function look(path: string, sizeBytes: number): Promise<Selection> {
  const file = await new NodeHost().files.open(path, 'read');
  try {
    return await candidatesOfFileSystems(file, { sizeBytes, clusterSizeBytes: CLUSTER_BYTES });
  } finally {
    await file.close();
  }
}

/** Clusters that are in no free block, by dumpe2fs. */
function candidatesByDumpe2fs(path: string, sizeBytes: number): Set<number> {
  const text = run('dumpe2fs', path);
  const blockBytes = Number(/^Block size: +(\d+)$/m.exec(text)?.[1]);
  const free = new Uint8Array(Math.ceil(sizeBytes / blockBytes));
  for (const [, list = ''] of text.matchAll(/^ {2}Free blocks: (.*)$/gm)) {
    for (const range of list.split(', ').filter((each) => each !== '')) {
      const [first = 0, last = first] = range.split('-').map(Number);
      free.fill(1, first, last + 1);
    }
  }
  const candidates = new Set<number>();
  for (let block = 0; block < free.length; block += 1) {
    if (free[block] === 0) candidates.add(Math.floor((block * blockBytes) / CLUSTER_BYTES));
    if (free[block] === 0 && blockBytes > CLUSTER_BYTES)
      assert.fail('clusters smaller than blocks are not compared');
  }
  return candidates;
}

function setOf(bits: Buffer | undefined, count: number): Set<number> {
  assert.ok(bits !== undefined, 'nothing was left out');
  return new Set(Array.from({ length: count }, (_, index) => index).filter((index) => getBit(bits, index)));
}

const UNDERSTOOD: Readonly<Record<string, readonly [size: string, ...options: string[]]>> = {
  'ext4 as mke2fs makes it': ['40M', '-t', 'ext4'],
  'ext4 of several groups, most of them never used': ['1G', '-t', 'ext4'],
  'ext4 with blocks of 1 KiB': ['40M', '-t', 'ext4', '-b', '1024'],
  'ext4 with blocks of 2 KiB': ['40M', '-t', 'ext4', '-b', '2048'],
  'ext4 without 64 bits': ['600M', '-t', 'ext4', '-O', '^64bit'],
  'ext4 without checksums of metadata': ['600M', '-t', 'ext4', '-O', '^metadata_csum'],
  'ext4 with checksums of descriptors alone': ['600M', '-t', 'ext4', '-O', '^metadata_csum,uninit_bg,^64bit'],
  'ext4 without any checksum': ['600M', '-t', 'ext4', '-O', '^metadata_csum,^uninit_bg'],
  'ext4 without flex_bg': ['600M', '-t', 'ext4', '-O', '^flex_bg'],
  'ext4 with a seed of its own': ['40M', '-t', 'ext4', '-O', 'metadata_csum_seed'],
  'ext4 without sparse copies': ['600M', '-t', 'ext4', '-O', '^sparse_super,^resize_inode'],
  ext3: ['40M', '-t', 'ext3'],
  ext2: ['40M', '-t', 'ext2'],
};

for (const [name, [size, ...options]] of Object.entries(UNDERSTOOD)) {
  test(`free blocks as dumpe2fs tells them: ${name}`, async (t) => {
    if (skipWithout(t, 'mke2fs', 'debugfs', 'dumpe2fs')) return;
    const work = await workplace(t);
    const path = makeExt(work, 'fs.img', size, options);
    const sizeBytes = Number.parseInt(size, 10) * (size.endsWith('G') ? 1024 * MIB : MIB);
    const { candidates, doubts } = await look(path, sizeBytes);
    assert.deepEqual(doubts, []);
    const found = setOf(candidates, sizeBytes / CLUSTER_BYTES);
    const expected = candidatesByDumpe2fs(path, sizeBytes);
    assert.deepEqual(
      [...expected].filter((index) => !found.has(index)),
      [],
      'in use, and left out',
    );
    assert.deepEqual(
      [...found].filter((index) => !expected.has(index)),
      [],
      'free, and kept',
    );
    assert.ok(found.size < sizeBytes / CLUSTER_BYTES);
  });
}

test('copies of the superblock in places of their own: nothing in use is left out', async (t) => {
  if (skipWithout(t, 'mke2fs', 'debugfs', 'dumpe2fs')) return;
  const work = await workplace(t);
  const path = makeExt(work, 'fs.img', '1G', [
    '-t',
    'ext4',
    '-O',
    'sparse_super2,^resize_inode',
    '-E',
    'num_backup_sb=2',
  ]);
  const { candidates } = await look(path, 1024 * MIB);
  const found = setOf(candidates, (1024 * MIB) / CLUSTER_BYTES);
  assert.deepEqual(
    [...candidatesByDumpe2fs(path, 1024 * MIB)].filter((index) => !found.has(index)),
    [],
  );
  assert.ok(found.size < ((1024 * MIB) / CLUSTER_BYTES) * 0.2);
});

/** Changes bytes of a file in place. */
function alter(path: string, offsetBytes: number, change: (bytes: Buffer) => void, lengthBytes = 4): void {
  const descriptor = openSync(path, 'r+');
  const bytes = Buffer.alloc(lengthBytes);
  readSync(descriptor, bytes, 0, lengthBytes, offsetBytes);
  change(bytes);
  writeSync(descriptor, bytes, 0, lengthBytes, offsetBytes);
  closeSync(descriptor);
}

/** Makes the check of a superblock with crc32c right again. */
function mend(path: string): void {
  alter(
    path,
    1024,
    (bytes) => bytes.writeUInt32LE(crc32c(bytes.subarray(0, 0x3fc), 0xffffffff), 0x3fc),
    1024,
  );
}

async function assertKept(t: TestContext, path: string, sizeBytes: number, why: RegExp): Promise<void> {
  const { candidates, doubts } = await look(path, sizeBytes);
  t.diagnostic(doubts.join('; '));
  assert.equal(candidates, undefined, 'all is kept');
  assert.match(doubts.join('\n'), why);
  assert.equal(doubts.length, 1);
}

const DOUBTFUL: Readonly<Record<string, readonly [why: RegExp, spoil: (path: string) => void]>> = {
  'its journal has to be replayed': [
    /journal has to be replayed/,
    (path) => {
      alter(path, 1024 + 0x60, (bytes) => bytes.writeUInt32LE(bytes.readUInt32LE(0) | 4));
      mend(path);
    },
  ],
  'it was not unmounted': [
    /not unmounted cleanly/,
    (path) => {
      alter(path, 1024 + 0x3a, (bytes) => bytes.writeUInt16LE(0));
      mend(path);
    },
  ],
  'it has errors': [
    /not unmounted cleanly/,
    (path) => {
      alter(path, 1024 + 0x3a, (bytes) => bytes.writeUInt16LE(3));
      mend(path);
    },
  ],
  'an unknown feature': [
    /features that are not understood/,
    (path) => {
      alter(path, 1024 + 0x60, (bytes) => bytes.writeUInt32LE(bytes.readUInt32LE(0) | 0x80000));
      mend(path);
    },
  ],
  'a superblock that is damaged': [
    /superblock does not match/,
    (path) => alter(path, 1024 + 0x10, (bytes) => bytes.fill(7)),
  ],
  'a descriptor that is damaged': [
    /group descriptor does not match/,
    (path) => alter(path, 4096 + 12, (bytes) => bytes.fill(7)),
  ],
};

for (const [name, [why, spoil]] of Object.entries(DOUBTFUL)) {
  test(`all is kept, and why is said: ${name}`, async (t) => {
    if (skipWithout(t, 'mke2fs', 'debugfs')) return;
    const work = await workplace(t);
    const path = makeExt(work, 'fs.img', '40M', ['-t', 'ext4', '-b', '4096']);
    spoil(path);
    await assertKept(t, path, 40 * MIB, why);
  });
}

test('a block bitmap that is damaged keeps all, by its checksum or by its count', async (t) => {
  if (skipWithout(t, 'mke2fs', 'debugfs', 'dumpe2fs')) return;
  const work = await workplace(t);
  for (const [features, why] of [
    ['metadata_csum', /bitmap does not match/],
    ['^metadata_csum,^uninit_bg', /does not come to its count/],
  ] as const) {
    const path = makeExt(work, 'fs.img', '40M', ['-t', 'ext4', '-b', '4096', '-O', features]);
    const block = Number(/Block bitmap at (\d+)/.exec(run('dumpe2fs', path))?.[1]);
    // One bit, of a block that is in use: the worst of all, since a file would read as zeros.
    alter(path, block * 4096, (bytes) => bytes.writeUInt8(bytes.readUInt8(0) & 0xf7));
    await assertKept(t, path, 40 * MIB, why);
    rmSync(path);
  }
});

for (const [name, options] of Object.entries({
  bigalloc: ['-O', 'bigalloc'],
  meta_bg: ['-O', 'meta_bg,^resize_inode'],
})) {
  test(`all is kept where blocks are counted or placed otherwise: ${name}`, async (t) => {
    if (skipWithout(t, 'mke2fs', 'debugfs')) return;
    const work = await workplace(t);
    const path = makeExt(work, 'fs.img', '40M', ['-t', 'ext4', ...options]);
    await assertKept(t, path, 40 * MIB, /features that are not understood/);
  });
}

test('a file system that is longer than its image, or not one at all, keeps all', async (t) => {
  if (skipWithout(t, 'mke2fs', 'debugfs')) return;
  const work = await workplace(t);
  const path = makeExt(work, 'fs.img', '40M', ['-t', 'ext4']);
  truncateSync(path, 39 * MIB);
  await assertKept(t, path, 39 * MIB, /superblock does not fit/);
  writeFileSync(work.path('noise'), noise(1, MIB));
  await assertKept(t, work.path('noise'), MIB, /no ext2, ext3 or ext4/);
  writeFileSync(work.path('short'), noise(1, 700));
  await assertKept(t, work.path('short'), 700, /no ext2, ext3 or ext4/);
  writeFileSync(work.path('empty'), '');
  await assertKept(t, work.path('empty'), 0, /no ext2, ext3 or ext4/);
});

test('an old superblock below another file system is not believed', async (t) => {
  if (skipWithout(t, 'mke2fs', 'debugfs')) return;
  const work = await workplace(t);
  const whole = makeExt(work, 'fs.img', '40M', ['-t', 'ext4']);
  for (const [at, magic] of [
    [0, 'XFSB'],
    [512, 'LABELONE'],
    [0, 'LUKS\xba\xbe'],
    [65_600, '_BHRfS_M'],
  ] as const) {
    copyFileSync(whole, work.path('other.img'));
    alter(work.path('other.img'), at, (bytes) => bytes.write(magic, 'latin1'), magic.length);
    await assertKept(t, work.path('other.img'), 40 * MIB, /no ext2, ext3 or ext4/);
  }
});

test('what is behind the file system in its image is kept', async (t) => {
  if (skipWithout(t, 'mke2fs', 'debugfs', 'dumpe2fs')) return;
  const work = await workplace(t);
  const path = makeExt(work, 'fs.img', '40M', ['-t', 'ext4']);
  const sizeBytes = 40 * MIB + 100_001;
  truncateSync(path, sizeBytes);
  const found = setOf((await look(path, sizeBytes)).candidates, Math.ceil(sizeBytes / CLUSTER_BYTES));
  for (let index = (40 * MIB) / CLUSTER_BYTES; index * CLUSTER_BYTES < sizeBytes; index += 1)
    assert.ok(found.has(index));
});

test('checksums are those of the standards', () => {
  const digits = Buffer.from('123456789');
  assert.equal(crc16(digits, 0), 0xbb3d);
  assert.equal(~crc32(digits, 0xffffffff) >>> 0, 0xcbf43926);
  assert.equal(~crc32c(digits, 0xffffffff) >>> 0, 0xe3069283);
});
