/** Holes: a place that is called one reads as zeros, and what was written is never in one. */
import assert from 'node:assert/strict';
import { inEachWorld } from './worlds.ts';

const MIB = 1 << 20;
const PAGE_BYTES = 4096;

inEachWorld('the next data is found, or nothing is claimed', async ({ open }) => {
  const file = await open('a');
  await file.truncate(2 ** 40);
  await file.write(Buffer.from('x'), 2 ** 39 + 5000);
  for (const offsetBytes of [0, 1, 2 ** 30, 2 ** 39 - 1]) {
    const found = file.dataFrom(offsetBytes);
    assert.ok(found === offsetBytes || found === 2 ** 39 + PAGE_BYTES, `${found} from ${offsetBytes}`);
  }
  assert.equal(file.dataFrom(2 ** 39 + 5000), 2 ** 39 + 5000);
  const behind = 2 ** 39 + MIB;
  assert.ok([behind, 2 ** 40].includes(file.dataFrom(behind)));
  // At the end and behind it there is nothing to skip.
  for (const offsetBytes of [2 ** 40, 2 ** 41]) assert.equal(file.dataFrom(offsetBytes), offsetBytes);
});

inEachWorld('what is written is seen at once, flushed or not', async ({ open }) => {
  const file = await open('a');
  await file.truncate(64 * MIB);
  assert.ok([0, 64 * MIB].includes(file.dataFrom(0)));
  for (const place of [40 * MIB + 1, 20 * MIB - 1, 3 * MIB]) {
    await file.write(Buffer.from('x'), place);
    const found = file.dataFrom(0);
    assert.ok(found <= place, `${found}, behind what was written at ${place}`);
  }
  await file.truncate(10 * MIB);
  assert.ok(file.dataFrom(4 * MIB) <= 10 * MIB);
  assert.equal(file.dataFrom(20 * MIB), 20 * MIB);
});

inEachWorld('whatever was written where, nothing but zeros is passed over', async ({ open }) => {
  const file = await open('a');
  const sizeBytes = 8 * MIB;
  await file.truncate(sizeBytes);
  let state = 12_345;
  const below = (limit: number) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
  for (let round = 0; round < 40; round += 1) {
    const offsetBytes = below(sizeBytes - 30_000);
    await file.write(Buffer.alloc(1 + below(30_000), below(3)), offsetBytes);
  }
  const content = Buffer.alloc(sizeBytes);
  assert.equal(await file.read(content, 0), sizeBytes);
  for (let at = 0; at < sizeBytes; at += 1000) {
    const found = file.dataFrom(at);
    assert.ok(found >= at && found <= sizeBytes);
    assert.ok(
      content.subarray(at, found).every((byte) => byte === 0),
      `data between ${at} and ${found}`,
    );
  }
});

inEachWorld('a file without holes has data everywhere', async ({ open }) => {
  const file = await open('a');
  await file.write(Buffer.alloc(MIB, 1), 0);
  for (const at of [0, 5000, MIB - 1]) assert.equal(file.dataFrom(at), at);
});

inEachWorld('a closed file refuses that, too', async ({ open }) => {
  const file = await open('a');
  await file.close();
  assert.throws(() => file.dataFrom(0), { code: 'io' });
});
