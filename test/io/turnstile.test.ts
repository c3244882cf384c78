/** The turnstile: who is in, who waits, that nobody is starved, and that giving up leaves nothing behind. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RandomAccessFile } from '../../core/io/file-system.ts';
import type { Host } from '../../core/io/host.ts';
import { REMOVAL_LOCK_OFFSET_BYTES } from '../../core/io/lock-offsets.ts';
import { acquire, type LockWait, pollLock, release } from '../../core/io/turnstile.ts';
import { MemoryHost } from '../sim/memory-host.ts';
import { inEachWorld } from './worlds.ts';

const NEVER = new AbortController().signal;
const FOREVER: LockWait = { deadlineMs: Number.POSITIVE_INFINITY, signal: NEVER };

function once(host: Host): LockWait {
  return { deadlineMs: host.monotonicMs(), signal: NEVER };
}

inEachWorld('readers go in together; a writer only alone', async ({ host, open }) => {
  const [a, b, c] = [await open('a'), await open('a', 'read'), await open('a', 'update')];
  await acquire(host, a, 'shared', once(host));
  await acquire(host, b, 'shared', once(host));
  await assert.rejects(acquire(host, c, 'exclusive', once(host)), { code: 'busy' });
  release(a);
  await assert.rejects(acquire(host, c, 'exclusive', once(host)), { code: 'busy' });
  release(b);
  await acquire(host, c, 'exclusive', once(host));
  await assert.rejects(acquire(host, a, 'exclusive', once(host)), { code: 'busy' });
  await assert.rejects(acquire(host, b, 'shared', once(host)), { code: 'busy' });
  release(c);
  await acquire(host, b, 'shared', once(host));
});

inEachWorld('giving up says what to do and leaves nothing taken', async ({ at, host, open }) => {
  const [reader, writer, other] = [await open('a'), await open('a', 'update'), await open('a', 'read')];
  await acquire(host, reader, 'shared', once(host));
  await assert.rejects(acquire(host, writer, 'exclusive', once(host)), {
    code: 'busy',
    path: at('a'),
    message: `${at('a')} is locked by another process`,
    hint: 'try again, or wait longer with --wait',
  });
  await acquire(host, other, 'shared', once(host));
  const wait = { ...once(host), subject: 'disk.img' };
  await assert.rejects(acquire(host, writer, 'exclusive', wait), { message: /^disk\.img is locked/ });
});

inEachWorld('an abort ends the wait and leaves nothing taken', async ({ host, open }) => {
  const [holder, waiter, other] = [await open('a'), await open('a', 'update'), await open('a', 'update')];
  await acquire(host, holder, 'exclusive', FOREVER);
  const controller = new AbortController();
  const waiting = acquire(host, waiter, 'exclusive', { ...FOREVER, signal: controller.signal });
  const refused = assert.rejects(waiting, { code: 'interrupted' });
  for (let pause = 0; pause < 10; pause += 1) await host.sleep(1);
  controller.abort();
  await refused;
  release(holder);
  await acquire(host, other, 'exclusive', once(host));
  await assert.rejects(acquire(host, waiter, 'shared', { ...FOREVER, signal: controller.signal }), {
    code: 'interrupted',
  });
});

inEachWorld('whoever waits for active keeps newcomers out', async ({ host, open }) => {
  const [reader, writer, newcomer] = [await open('a'), await open('a', 'update'), await open('a', 'read')];
  await acquire(host, reader, 'shared', FOREVER);
  const writing = acquire(host, writer, 'exclusive', FOREVER);
  await host.sleep(0);
  await assert.rejects(acquire(host, newcomer, 'shared', once(host)), { code: 'busy' });
  release(reader);
  await writing;
  release(writer);
  await acquire(host, newcomer, 'shared', once(host));
});

for (const kind of ['exclusive', 'shared'] as const) {
  inEachWorld(`a busy writer that comes back at once does not starve a waiter: ${kind}`, async (world) => {
    const { host, open } = world;
    const [busy, waiter] = [await open('a'), await open('a', 'update')];
    let isThrough = false;
    let takings = 0;
    let waiting: Promise<void> | undefined;
    while (!isThrough && takings < 200) {
      await acquire(host, busy, 'exclusive', FOREVER);
      takings += 1;
      waiting ??= acquire(host, waiter, kind, FOREVER).then(() => {
        isThrough = true;
        release(waiter);
      });
      await host.sleep(1);
      release(busy);
    }
    await waiting;
    assert.ok(takings <= 2, `the waiter let ${takings} others pass`);
  });
}

inEachWorld('many that come and go are never in together wrongly', async ({ host, open }) => {
  await open('a');
  let readersIn = 0;
  let writersIn = 0;
  const visit = async (file: RandomAccessFile, kind: 'shared' | 'exclusive') => {
    await acquire(host, file, kind, FOREVER);
    if (kind === 'shared') readersIn += 1;
    else writersIn += 1;
    assert.ok(
      writersIn === 0 || (writersIn === 1 && readersIn === 0),
      `${writersIn} and ${readersIn} are in`,
    );
    await host.sleep(0);
    if (kind === 'shared') readersIn -= 1;
    else writersIn -= 1;
    release(file);
  };
  const visitors = Array.from({ length: 6 }, async (_, visitor) => {
    const file = await open('a', 'update');
    for (let round = 0; round < 15; round += 1) {
      await visit(file, (visitor + round) % 3 === 0 ? 'exclusive' : 'shared');
    }
  });
  await Promise.all(visitors);
});

inEachWorld('a single byte is polled for in the same way', async ({ host, open }) => {
  const [a, b] = [await open('a'), await open('a', 'update')];
  await pollLock(host, a, REMOVAL_LOCK_OFFSET_BYTES, 'exclusive', once(host));
  await assert.rejects(pollLock(host, b, REMOVAL_LOCK_OFFSET_BYTES, 'exclusive', once(host)), {
    code: 'busy',
  });
  await acquire(host, b, 'exclusive', once(host));
  const waiting = pollLock(host, b, REMOVAL_LOCK_OFFSET_BYTES, 'exclusive', FOREVER);
  await host.sleep(3);
  a.unlock(REMOVAL_LOCK_OFFSET_BYTES);
  await waiting;
});

test('a wait lasts until its deadline, tries once more there, and no longer', async () => {
  const host = new MemoryHost();
  const [holder, waiter] = [await host.files.open('/a', 'create'), await host.files.open('/a', 'update')];
  await acquire(host, holder, 'exclusive', FOREVER);
  const startMs = host.monotonicMs();
  const tryTimesMs: number[] = [];
  host.files.onOperation = ({ kind }) => {
    if (kind === 'tryLock') tryTimesMs.push(Math.round(host.monotonicMs() - startMs));
  };
  const wait = { deadlineMs: startMs + 100, signal: NEVER };
  await assert.rejects(acquire(host, waiter, 'exclusive', wait), { code: 'busy' });
  assert.equal(tryTimesMs.at(-1), 100);
  assert.deepEqual(tryTimesMs.slice(0, 6), [0, 0, 0, 0, 0, 1], 'next, then at once, then each millisecond');
  assert.ok(tryTimesMs.length < 40, 'then less often');
});

test('a deadline that is no number does not wait for ever', async () => {
  const host = new MemoryHost();
  const [holder, waiter] = [await host.files.open('/a', 'create'), await host.files.open('/a', 'update')];
  await acquire(host, holder, 'exclusive', FOREVER);
  const wait = { deadlineMs: Number.NaN, signal: NEVER };
  await assert.rejects(acquire(host, waiter, 'shared', wait), { code: 'busy' });
});
