/**
 * The contract of modes and owners, which is what keeps the bytes of an image from whoever may not read the image: what
 * a new file has, who may change it, and that a symbolic link is never taken for the file that it leads to.
 */
import assert from 'node:assert/strict';
import type { FileSystem } from '../../core/io/file-system.ts';
import { inEachWorld } from './worlds.ts';

const ALICE = { userId: 5001, groupId: 6001 };
const BOB = { userId: 5002, groupId: 6002 };

async function look(files: FileSystem, path: string) {
  const stat = await files.linkStat(path);
  return stat && { mode: stat.mode, userId: stat.userId, groupId: stat.groupId };
}

inEachWorld(
  "what is new is its maker's, with the mode asked for less the umask",
  async ({ at, files, as }) => {
    await files.setPermissions(at('.'), 0o777);
    for (const umask of [0, 0o027, 0o077]) {
      await as({ ...ALICE, umask }, async () => {
        await (await files.open(at(`f${umask}`), 'create', 0o666)).close();
        await files.makeDirectory(at(`d${umask}`), 0o777);
      });
      assert.deepEqual(await look(files, at(`f${umask}`)), { ...ALICE, mode: 0o666 & ~umask });
      assert.deepEqual(await look(files, at(`d${umask}`)), { ...ALICE, mode: 0o777 & ~umask });
    }
  },
  { root: true },
);

inEachWorld(
  'an open file gets modes whatever the umask, and goes on doing so under another name',
  async ({ at, files, as }) => {
    await files.setPermissions(at('.'), 0o777);
    await as({ ...ALICE, umask: 0o077 }, async () => {
      const file = await files.open(at('a'), 'create', 0o600);
      await file.setPermissions(0o664);
      await files.rename(at('a'), at('b'));
      await (await files.open(at('a'), 'create', 0o600)).close();
      await file.setPermissions(0o646);
      assert.equal((await file.stat()).mode, 0o646);
      await file.close();
    });
    assert.equal((await files.stat(at('a')))?.mode, 0o600);
    assert.equal((await files.stat(at('b')))?.mode, 0o646);
  },
  { root: true },
);

inEachWorld(
  'only root gives files away; an owner gives them to groups of his own; nobody touches those of others',
  async ({ at, files, as }) => {
    await files.setPermissions(at('.'), 0o777);
    await (await files.open(at('roots'), 'create', 0o666)).close();
    await as({ ...ALICE, group: BOB.groupId }, async () => {
      const file = await files.open(at('a'), 'create', 0o600);
      const { userId } = ALICE;
      const refused = { code: 'io', errno: 'EPERM', path: at('a') };
      await assert.rejects(file.setOwner(BOB), refused);
      await assert.rejects(file.setOwner({ userId, groupId: 6003 }), refused);
      await file.setOwner({ userId, groupId: BOB.groupId });
      await assert.rejects(files.setOwner(at('a'), BOB), refused);
      await file.close();
      await assert.rejects(files.setPermissions(at('roots'), 0o666), { errno: 'EPERM' });
      await assert.rejects(files.setOwner(at('roots'), ALICE), { errno: 'EPERM' });
    });
    assert.deepEqual(await look(files, at('a')), { userId: 5001, groupId: 6002, mode: 0o600 });
    const file = await files.open(at('a'), 'update');
    await file.setPermissions(0o6755);
    await file.setOwner(BOB);
    await file.close();
    assert.deepEqual(await look(files, at('a')), { ...BOB, mode: 0o755 }, 'runs as nobody else');
  },
  { root: true },
);

inEachWorld('a symbolic link is not what it leads to', async (world) => {
  const { at, files } = world;
  await (await files.open(at('target'), 'create', 0o640)).close();
  await files.makeDirectory(at('far'), 0o750);
  await world.makeSymlink('target', at('link'));
  await world.makeSymlink('far', at('near'));
  await world.makeSymlink('nowhere', at('dangling'));
  const { userId, groupId } = (await files.stat(at('target'))) ?? { userId: -1, groupId: -1 };
  for (const name of ['link', 'near', 'dangling']) {
    const loop = { code: 'io', errno: 'ELOOP', path: at(name) };
    await assert.rejects(files.openItself(at(name), 'read'), loop);
    await assert.rejects(files.openItself(at(name), 'update'), loop);
    await assert.rejects(files.setPermissions(at(name), 0o777), loop);
    await assert.rejects(files.setOwner(at(name), { userId, groupId }), loop);
  }
  await assert.rejects(files.openItself(at('none'), 'read'), { code: 'not-found', errno: 'ENOENT' });
  const file = await files.openItself(at('target'), 'update');
  await file.write(Buffer.from('abc'), 0);
  await file.close();
  // Links on the way are followed: where a sidecar stands is its owner's affair.
  await world.makeSymlink('.', at('here'));
  const again = await files.openItself(at('here/target'), 'read');
  assert.equal((await again.stat()).sizeBytes, 3);
  await again.close();
  assert.equal((await files.stat(at('target')))?.mode, 0o640);
  assert.equal((await files.stat(at('far')))?.mode, 0o750);
});
