/**
 * Every operation with a symbolic link under each name of ours in the sidecar, there from the beginning or put there in
 * the last moment, after a look and before the opening: what it leads to is not read, not written to and not removed.
 * `test/cmd/planted-links.test.ts` has the same with real files, as far as few processes go.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspect } from 'node:util';
import { hasCode, SnapError } from '../../core/base/errors.ts';
import { acceptOrigin } from '../../core/snapshot/accept-origin.ts';
import { collectSnapshots } from '../../core/snapshot/collect.ts';
import type { Context } from '../../core/snapshot/context.ts';
import { listImage } from '../../core/snapshot/list.ts';
import { verifySnapshots } from '../../core/snapshot/verify.ts';
import { copyMachine, setContent } from '../damage/copy-machine.ts';
import { MemoryHost } from '../sim/memory-host.ts';
import { testContext } from '../support/context.ts';
import { create, IMAGE, makeImage, noise, read, write } from '../support/image.ts';

const SIDECAR = `${IMAGE}.snap`;
const CLUSTER_BYTES = 4096;
const SEED = 1;
const SECRET = Buffer.from('root:$6$s3cret:19000:0:99999:7:::\n');

const OPERATIONS: Readonly<Record<string, (context: Context) => Promise<unknown>>> = {
  list: (context) => listImage(context, IMAGE),
  verify: (context) => verifySnapshots(context, IMAGE, []),
  'read one': (context) => read(context, 'one'),
  'read the image': (context) => read(context),
  write: (context) => write(context, 0, noise(7, 3 * CLUSTER_BYTES)),
  create: (context) => create(context, 'new'),
  'remove one': (context) => collectSnapshots(context, IMAGE, { names: ['one'], dryRun: false }),
  'remove two': (context) => collectSnapshots(context, IMAGE, { names: ['two'], dryRun: false }),
  collect: (context) => collectSnapshots(context, IMAGE, { rules: { keepLast: 1 }, dryRun: false }),
  'collect, dry': (context) => collectSnapshots(context, IMAGE, { rules: { keepLast: 1 }, dryRun: true }),
  'accept the origin': (context) => acceptOrigin(context, IMAGE, { dryRun: false }),
};

async function history(): Promise<MemoryHost> {
  const host = new MemoryHost(SEED);
  const context = testContext(host);
  await makeImage(host, noise(1, 3 * CLUSTER_BYTES));
  await create(context, 'one', { clusterSizeBytes: CLUSTER_BYTES });
  await write(context, 0, noise(2, 100));
  await create(context, 'two');
  await write(context, CLUSTER_BYTES, noise(3, 100));
  const file = await host.files.open('/secret', 'create', 0o600);
  await file.write(SECRET, 0);
  await file.close();
  return host;
}

/** What is in the file, and everything that is known of it. */
async function identity(host: MemoryHost, path: string): Promise<unknown> {
  const file = await host.files.open(path, 'read');
  const stat = await file.stat();
  const content = Buffer.alloc(stat.sizeBytes);
  await file.read(content, 0);
  await file.close();
  return { ...stat, content: content.toString('latin1') };
}

/** Puts a link to `target` in place of `path`, which becomes /moved. */
async function plant(host: MemoryHost, path: string, target: string): Promise<void> {
  await host.files.rename(path, '/moved');
  host.files.makeSymlink(target, path);
}

async function ends(operation: Promise<unknown>): Promise<void> {
  await operation.catch((error: unknown) => {
    if (!(error instanceof SnapError)) throw error;
  });
}

test('a catalog that is none is not quoted, with its stack neither', async () => {
  // The parser quotes the first ten characters, or the whole of what is short.
  for (const text of [
    Buffer.from('s3cret:19000:0:99999'),
    Buffer.from('s3cret'),
    Buffer.from('{"format": "s3cret"}'),
    Buffer.from('["s3cret"]'),
  ]) {
    const host = await history();
    await setContent(host, `${SIDECAR}/catalog.json`, text);
    const error: unknown = await listImage(testContext(host), IMAGE).catch((thrown: unknown) => thrown);
    assert.ok(hasCode(error, 'damage'));
    assert.ok(!inspect(error).includes('s3cret'), inspect(error));
  }
});

const NAMES = ['state', 'catalog.json', 'reserve', 'one-', 'two-'];

for (const target of ['/secret', '/moved']) {
  for (const moment of ['before', 'at the opening']) {
    test(`a link to ${target.slice(1)}, planted ${moment}, is followed by nobody`, async () => {
      const whole = await history();
      for (const name of NAMES) {
        for (const [what, operation] of Object.entries(OPERATIONS)) {
          const host = copyMachine(whole, SEED);
          const found = (await host.files.list(SIDECAR)).find((each) => each.startsWith(name));
          const path = `${SIDECAR}/${found}`;
          const session = host.session();
          let planted = false;
          let before: unknown;
          const plantNow = async () => {
            planted = true;
            await plant(host, path, target);
            before = await identity(host, target);
          };
          if (moment === 'before') await plantNow();
          session.files.onOperation = async (call) => {
            if (!planted && call.kind === 'open' && call.path === path) await plantNow();
            const uses = ['read', 'write', 'truncate', 'setPermissions', 'setOwner'].includes(call.kind);
            // What took its place under that name is not the link any more.
            if (!planted || !uses || call.path !== path) return;
            const kind = (await host.files.linkStat(path))?.kind;
            assert.notEqual(kind, 'symlink', `${what}: ${call.kind} of ${path}`);
          };
          await ends(operation(testContext(session)));
          if (planted) assert.deepEqual(await identity(host, target), before, `${what}: ${path}`);
        }
      }
    });
  }
}
