/** Writing past the page cache: the file has what was written, whatever can be had of it, and nothing of it is in the cache. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, readlinkSync, realpathSync } from 'node:fs';
import { test } from 'node:test';
import { pageAligned } from '../../core/base/page-aligned.ts';
import { NodeFileSystem } from '../../core/io/node-file-system.ts';
import { mayGoPastCache, openPastCache } from '../../core/io/past-cache.ts';
import { noise, skipWithout, workplace } from '../support/commands.ts';
import { ext4, mounted } from '../support/mounted.ts';
import { inEachWorld } from './worlds.ts';

const MIB = 1 << 20;
const PAGE_BYTES = 4096;

/** Bytes that differ from place to place. */
function fill(target: Buffer, salt: number): Buffer {
  for (let at = 0; at + 4 <= target.length; at += 4) target.writeUInt32LE((at * 2654435761 + salt) >>> 0, at);
  return target;
}

function cachedBytes(path: string): number {
  return Number(execFileSync('fincore', ['-bnro', 'RES', path], { encoding: 'utf8' }));
}

function descriptorsOf(path: string): number {
  const names = readdirSync('/proc/self/fd').map((descriptor) => {
    try {
      return readlinkSync(`/proc/self/fd/${descriptor}`);
    } catch (error) {
      // The one that the list was read through.
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return '';
      throw error;
    }
  });
  return names.filter((name) => name === realpathSync(path)).length;
}

inEachWorld('whatever the place, the length and the memory, it is written', async ({ open }) => {
  const file = await open('a', 'create');
  const expected = Buffer.alloc(9 * MIB);
  const aligned = fill(pageAligned(2 * MIB), 1);
  const unaligned = fill(Buffer.allocUnsafeSlow(2 * MIB + 100), 2);
  const pieces: readonly (readonly [Buffer, number])[] = [
    [aligned, 0],
    [aligned.subarray(PAGE_BYTES, MIB), 2 * MIB],
    [aligned.subarray(0, MIB + 5), 3 * MIB],
    [aligned.subarray(0, MIB), 4 * MIB + PAGE_BYTES],
    [aligned.subarray(1, MIB), 5 * MIB + 3],
    [unaligned.subarray(0, 2 * MIB), 6 * MIB],
    [unaligned.subarray(100), 7 * MIB],
    // After memory that was refused.
    [aligned.subarray(0, MIB), 5 * MIB],
    [aligned.subarray(0, 10), 9 * MIB - 10],
  ];
  for (const [source, offsetBytes] of pieces) {
    await file.write(source, offsetBytes, 'past-cache');
    source.copy(expected, offsetBytes);
    const seen = Buffer.alloc(source.length);
    assert.equal(await file.read(seen, offsetBytes), source.length);
    assert.ok(seen.equals(source), `what was written at ${offsetBytes} is not what is read`);
  }
  await file.syncData();
  const all = Buffer.alloc(expected.length + 1);
  assert.equal(await file.read(all, 0), expected.length);
  assert.ok(all.subarray(0, expected.length).equals(expected));
});

inEachWorld('what the cache has of the place is not read any more', async ({ open }) => {
  const file = await open('a', 'create');
  await file.write(fill(Buffer.alloc(4 * MIB), 1), 0);
  const seen = Buffer.alloc(4 * MIB);
  await file.read(seen, 0);
  const newer = fill(pageAligned(MIB), 2);
  await file.write(newer, MIB, 'past-cache');
  await file.read(seen, 0);
  assert.ok(seen.subarray(MIB, 2 * MIB).equals(newer));
  // And the other way round.
  await file.write(fill(newer, 3), MIB);
  await file.read(seen, 0);
  assert.ok(seen.subarray(MIB, 2 * MIB).equals(newer));
});

test('on ext4 nothing of it is in the page cache, and no descriptor is left', async (t) => {
  const work = await workplace(t);
  if (skipWithout(t, 'fincore') || !(await ext4(t, work, 64 * MIB))) return;
  await mounted(t, work, ['-o', 'loop', work.path('fs.img')], async (there) => {
    const path = there.path('a');
    const file = await new NodeFileSystem().open(path, 'create');
    const source = fill(pageAligned(4 * MIB), 1);
    await file.write(source, 0);
    assert.equal(cachedBytes(path), 4 * MIB, 'what is written as usual is in the cache');
    await file.write(source, 4 * MIB, 'past-cache');
    await file.write(source, 0, 'past-cache');
    assert.equal(cachedBytes(path), 0);
    assert.equal(descriptorsOf(path), 2);
    await file.close();
    assert.equal(descriptorsOf(path), 0);
  });
});

test('a disk that is full says so at once', async (t) => {
  const work = await workplace(t);
  if (!(await ext4(t, work, 8 * MIB))) return;
  await mounted(t, work, ['-o', 'loop', work.path('fs.img')], async (there) => {
    const file = await new NodeFileSystem().open(there.path('a'), 'create');
    try {
      const error = { code: 'no-space', path: there.path('a') };
      await assert.rejects(file.write(pageAligned(16 * MIB), 0, 'past-cache'), error);
    } finally {
      await file.close();
    }
  });
});

test('without address space for it, or without WebAssembly, memory is had all the same', (t) => {
  const global = globalThis as unknown as { WebAssembly: unknown };
  const original = global.WebAssembly;
  t.after(() => {
    global.WebAssembly = original;
  });
  const full = {
    Memory: class {
      constructor() {
        throw new RangeError('could not allocate memory');
      }
    },
  };
  for (const each of [full, undefined]) {
    global.WebAssembly = each;
    assert.equal(pageAligned(100_000).length, 100_000);
  }
});

test('only whole pages at a page are for it, and only where it is known', () => {
  const memory = pageAligned(4 * PAGE_BYTES);
  assert.ok(mayGoPastCache(memory, 0));
  assert.ok(mayGoPastCache(memory.subarray(PAGE_BYTES), 2 ** 40));
  assert.ok(!mayGoPastCache(memory, 512));
  assert.ok(!mayGoPastCache(memory, 2 ** 32 + 1));
  assert.ok(!mayGoPastCache(memory.subarray(512), 0));
  assert.ok(!mayGoPastCache(memory.subarray(0, 100), 0));
  assert.equal(openPastCache(-1), undefined);
});

test('what a command copies leaves the page cache alone', async (t) => {
  const work = await workplace(t);
  if (skipWithout(t, 'fincore') || !(await ext4(t, work, 64 * MIB))) return;
  await mounted(t, work, ['-o', 'loop', work.path('fs.img')], async (there) => {
    const old = there.image('disk.img', noise('old', 8 * MIB));
    await there.ok('snap-create', ['disk.img@a']);
    await there.write('disk.img', 0, noise('new', 8 * MIB));
    assert.ok(cachedBytes(there.store('disk.img', 'a')) < MIB);
    assert.ok((await there.read('disk.img@a')).equals(old));
  });
});
