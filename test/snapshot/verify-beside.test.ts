/** A verification with somebody else at work between any two of its operations: what is removed or ends is no damage. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hasCode } from '../../core/base/errors.ts';
import { collectSnapshots } from '../../core/snapshot/collect.ts';
import { type Verification, verifySnapshots } from '../../core/snapshot/verify.ts';
import { copyMachine } from '../damage/copy-machine.ts';
import { MemoryHost } from '../sim/memory-host.ts';
import { testContext } from '../support/context.ts';
import { create, IMAGE, limitOf, makeImage, noise, read, write } from '../support/image.ts';

const SEED = 1;
const CLUSTER_BYTES = 4096;

/** Three snapshots with copies and recorded digests, of which the newest is near its limit. */
async function withSnapshots(): Promise<MemoryHost> {
  const host = new MemoryHost(SEED);
  await makeImage(host, noise(1, 6 * CLUSTER_BYTES));
  for (const [index, name] of ['a', 'b', 'c'].entries()) {
    const maxSizeBytes = name === 'c' ? limitOf(1, CLUSTER_BYTES) : undefined;
    await create(testContext(host), name, { clusterSizeBytes: CLUSTER_BYTES, maxSizeBytes });
    await write(testContext(host), index * CLUSTER_BYTES, noise(2 + index, CLUSTER_BYTES));
    await read(testContext(host), name);
  }
  return host;
}

type Work = (host: MemoryHost) => Promise<unknown>;

/** Verifies with `work` done before one operation after the other, wherever the lock lets it. */
async function verifyBeside(work: Work, judge: (found: Verification) => void): Promise<number> {
  const scene = await withSnapshots();
  let done = 0;
  for (let at = 0, count = 1; at < count; at += 1) {
    const host = copyMachine(scene, SEED);
    count = 0;
    let isDone = false;
    const session = host.session(async () => {
      count += 1;
      if (count - 1 !== at) return;
      isDone = await work(host).then(
        () => true,
        (error: unknown) => {
          if (!hasCode(error, 'busy')) throw error;
          return false;
        },
      );
    });
    const found = await verifySnapshots(testContext(session), IMAGE, []);
    judge(found);
    if (isDone) done += 1;
  }
  return done;
}

const patient = (host: MemoryHost) => testContext(host, { waitMs: 0 });
const remove: Work = (host) => collectSnapshots(patient(host), IMAGE, { names: ['b'], dryRun: false });

for (const again of [false, true]) {
  test(`a snapshot is removed while it is verified${again ? ', and its name taken again' : ''}: no finding`, async () => {
    const work: Work = async (host) => {
      await remove(host);
      if (again) await create(patient(host), 'b');
    };
    const done = await verifyBeside(work, ({ damaged, untrusted, findings }) => {
      assert.deepEqual({ damaged, untrusted, findings }, { damaged: false, untrusted: false, findings: [] });
    });
    assert.ok(done > 20, `it could be removed at ${done} places`);
  });
}

test('a snapshot ends while it is verified: no damage', async () => {
  const work: Work = (host) => write(patient(host), 4 * CLUSTER_BYTES, noise(9, CLUSTER_BYTES));
  let told = 0;
  await verifyBeside(work, ({ damaged, findings }) => {
    assert.ok(!damaged, JSON.stringify(findings));
    for (const { name, kind } of findings) assert.deepEqual([name, kind], ['c', 'invalid']);
    told += findings.length;
  });
  assert.ok(told > 0, 'it ended before it was read');
});
