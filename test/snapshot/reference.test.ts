/** How IMAGE and IMAGE@NAME are told apart, with files whose names hold an @ themselves. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SnapError } from '../../core/base/errors.ts';
import type { FileKind, FileStat, FileSystem } from '../../core/io/file-system.ts';
import { isSnapshotName, parseReference } from '../../core/snapshot/reference.ts';

/** A file system of which only `stat` is asked: paths with their kind, or the errno that looking at them gives. */
function stub(paths: Record<string, FileKind | { errno: string }>): Pick<FileSystem, 'stat'> {
  return {
    async stat(path) {
      const found = Object.hasOwn(paths, path) ? paths[path] : undefined;
      if (found === undefined) return undefined;
      if (typeof found === 'object')
        throw new SnapError('io', `cannot look at ${path}`, { errno: found.errno, path });
      return statOf(found);
    },
  };
}

function statOf(kind: FileKind): FileStat {
  return {
    ...{ kind, sizeBytes: 0, allocatedBytes: 0, modifiedNs: 0n, mode: 0o644, userId: 0, groupId: 0 },
    ...{ linkCount: 1, device: 1n, inode: 1n },
  };
}

type Case = readonly [existing: string[], text: string, image: string, name?: string];

test('the last @ separates, a file of the whole name wins, a trailing @ means the image', async () => {
  const cases: readonly Case[] = [
    [['disk.img'], 'disk.img', 'disk.img'],
    [[], 'disk.img', 'disk.img'],
    [['disk.img'], 'disk.img@x', 'disk.img', 'x'],
    // An image that is gone: its sidecar's snapshots can still be named.
    [[], 'disk.img@x', 'disk.img', 'x'],
    [[], './a/../disk.img@x', './a/../disk.img', 'x'],
    [[], '/vm@host/disk.img', '/vm@host/disk.img'],
    [[], '/vm@host/disk.img@x', '/vm@host/disk.img', 'x'],
    [[], '/vm@host/', '/vm@host/'],
    [['a@b'], 'a@b', 'a@b'],
    [['a@b'], 'a@b@', 'a@b'],
    [['a', 'a@b'], 'a@b@', 'a@b'],
    [['a', 'a@b'], 'a@b@c', 'a@b', 'c'],
    [[], 'a@b@c', 'a@b', 'c'],
    [[], 'a@', 'a'],
    [[], 'a@@', 'a@'],
    [['a@'], 'a@', 'a@'],
    [['a@'], 'a@@x', 'a@', 'x'],
    [['@x'], '@x', '@x'],
    [[], '@x@', '@x'],
    [['d/@x'], 'd/@x', 'd/@x'],
    [['a@not a name'], 'a@not a name', 'a@not a name'],
    [['a@b', 'a.snap'], 'a@b', 'a@b'],
  ];
  for (const [existing, text, image, name] of cases) {
    const files = stub(Object.fromEntries(existing.map((path) => [path, 'file' as const])));
    const expected = name === undefined ? { image } : { image, name };
    assert.deepEqual(await parseReference(files, text), expected, `${text} with ${existing.join(' ')}`);
  }
});

test('two readings are refused, and the hint names the form that has one', async () => {
  await assert.rejects(parseReference(stub({ a: 'file', 'a@b': 'file' }), 'a@b'), {
    code: 'usage',
    message: '"a@b" is ambiguous: both "a" and this file exist',
    hint: 'write "a@b@" for the image of that name',
  });
  await assert.rejects(parseReference(stub({ a: 'file', 'a@': 'file' }), 'a@'), { code: 'usage' });
});

test('a directory is no image, so it makes nothing ambiguous', async () => {
  const both = stub({ vm: 'file', 'vm@old': 'directory' });
  assert.deepEqual(await parseReference(both, 'vm@old'), { image: 'vm', name: 'old' });
  const outer = stub({ vm: 'directory', 'vm@old': 'file' });
  assert.deepEqual(await parseReference(outer, 'vm@old'), { image: 'vm@old' });
});

test('no image and bad names are usage', async () => {
  for (const text of [
    '',
    '@',
    '@x',
    'dir/@x',
    './@',
    'a@-x',
    'a@.x',
    'a@x y',
    'a@é',
    'a@x\n',
    `a@${'x'.repeat(129)}`,
  ]) {
    await assert.rejects(
      parseReference(stub({}), text),
      { name: 'SnapError', code: 'usage' },
      JSON.stringify(text),
    );
  }
  await assert.rejects(parseReference(stub({ a: 'file' }), 'a@!b'), {
    message: `"!b" is not a snapshot's name`,
    hint: '1 to 128 of A-Z a-z 0-9 _ . : + -, the first a letter or digit; "a@!b@" is an image',
  });
});

test('a path that cannot exist does not; what cannot be looked at is told', async () => {
  for (const errno of ['ENOTDIR', 'ENAMETOOLONG', 'ELOOP']) {
    assert.deepEqual(
      await parseReference(stub({ 'a@b': { errno } }), 'a@b'),
      { image: 'a', name: 'b' },
      errno,
    );
    assert.deepEqual(
      await parseReference(stub({ a: { errno }, 'a@b': 'file' }), 'a@b'),
      { image: 'a@b' },
      errno,
    );
  }
  for (const errno of ['EACCES', 'EIO']) {
    await assert.rejects(parseReference(stub({ 'a@b': { errno } }), 'a@b'), { code: 'io', errno });
    await assert.rejects(parseReference(stub({ a: { errno }, 'a@b': 'file' }), 'a@b'), { code: 'io', errno });
  }
});

test('isSnapshotName', () => {
  for (const name of ['x', '0', '20261120T071731Z-2', 'a_.:+-', 'x'.repeat(128)])
    assert.ok(isSnapshotName(name), name);
  for (const name of ['', '_x', ':x', '+x', 'a/b', 'a@b', 'a b', 'x\n', 'ä', 'x'.repeat(129)]) {
    assert.ok(!isSnapshotName(name), JSON.stringify(name));
  }
});
