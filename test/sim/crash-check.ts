/**
 * After a crash: everything that must hold, looked at as a user would, before repair, after it, and once more. Throws
 * an Error that says what is wrong.
 */
import assert from 'node:assert/strict';
import { collectSnapshots } from '../../core/snapshot/collect.ts';
import { listImage } from '../../core/snapshot/list.ts';
import { readSnapshot } from '../../core/snapshot/read.ts';
import { verifySnapshots } from '../../core/snapshot/verify.ts';
import { Volume } from '../../core/snapshot/volume.ts';
import { writeImage } from '../../core/snapshot/write.ts';
import { testContext } from '../support/context.ts';
import type { Expectation } from './crash-expectation.ts';
import type { MemoryHost } from './memory-host.ts';

export const IMAGE = '/vm/disk.img';
const SIDECAR = `${IMAGE}.snap`;

export async function rawImage(host: MemoryHost): Promise<Buffer> {
  const file = await host.files.open(IMAGE, 'read');
  const bytes = Buffer.alloc((await file.stat()).sizeBytes);
  await file.read(bytes, 0);
  await file.close();
  return bytes;
}

export async function readAll(host: MemoryHost, name: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  const sink = { write: async (chunk: Buffer) => void chunks.push(Buffer.from(chunk)) };
  const options = { offsetBytes: 0, allowModifiedOrigin: false, digest: false };
  await readSnapshot(testContext(host), { image: IMAGE, name }, options, sink);
  return Buffer.concat(chunks);
}

/** Every snapshot that must exist does, is trusted, and reads right; no other does. Returns the names found. */
export async function checkSnapshots(host: MemoryHost, expected: Expectation): Promise<Set<string>> {
  const { snapshots } = await listImage(testContext(host), IMAGE);
  const found = new Set(snapshots.map(({ name }) => name));
  for (const [name, { certain }] of expected.snapshots) {
    assert.ok(found.has(name) || !certain, `snapshot ${name} is lost`);
  }
  for (const { name, state, reason } of snapshots) {
    const snapshot = expected.snapshots.get(name);
    assert.ok(snapshot !== undefined, `snapshot ${name} came back`);
    assert.ok(state === 'active' || state === 'idle', `snapshot ${name} is ${state}: ${reason}`);
    assert.ok((await readAll(host, name)).equals(snapshot.bytes), `snapshot ${name} reads wrong`);
  }
  return found;
}

async function dump(host: MemoryHost): Promise<string> {
  const parts: string[] = [];
  for (const name of await host.files.list(SIDECAR)) {
    const file = await host.files.open(`${SIDECAR}/${name}`, 'read');
    const bytes = Buffer.alloc((await file.stat()).sizeBytes);
    await file.read(bytes, 0);
    await file.close();
    parts.push(name, bytes.toString('latin1'));
  }
  return parts.join('\n');
}

async function takeExclusively(host: MemoryHost): Promise<void> {
  const volume = await Volume.open(testContext(host), IMAGE, 'change');
  await volume.exclusive(async () => undefined);
  await volume.close();
}

/** Only what belongs there is left after collecting. */
async function checkClean(host: MemoryHost): Promise<void> {
  await collectSnapshots(testContext(host), IMAGE, { dryRun: false });
  const beside = await host.files.list('/vm');
  assert.deepEqual(
    beside.filter((name) => name !== 'disk.img' && name !== 'disk.img.snap'),
    [],
    'an unfinished sidecar stays',
  );
  if (!beside.includes('disk.img.snap')) return;
  const { snapshots } = await listImage(testContext(host), IMAGE);
  const stores = new Set(
    snapshots.flatMap(({ files }) => files.map((file) => file.slice(SIDECAR.length + 1))),
  );
  const other = (await host.files.list(SIDECAR)).filter(
    (name) => !stores.has(name) && !['catalog.json', 'state', 'reserve'].includes(name),
  );
  assert.deepEqual(other, [], 'garbage stays');
}

/** @param expected what is known; a copy is taken */
export async function checkAfterCrash(host: MemoryHost, expected: Expectation): Promise<void> {
  const wrong = expected.wrongAfterCrash(await rawImage(host));
  assert.equal(wrong, undefined, wrong);
  await checkSnapshots(host.session(), expected);
  // From here on, as the next user: a write makes the sidecar whole, and snapshots stay right.
  const now = expected.learnAfterCrash(await rawImage(host));
  const data = Buffer.from('the next write');
  const offsetBytes = Math.max(0, Math.floor(now.image.length / 2) - 3);
  const context = testContext(host.session());
  const options = { offsetBytes, extend: true, delta: false, sync: true };
  let given = false;
  const source = {
    read: async (target: Buffer) => {
      if (given) return 0;
      given = true;
      return data.copy(target);
    },
  };
  const { failure } = await writeImage(context, IMAGE, options, source);
  assert.equal(failure, undefined, `the next write fails: ${failure?.message}`);
  const found = await checkSnapshots(host.session(), expected);
  if (found.size > 0) {
    const before = await dump(host);
    await takeExclusively(host.session());
    assert.ok(before === (await dump(host)), 'a second recovery changes something');
    const verification = await verifySnapshots(testContext(host.session()), IMAGE, []);
    assert.deepEqual(verification.findings, [], 'verification finds something');
  }
  await checkClean(host.session());
  await checkSnapshots(host.session(), expected);
}
