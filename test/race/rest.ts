/** What must hold when everything has ended: right bytes, nothing found, and nothing left that does not belong there. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { NodeHost } from '../../core/io/node-host.ts';
import { collectSnapshots } from '../../core/snapshot/collect.ts';
import { listImage } from '../../core/snapshot/list.ts';
import { readSnapshot } from '../../core/snapshot/read.ts';
import { verifySnapshots } from '../../core/snapshot/verify.ts';
import type { Workplace } from '../support/commands.ts';
import { testContext } from '../support/context.ts';
import { CollectingSink } from '../support/image.ts';

export const IMAGE = 'disk.img';

export interface Content {
  readonly image: Buffer;
  /** By name. */
  readonly snapshots: ReadonlyMap<string, Buffer>;
}

/** The names of the snapshots there are, and what they read as; by core itself, which is quick. */
export async function contentOf(work: Workplace): Promise<Content> {
  const image = work.path(IMAGE);
  const snapshots = new Map<string, Buffer>();
  const options = { offsetBytes: 0, allowModifiedOrigin: false, digest: false };
  for (const { name } of (await listImage(testContext(new NodeHost()), image)).snapshots) {
    const sink = new CollectingSink();
    await readSnapshot(testContext(new NodeHost()), { image, name }, options, sink);
    snapshots.set(name, sink.bytes());
  }
  return { image: readFileSync(image), snapshots };
}

/** Whether both are the same, byte for byte. */
export function sameContent(one: Content, other: Content): boolean {
  if (!one.image.equals(other.image) || one.snapshots.size !== other.snapshots.size) return false;
  return [...one.snapshots].every(([name, bytes]) => other.snapshots.get(name)?.equals(bytes) === true);
}

/** Nothing is found, and after a collection there is one store for each of `names` and nothing else. */
export async function checkRest(work: Workplace, names: readonly string[]): Promise<void> {
  const image = work.path(IMAGE);
  const { findings, untrusted } = await verifySnapshots(testContext(new NodeHost()), image, []);
  assert.deepEqual({ findings, untrusted }, { findings: [], untrusted: false });
  await collectSnapshots(testContext(new NodeHost()), image, { dryRun: false });
  const left = readdirSync(work.directory).filter((name) => name.startsWith(IMAGE));
  if (!left.includes(`${IMAGE}.snap`)) {
    assert.deepEqual([left, names], [[IMAGE], []]);
    return;
  }
  assert.deepEqual(left.sort(), [IMAGE, `${IMAGE}.snap`]);
  const inSidecar = readdirSync(work.path(`${IMAGE}.snap`)).map((name) =>
    name.replace(/-[0-9a-f]{8}\./, '.'),
  );
  const expected = ['catalog.json', 'reserve', 'state', ...names.map((name) => `${name}.cow`)];
  assert.deepEqual(inSidecar.sort(), expected.sort());
}

/** All of the above for what is known to be right. */
export async function checkContent(work: Workplace, expected: Content): Promise<void> {
  const found = await contentOf(work);
  assert.deepEqual([...found.snapshots.keys()].sort(), [...expected.snapshots.keys()].sort());
  for (const [name, bytes] of expected.snapshots) {
    assert.ok(found.snapshots.get(name)?.equals(bytes), `${name} reads wrong`);
  }
  assert.ok(found.image.equals(expected.image), 'the image is wrong');
  await checkRest(work, [...expected.snapshots.keys()]);
}
