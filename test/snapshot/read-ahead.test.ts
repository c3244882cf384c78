/** Reading ahead: the runs are all there, in order, and as they were read; where the lock is dear it is taken seldom. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ReadPlan, readAhead } from '../../core/snapshot/read-ahead.ts';

const RUN_BYTES = 1 << 20;

/** A source whose byte at any place says which run it is of; counts holds, and the most that were under way at a time. */
function source(runCount: number, hadToWait: () => boolean) {
  const counts = { holds: 0, buffers: 0 };
  const seen = new Set<Buffer>();
  const plan: ReadPlan = {
    startBytes: 0,
    endBytes: runCount * RUN_BYTES,
    bufferBytes: RUN_BYTES,
    hadToWait,
    check: () => undefined,
    held: (work) => {
      counts.holds += 1;
      return work(async (startBytes, buffer) => {
        seen.add(buffer);
        counts.buffers = seen.size;
        // A reader that is not at once done: what is given out meanwhile must stay as it is.
        await Promise.resolve();
        buffer.fill((startBytes / RUN_BYTES) % 251);
        return { offsetBytes: startBytes, lengthBytes: RUN_BYTES, data: buffer, checks: [] };
      });
    },
  };
  return { plan, counts };
}

/** Takes runs as `stream` does: one is looked at while the one before it is still being written. */
async function consume(plan: ReadPlan): Promise<number> {
  let at = 0;
  let before: { readonly data: Buffer; readonly value: number } | undefined;
  for await (const { offsetBytes, data } of readAhead(plan, new AbortController().signal)) {
    assert.equal(offsetBytes, at * RUN_BYTES);
    assert.ok(data !== undefined);
    for (let turn = 0; turn < 5; turn += 1) await Promise.resolve();
    const value = at % 251;
    assert.ok(
      data.every((byte) => byte === value),
      `run ${at}`,
    );
    if (before !== undefined) {
      const { value: expected } = before;
      assert.ok(
        before.data.every((byte) => byte === expected),
        `run ${at - 1}, while run ${at} is looked at`,
      );
    }
    before = { data, value };
    at += 1;
  }
  return at;
}

test('where nobody is in the way, one run a hold, and three buffers', async () => {
  const { plan, counts } = source(20, () => false);
  assert.equal(await consume(plan), 20);
  assert.deepEqual(counts, { holds: 20, buffers: 3 });
});

test('who had to wait reads much in one hold, in bounded memory', async () => {
  const { plan, counts } = source(200, () => true);
  assert.equal(await consume(plan), 200);
  assert.ok(counts.holds <= 20, `${counts.holds} holds`);
  assert.ok(counts.buffers <= 48, `${counts.buffers} buffers`);
});

test('the other one may come and go', async () => {
  let turn = 0;
  const { plan } = source(100, () => {
    turn += 1;
    return turn % 7 < 3;
  });
  assert.equal(await consume(plan), 100);
});

test('nothing of an empty range, and a failure is told', async () => {
  const empty = source(0, () => false);
  assert.equal(await consume(empty.plan), 0);
  assert.equal(empty.counts.holds, 0);
  const { plan } = source(10, () => true);
  const failing = { ...plan, held: () => Promise.reject(new Error('no more')) };
  await assert.rejects(consume(failing), /no more/);
});
