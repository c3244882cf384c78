/**
 * Stores that a real kernel made are imported by the installed commands and read as what the kernel read: they are kept in
 * `fixtures/`, and `npm run test:kernel` makes the same anew.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { KERNEL_STORES } from '../kernel/stores.ts';
import { workplace } from '../support/commands.ts';
import { overlay, parseStore } from './exception-store.ts';
import { storeFixture, unpacked } from './fixture.ts';
import { afterWrites, sectors } from './written.ts';

for (const { name, status, shows, ...made } of KERNEL_STORES) {
  test(`made by a kernel, ${name}: ${shows}`, async (t) => {
    const store = unpacked(readFileSync(storeFixture(name)));
    const frozen = sectors('frozen', { at: 0, count: made.sectors });
    const origin = afterWrites(frozen, 'origin', made.writes);
    const expected = afterWrites(frozen, 'snapshot', made.snapshotWrites);
    const work = await workplace(t);
    work.image('disk.img', origin);
    work.image('kernel.cow', store);
    const args = ['disk.img@s', '--import-dm', 'kernel.cow'];
    if (status === 'Invalid') {
      const { code, message } = await work.fails('snap-create', args);
      assert.match(`${code}: ${message}`, /^refused: .*has ended/);
      return;
    }
    await work.ok('snap-create', ['-q', ...args]);
    assert.ok((await work.read('disk.img@s')).equals(expected));
    await work.ok('snap-verify', ['disk.img']);

    // Chunks that were written to and came out the same are not in ours.
    const chunkSize = ['--chunk-size', String(Math.min(512, made.chunkSectors) * 512)];
    const again = await work.read('disk.img@s', '--format', 'dm', ...chunkSize);
    assert.ok(overlay(origin, again, expected.length).equals(expected));
    const [ours, theirs] = [parseStore(again).chunks, parseStore(store).chunks];
    assert.deepEqual(
      [...ours.keys()],
      [...theirs.keys()].sort((a, b) => a - b),
    );
  });
}
