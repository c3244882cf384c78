/**
 * Whoever may not read an image must not read it from its snapshots, at no moment, whoever makes them; and what is closed to somebody later is not opened to him by a hand-over. In memory, between any two calls;
 * `test/cmd/permissions.test.ts` has the same with real users.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { collectSnapshots } from '../../core/snapshot/collect.ts';
import type { Context } from '../../core/snapshot/context.ts';
import { MemoryHost } from '../sim/memory-host.ts';
import type { User } from '../sim/memory-volume.ts';
import type { DirectoryInode, Inode } from '../sim/name-tree.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { create, IMAGE, makeImage, noise, read, write } from '../support/image.ts';

const SIDECAR = `${IMAGE}.snap`;
const CLUSTER_BYTES = 4096;

const ROOT: User = { userId: 0, groupId: 0, groups: [] };
const ALICE: User = { userId: 5001, groupId: 6000, groups: [6001] };
const BOB: User = { userId: 5002, groupId: 6000, groups: [6001] };
/** Of no group of the image. */
const CAROL: User = { userId: 5003, groupId: 6000, groups: [] };
const IMAGES = { userId: ALICE.userId, groupId: 6001 };

/** A machine on which `user` works, with an image of ALICE's. */
async function machine(user: User, mode: number): Promise<{ host: MemoryHost; context: TestContext }> {
  const host = new MemoryHost();
  await makeImage(host, noise(1, 4 * CLUSTER_BYTES));
  await host.files.makeDirectory('/spare', 0o777);
  await host.files.setOwner(IMAGE, IMAGES);
  await host.files.setPermissions(IMAGE, mode);
  Object.assign(host.files.volume, { user, umask: 0 });
  return { host, context: testContext(host) };
}

/** Does something to the image as its owner or root would. */
async function asRoot(host: MemoryHost, work: () => Promise<unknown>): Promise<void> {
  const { user } = host.files.volume;
  host.files.volume.user = ROOT;
  await work();
  host.files.volume.user = user;
}

const remove = (context: Context, name: string) =>
  collectSnapshots(context, IMAGE, { names: [name], dryRun: false });

function* everything(directory: DirectoryInode, path = ''): Generator<[path: string, inode: Inode]> {
  for (const [name, inode] of directory.entries) {
    yield [`${path}/${name}`, inode];
    if (inode.kind === 'directory') yield* everything(inode, `${path}/${name}`);
  }
}

/** What of `inode` is open to somebody who may not do the same with an image of this mode. */
function tooOpen(inode: Inode, mode: number): number {
  const both = (mode >> 3) & mode & 7;
  const allowed = inode.groupId === IMAGES.groupId ? mode & 0o77 : (both << 3) | both;
  const enter = inode.kind === 'directory' ? (allowed & 0o44) >> 2 : 0;
  return inode.mode & ~(0o700 | allowed | enter);
}

test('between no two calls is any file more open than the image', async () => {
  let moments = 0;
  for (const user of [ROOT, ALICE, BOB, CAROL]) {
    for (const mode of [0o600, 0o640, 0o660, 0o644, 0o664, 0o646, 0o606, 0o400, 0o000, 0o6755]) {
      const { host, context } = await machine(user, mode);
      host.files.onOperation = () => {
        moments += 1;
        for (const [path, inode] of everything(host.files.volume.root)) {
          if (path === IMAGE || path === '/spare') continue;
          const what = `${path} is ${inode.mode.toString(8)} of ${inode.userId}:${inode.groupId}`;
          assert.equal(tooOpen(inode, mode), 0, `${user.userId} ${mode.toString(8)}: ${what}`);
        }
      };
      await create(context, 'one', { clusterSizeBytes: CLUSTER_BYTES });
      await write(context, 0, noise(2, 100));
      await create(context, 'two', { storePath: '/spare' });
      await write(context, CLUSTER_BYTES, noise(3, 100));
      await create(context, 'three');
      await remove(context, 'two');
    }
  }
  assert.ok(moments > 4_000);
});

async function storeOf(host: MemoryHost, name: string): Promise<string> {
  const found = (await host.files.list(SIDECAR)).find((each) => each.startsWith(`${name}-`));
  return `${SIDECAR}/${found}`;
}

async function ownership(host: MemoryHost, path: string): Promise<string> {
  const stat = await host.files.stat(path);
  return `${stat?.mode.toString(8)} ${stat?.userId}:${stat?.groupId}`;
}

/** Snapshots one and two, each with a cluster, the second one taken after `change`. */
async function changedBetween(user: User, mode: number, change: (host: MemoryHost) => Promise<void>) {
  const { host, context } = await machine(user, mode);
  await create(context, 'one', { clusterSizeBytes: CLUSTER_BYTES });
  await write(context, 0, noise(2, 100));
  await asRoot(host, () => change(host));
  await create(context, 'two');
  await write(context, CLUSTER_BYTES, noise(3, 100));
  return { host, context };
}

const closed = (host: MemoryHost) => host.files.setPermissions(IMAGE, 0o600);

test('an image closed since: the next snapshot is as the image is, and takes the sidecar along', async () => {
  const { host } = await changedBetween(ALICE, 0o644, closed);
  assert.equal(await ownership(host, SIDECAR), '700 5001:6001');
  for (const path of [`${SIDECAR}/state`, `${SIDECAR}/catalog.json`, await storeOf(host, 'two')]) {
    assert.equal(await ownership(host, path), '600 5001:6001', path);
  }
});

test('an image closed since: a store is closed before it is handed anything', async () => {
  const { host, context } = await changedBetween(ALICE, 0o664, closed);
  const one = await storeOf(host, 'one');
  assert.equal(await ownership(host, one), '664 5001:6001');
  let writes = 0;
  host.files.onOperation = async ({ kind, path }) => {
    if (kind !== 'write' || path !== one) return;
    writes += 1;
    assert.equal(await ownership(host, one), '600 5001:6001');
  };
  await remove(context, 'two');
  assert.ok(writes > 0);
  host.files.onOperation = undefined;
  assert.ok((await read(context, 'one')).equals(noise(1, 4 * CLUSTER_BYTES)));
});

test('an image opened since: what was closed stays so', async () => {
  const { host, context } = await changedBetween(ALICE, 0o600, (it) => it.files.setPermissions(IMAGE, 0o664));
  assert.equal(await ownership(host, await storeOf(host, 'two')), '664 5001:6001');
  await remove(context, 'two');
  assert.equal(await ownership(host, await storeOf(host, 'one')), '600 5001:6001');
  assert.equal(await ownership(host, SIDECAR), '700 5001:6001');
});

test('an image given away since: root gives the store away before it is handed anything', async () => {
  const dave = { userId: 5004, groupId: 6004 };
  const { host, context } = await changedBetween(ROOT, 0o664, async (it) => {
    await it.files.setOwner(IMAGE, dave);
    await it.files.setPermissions(IMAGE, 0o640);
  });
  const one = await storeOf(host, 'one');
  host.files.onOperation = async ({ kind }) => {
    if (kind === 'linkStat') return;
    const stat = await host.files.linkStat(one);
    assert.ok(stat?.groupId !== dave.groupId || stat.mode === 0o640, 'closed before it is given away');
  };
  await remove(context, 'two');
  host.files.onOperation = undefined;
  for (const name of ['one', 'state', 'catalog']) {
    const found = (await host.files.list(SIDECAR)).find((each) => each.startsWith(name));
    assert.equal(await ownership(host, `${SIDECAR}/${found}`), '640 5004:6004', name);
  }
  assert.equal(await ownership(host, SIDECAR), '750 5004:6004');
});

test('an image of another group since: its old group is shut out of what is handed over', async () => {
  const group = { userId: 5001, groupId: 6004 };
  const { host, context } = await changedBetween(ALICE, 0o664, (it) => it.files.setOwner(IMAGE, group));
  await remove(context, 'two');
  assert.equal(await ownership(host, await storeOf(host, 'one')), '644 5001:6001');
});

test("a store of somebody else's that stays open to more users is handed nothing", async () => {
  const closedToOthers = (it: MemoryHost) => it.files.setPermissions(IMAGE, 0o660);
  const { host, context } = await changedBetween(BOB, 0o664, closedToOthers);
  host.files.volume.user = { ...BOB, userId: 5005 };
  const one = await storeOf(host, 'one');
  const before = await host.files.stat(one);
  await assert.rejects(remove(context, 'two'), {
    code: 'refused',
    path: one,
    message: `${one}: is open to more users than ${IMAGE} is now`,
  });
  assert.deepEqual(await host.files.stat(one), before);
  assert.ok((await read(context, 'two')).subarray(0, 100).equals(noise(2, 100)), 'nothing was removed');
  host.files.volume.user = BOB;
  await remove(context, 'two');
  assert.equal(await ownership(host, one), '660 5002:6001');
});

test('a sidecar of somebody else that stays open to more users does not stop a snapshot, and is remarked', async () => {
  const { host, context } = await machine(BOB, 0o664);
  await create(context, 'one');
  await asRoot(host, () => host.files.setPermissions(IMAGE, 0o660));
  host.files.volume.user = { ...BOB, userId: 5005 };
  await create(context, 'two');
  assert.deepEqual(
    context.warnings.map(({ message }) => message).filter((message) => !message.includes("image's owner")),
    [`${SIDECAR}: is open to more users than ${IMAGE} is`],
  );
});
