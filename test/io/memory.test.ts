/** What the simulated machine can do beyond the contract: faults, kills, reboots, full disks, a clock of its own. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryFileSystem } from '../sim/memory-file-system.ts';
import { MemoryHost } from '../sim/memory-host.ts';
import type { Operation } from '../sim/session.ts';
import { KilledError, systemError } from '../sim/system-error.ts';

test('the time of a file changes with every write and truncation, and with nothing else', async () => {
  const files = new MemoryFileSystem();
  const file = await files.open('/a', 'create');
  const times = new Set<bigint>();
  for (let round = 0; round < 100; round += 1) {
    await file.write(Buffer.from('x'), 0);
    times.add((await file.stat()).modifiedNs);
    await file.truncate(1);
    times.add((await file.stat()).modifiedNs);
  }
  assert.equal(times.size, 200);
  await file.syncAll();
  await file.write(Buffer.alloc(0), 0);
  await files.setPermissions('/a', 0o600);
  await files.rename('/a', '/b');
  assert.ok(times.has((await file.stat()).modifiedNs));
});

test('8 TiB cost what is written', async () => {
  const files = new MemoryFileSystem();
  const file = await files.open('/a', 'create');
  await file.truncate(2 ** 43);
  await file.write(Buffer.from('x'), 2 ** 43 - 1);
  assert.equal((await file.stat()).allocatedBytes, 4096);
  await assert.rejects(file.write(Buffer.from('xx'), 2 ** 44 - 4097), {
    code: 'no-space',
    errno: 'EFBIG',
    offsetBytes: 2 ** 44 - 4096,
  });
});

test('a full disk takes what fits, and has room again once a file is gone for good', async () => {
  const files = new MemoryFileSystem();
  files.volume.budget.limitPages = 3;
  const [a, b] = [await files.open('/a', 'create'), await files.open('/b', 'create')];
  await a.write(Buffer.alloc(8192, 1), 0);
  const tooMuch = b.write(Buffer.alloc(8192, 2), 0);
  await assert.rejects(tooMuch, { code: 'no-space', errno: 'ENOSPC', offsetBytes: 4096 });
  assert.equal((await b.stat()).sizeBytes, 4096);
  await a.write(Buffer.alloc(8192, 3), 0);
  await files.remove('/a');
  await assert.rejects(b.write(Buffer.alloc(1), 4096), { code: 'no-space' });
  await a.close();
  await b.write(Buffer.alloc(8192, 2), 4096);
  assert.equal(files.volume.budget.usedPages, 3);
});

test('a hook sees every operation before it happens and may let it fail', async () => {
  const seen: Operation[] = [];
  const files = new MemoryFileSystem();
  files.onOperation = async (operation) => {
    seen.push(operation);
  };
  const file = await files.open('/a', 'create');
  await file.write(Buffer.alloc(3), 5);
  file.tryLock(7, 'exclusive');
  await files.rename('/a', '/b');
  assert.deepEqual(seen, [
    { kind: 'create', path: '/a' },
    { kind: 'write', path: '/a', offsetBytes: 5, lengthBytes: 3 },
    { kind: 'tryLock', path: '/a', offsetBytes: 7 },
    { kind: 'rename', path: '/a', to: '/b' },
  ]);
  files.onOperation = () => {
    throw systemError('EDQUOT');
  };
  await assert.rejects(file.write(Buffer.alloc(3), 5), {
    code: 'no-space',
    errno: 'EDQUOT',
    message: 'cannot write /a at offset 5: disk quota exceeded (EDQUOT)',
  });
  files.onOperation = () => {
    throw new Error('odd');
  };
  await assert.rejects(file.syncData(), /^Error: odd$/);
});

test('a killed session lets go of everything and does nothing more; others go on', async () => {
  const host = new MemoryHost();
  const [one, two] = [host.session(), host.session()];
  const file = await one.files.open('/a', 'create');
  const other = await two.files.open('/a', 'update');
  file.tryLock(0, 'exclusive');
  await file.write(Buffer.from('x'), 0);
  assert.equal(other.tryLock(0, 'exclusive'), false);
  const sleeping = assert.rejects(one.sleep(10), KilledError);
  one.kill();
  assert.equal(other.tryLock(0, 'exclusive'), true);
  await assert.rejects(file.write(Buffer.from('y'), 0), KilledError);
  await assert.rejects(file.close(), KilledError);
  await assert.rejects(one.files.stat('/a'), KilledError);
  assert.throws(() => file.unlock(0), KilledError);
  await sleeping;
  assert.equal(one.files.openCount, 0);
  assert.equal((await other.stat()).sizeBytes, 1);
});

test('a session killed in the hook of an operation does not do it', async () => {
  const host = new MemoryHost();
  const victim = host.session(({ kind }) => {
    if (kind === 'write') victim.kill();
  });
  const file = await victim.files.open('/a', 'create');
  await assert.rejects(file.write(Buffer.from('x'), 0), KilledError);
  assert.equal((await host.files.stat('/a'))?.sizeBytes, 0);
});

test('a reboot gives a new boot id, ends every process and keeps the files', async () => {
  const host = new MemoryHost();
  const before = await host.bootId();
  const process = host.session();
  assert.deepEqual(await process.bootId(), before);
  (await process.files.open('/a', 'create')).tryLock(0, 'exclusive');
  host.reboot();
  assert.notDeepEqual(await host.bootId(), before);
  await assert.rejects(process.bootId(), KilledError);
  assert.equal((await host.files.open('/a', 'update')).tryLock(0, 'exclusive'), true);
});

test('sleepers wake in the order of their time, and nobody waits for it', async () => {
  const host = new MemoryHost();
  const startMs = host.monotonicMs();
  const woken: string[] = [];
  const sleeper = async (name: string, pausesMs: readonly number[]) => {
    for (const pauseMs of pausesMs) await host.sleep(pauseMs);
    woken.push(`${name} ${host.monotonicMs() - startMs}`);
  };
  const day = 86_400_000;
  await Promise.all([sleeper('a', [day]), sleeper('b', [1, 1]), sleeper('c', [0]), sleeper('d', [2])]);
  assert.deepEqual(woken, ['c 0', 'd 2', 'b 2', `a ${day}`]);
  assert.equal(host.now().getTime(), new MemoryHost().now().getTime() + day);
});

test('the same seed gives the same chance', async () => {
  const bytes = new MemoryHost(7).randomBytes(32);
  assert.deepEqual(new MemoryHost(7).randomBytes(32), bytes);
  assert.notDeepEqual(new MemoryHost(8).randomBytes(32), bytes);
});
