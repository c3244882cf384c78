/** Replacing a file: in the right order, with the right bits, and never half. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { replaceFile } from '../../core/io/atomic-replace.ts';
import type { FileSystem } from '../../core/io/file-system.ts';
import { MemoryFileSystem } from '../sim/memory-file-system.ts';
import type { OperationKind } from '../sim/session.ts';
import { systemError } from '../sim/system-error.ts';
import { inEachWorld } from './worlds.ts';

async function contentOf(files: FileSystem, path: string): Promise<string> {
  const file = await files.open(path, 'read');
  const target = Buffer.alloc((await file.stat()).sizeBytes);
  await file.read(target, 0);
  await file.close();
  return target.toString();
}

inEachWorld('makes and replaces a file, with these permissions whatever the umask', async ({ at, files }) => {
  await replaceFile(files, at('a'), Buffer.from('first'), { mode: 0o666 });
  await replaceFile(files, at('a'), Buffer.from('2nd'), { mode: 0o606 });
  assert.equal(await contentOf(files, at('a')), '2nd');
  assert.equal((await files.stat(at('a')))?.mode, 0o606);
  assert.deepEqual(await files.list(at('.')), ['a']);
});

inEachWorld('what an earlier attempt left behind is not in the way', async ({ at, files, open }) => {
  await (await open('a.tmp')).write(Buffer.from('half of something long'), 0);
  await replaceFile(files, at('a'), Buffer.from('new'), { mode: 0o600 });
  assert.equal(await contentOf(files, at('a')), 'new');
  assert.deepEqual(await files.list(at('.')), ['a']);
});

inEachWorld('a directory that is not there fails with its errno', async ({ at, files }) => {
  const replacing = replaceFile(files, at('none/a'), Buffer.from('new'), { mode: 0o600 });
  await assert.rejects(replacing, { code: 'not-found', errno: 'ENOENT', path: at('none/a.tmp') });
});

test('content is flushed before the rename, and the directory after it', async () => {
  const files = new MemoryFileSystem();
  const kinds: OperationKind[] = [];
  files.onOperation = ({ kind }) => {
    kinds.push(kind);
  };
  await replaceFile(files, '/a', Buffer.from('new'), { mode: 0o600 });
  const order: OperationKind[] = ['write', 'syncAll', 'close', 'rename', 'syncDirectory'];
  assert.deepEqual(
    kinds.filter((kind) => order.includes(kind)),
    order,
  );
});

test('whatever fails, the first error is thrown, the old content stays and nothing is left', async () => {
  for (const failing of ['create', 'write', 'fileStat', 'syncAll', 'close', 'rename'] as const) {
    const files = new MemoryFileSystem();
    await replaceFile(files, '/a', Buffer.from('old'), { mode: 0o600 });
    files.onOperation = ({ kind }) => {
      if (kind === failing) throw systemError('ENOSPC');
    };
    await assert.rejects(replaceFile(files, '/a', Buffer.from('new'), { mode: 0o600 }), { code: 'no-space' });
    files.onOperation = undefined;
    assert.equal(await contentOf(files, '/a'), 'old');
    assert.deepEqual(await files.list('/'), ['a'], failing);
  }
});

test('a removal that fails as well does not hide the first error', async () => {
  const files = new MemoryFileSystem();
  let hasFailed = false;
  files.onOperation = ({ kind }) => {
    if (kind === 'syncAll') {
      hasFailed = true;
      throw systemError('EIO');
    }
    if (kind === 'remove' && hasFailed) throw systemError('EROFS');
  };
  await assert.rejects(replaceFile(files, '/a', Buffer.from('new'), { mode: 0o600 }), { errno: 'EIO' });
});
