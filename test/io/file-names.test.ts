/** The contract of the namespace: opening, looking, making, renaming and removing, and how each fails. */
import assert from 'node:assert/strict';
import { inEachWorld } from './worlds.ts';

inEachWorld('create makes a new file only, and never through a symbolic link', async (world) => {
  const { at, files, open } = world;
  await (await open('a')).write(Buffer.from('old'), 0);
  await assert.rejects(open('a'), { code: 'exists', errno: 'EEXIST', path: at('a') });
  await world.makeSymlink('nowhere', at('link'));
  await assert.rejects(open('link'), { code: 'exists' });
  assert.equal(await files.stat(at('nowhere')), undefined);
  assert.equal((await files.stat(at('a')))?.sizeBytes, 3);
});

inEachWorld('update and read open only what is there', async ({ at, open }) => {
  for (const mode of ['read', 'update'] as const) {
    await assert.rejects(open('none', mode), {
      code: 'not-found',
      errno: 'ENOENT',
      path: at('none'),
      message: `cannot open ${at('none')}: no such file or directory (ENOENT)`,
    });
  }
  await open('a');
  await assert.rejects(open('a/b', 'read'), { code: 'not-found', errno: 'ENOTDIR' });
});

inEachWorld('a file tells its kind, size, mode, links and identity', async (world) => {
  const { at, files } = world;
  const file = await files.open(at('a'), 'create', 0o640);
  await file.write(Buffer.alloc(5), 0);
  const stat = await file.stat();
  await file.close();
  assert.deepEqual(await files.stat(at('a')), stat);
  assert.equal(stat.kind, 'file');
  assert.equal(stat.sizeBytes, 5);
  assert.equal(stat.mode, 0o640);
  assert.equal(stat.linkCount, 1);
  await files.setPermissions(at('a'), 0o400);
  await files.setOwner(at('a'), { userId: stat.userId, groupId: stat.groupId });
  await world.makeLink(at('a'), at('b'));
  const linked = await files.stat(at('b'));
  assert.equal(linked?.mode, 0o400);
  assert.equal(linked?.linkCount, 2);
  assert.deepEqual([linked?.device, linked?.inode], [stat.device, stat.inode]);
});

inEachWorld('only a clean "does not exist" is undefined', async (world) => {
  const { at, files, open } = world;
  await open('file');
  await world.makeSymlink('nowhere', at('dangling'));
  await world.makeSymlink('loop', at('loop'));
  assert.equal(await files.stat(at('none')), undefined);
  assert.equal(await files.linkStat(at('none/none')), undefined);
  assert.equal(await files.stat(at('dangling')), undefined);
  assert.equal((await files.linkStat(at('dangling')))?.kind, 'symlink');
  for (const look of [files.stat.bind(files), files.linkStat.bind(files)]) {
    await assert.rejects(look(at('file/below')), { errno: 'ENOTDIR', path: at('file/below') });
  }
  await assert.rejects(files.stat(at('loop')), { code: 'io', errno: 'ELOOP', path: at('loop') });
});

inEachWorld('symbolic links are followed, to a directory and on the way', async (world) => {
  const { at, files } = world;
  const root = await files.realPath(at('.'));
  await files.makeDirectory(at('far'), 0o755);
  await world.makeSymlink('far', at('near'));
  await world.makeSymlink(at('near/a'), at('direct'));
  await (await world.open('near/a')).write(Buffer.from('abc'), 0);
  assert.equal(await files.realPath(at('near/../near/a')), `${root}/far/a`);
  assert.equal(await files.realPath(at('direct')), `${root}/far/a`);
  assert.equal((await files.stat(at('direct')))?.sizeBytes, 3);
  assert.equal((await files.stat(at('near')))?.kind, 'directory');
  await files.remove(at('direct'));
  assert.deepEqual(await files.list(at('near')), ['a']);
  await assert.rejects(files.realPath(at('none')), { code: 'not-found', errno: 'ENOENT' });
});

inEachWorld('directories are made, listed in order and removed when empty', async ({ at, files, open }) => {
  await files.makeDirectory(at('d'), 0o755);
  await assert.rejects(files.makeDirectory(at('d'), 0o755), { code: 'exists', path: at('d') });
  await assert.rejects(files.makeDirectory(at('none/d'), 0o755), { code: 'not-found' });
  await open('d/b');
  await open('d/a');
  assert.deepEqual(await files.list(at('d')), ['a', 'b']);
  await assert.rejects(files.list(at('d/a')), { errno: 'ENOTDIR' });
  await files.syncDirectory(at('d'));
  await assert.rejects(files.syncDirectory(at('d/a')), { errno: 'ENOTDIR' });
  await assert.rejects(files.syncDirectory(at('none')), { code: 'not-found', path: at('none') });
  await assert.rejects(files.removeDirectory(at('d')), { code: 'io', errno: 'ENOTEMPTY' });
  await assert.rejects(files.removeDirectory(at('d/a')), { errno: 'ENOTDIR' });
  await assert.rejects(files.remove(at('d')), { code: 'io', errno: 'EISDIR' });
  await files.remove(at('d/a'));
  await files.remove(at('d/b'));
  await files.removeDirectory(at('d'));
  assert.equal(await files.stat(at('d')), undefined);
});

inEachWorld('a rename replaces, and says what it tried where it cannot', async ({ at, files, open }) => {
  await (await open('new')).write(Buffer.from('new'), 0);
  const old = await open('old');
  await old.write(Buffer.from('older'), 0);
  await files.rename(at('new'), at('old'));
  assert.equal(await files.stat(at('new')), undefined);
  assert.equal((await files.stat(at('old')))?.sizeBytes, 3);
  const target = Buffer.alloc(5);
  assert.equal(await old.read(target, 0), 5, 'what was replaced lives on while it is open');
  assert.equal((await old.stat()).linkCount, 0);
  await assert.rejects(files.rename(at('none'), at('old')), {
    code: 'not-found',
    path: at('none'),
    message: `cannot rename ${at('none')} to ${at('old')}: no such file or directory (ENOENT)`,
  });
});

inEachWorld('a rename of a directory goes onto an empty one, silently', async ({ at, files, open }) => {
  await files.makeDirectory(at('from'), 0o755);
  await open('from/a');
  await files.makeDirectory(at('to'), 0o755);
  await files.rename(at('from'), at('to'));
  assert.deepEqual(await files.list(at('to')), ['a']);
  await files.makeDirectory(at('from'), 0o755);
  await assert.rejects(files.rename(at('from'), at('to')), { errno: 'ENOTEMPTY' });
  await assert.rejects(files.rename(at('to'), at('to/below')), { errno: 'EINVAL' });
  await assert.rejects(files.rename(at('to/a'), at('from')), { errno: 'EISDIR' });
  await assert.rejects(files.rename(at('from'), at('to/a')), { errno: 'ENOTDIR' });
});

inEachWorld('a rename between two names of one file leaves both', async (world) => {
  const { at, files } = world;
  await world.open('a');
  await world.makeLink(at('a'), at('b'));
  await files.rename(at('a'), at('b'));
  assert.equal((await files.stat(at('a')))?.linkCount, 2);
});

inEachWorld('a removed file lives on while it is open, and its name is free', async ({ at, files, open }) => {
  const old = await open('a');
  await old.write(Buffer.from('old'), 0);
  await files.remove(at('a'));
  await assert.rejects(files.remove(at('a')), { code: 'not-found', path: at('a') });
  await (await open('a')).write(Buffer.from('new!'), 0);
  const target = Buffer.alloc(4);
  assert.equal(await old.read(target, 0), 3);
  assert.notEqual((await old.stat()).inode, (await files.stat(at('a')))?.inode);
});

inEachWorld('a local file system is coherent, for a path not there yet as well', async ({ at, files }) => {
  assert.equal(await files.isCoherent(at('.')), true);
  assert.equal(await files.isCoherent(at('none/none')), true);
});
