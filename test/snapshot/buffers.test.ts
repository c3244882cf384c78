/** Buffers that are used again: never while somebody is still at what is in them, however slow the disk is. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { verifySnapshots } from '../../core/snapshot/verify.ts';
import { MemoryHost } from '../sim/memory-host.ts';
import type { Operation } from '../sim/session.ts';
import { testContext } from '../support/context.ts';
import { create, IMAGE, makeImage, noise, rawImage, read, write } from '../support/image.ts';

const MIB = 1 << 20;
/** Several runs of every kind, in more than one batch. */
const SIZE_BYTES = 24 * MIB;

/** Large calls of that kind come to their turn late: whatever else can go on does so before. */
const slow = (kind: Operation['kind']) => async (operation: Operation) => {
  if (operation.kind !== kind || (operation.lengthBytes ?? 0) < 65_536) return;
  for (let turn = 0; turn < 20; turn += 1) await setImmediate();
};

for (const kind of ['write', 'read'] as const) {
  test(`what is copied is what was there, though a ${kind} is slow`, async () => {
    const host = new MemoryHost(1);
    const old = noise(1, SIZE_BYTES);
    await makeImage(host, old);
    await create(testContext(host), 'a');
    await write(testContext(host.session(slow(kind))), 0, noise(2, SIZE_BYTES));
    assert.ok((await rawImage(host)).equals(noise(2, SIZE_BYTES)));
    assert.ok((await read(testContext(host.session(slow(kind))), 'a')).equals(old));
    for (const session of [host, host.session(slow('read'))]) {
      const found = await verifySnapshots(testContext(session), IMAGE, []);
      assert.deepEqual(found.findings, []);
    }
  });
}
