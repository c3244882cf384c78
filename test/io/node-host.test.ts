/** What only the real machine can show: devices, full disks, the boot id, chance and time. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { NodeFileSystem } from '../../core/io/node-file-system.ts';
import { NodeHost } from '../../core/io/node-host.ts';
import { makeScratch } from './worlds.ts';

test('a full device is no-space, with the offset that failed', async () => {
  const file = await new NodeFileSystem().open('/dev/full', 'update');
  try {
    await assert.rejects(file.write(Buffer.from('x'), 512), {
      code: 'no-space',
      errno: 'ENOSPC',
      path: '/dev/full',
      offsetBytes: 512,
      message: 'cannot write /dev/full at offset 512: no space left on device (ENOSPC)',
    });
    assert.equal((await file.stat()).kind, 'device');
  } finally {
    await file.close();
  }
});

test('a fifo is seen as one, and a directory read fails with its errno', async () => {
  const scratch = await makeScratch();
  const files = new NodeFileSystem();
  try {
    await promisify(execFile)('mkfifo', [join(scratch.path, 'fifo')]);
    assert.equal((await files.stat(join(scratch.path, 'fifo')))?.kind, 'fifo');
    // Opened as itself, it does not wait for somebody at its other end.
    await (await files.openItself(join(scratch.path, 'fifo'), 'read')).close();
    await assert.rejects(files.open(scratch.path, 'update'), { code: 'io', errno: 'EISDIR' });
    const directory = await files.open(scratch.path, 'read');
    await assert.rejects(directory.read(Buffer.alloc(1), 0), { code: 'io', errno: 'EISDIR' });
    await directory.close();
  } finally {
    await scratch.remove();
  }
});

test('the boot id is 16 bytes, the same each time and for everyone', async () => {
  const host = new NodeHost();
  const id = await host.bootId();
  assert.equal(id.length, 16);
  assert.notDeepEqual(id, Buffer.alloc(16));
  id.fill(0);
  assert.deepEqual(await host.bootId(), await new NodeHost().bootId());
  assert.notDeepEqual(await host.bootId(), id);
});

test('a boot id that cannot be read, or is none, is an error', async () => {
  const scratch = await makeScratch();
  try {
    const path = join(scratch.path, 'boot_id');
    const host = new NodeHost(new NodeFileSystem(), path);
    await assert.rejects(host.bootId(), { code: 'io', path, errno: 'ENOENT', hint: /\/proc/ });
    for (const text of ['', 'none\n', '00000000-0000-0000-0000-00000000000g\n']) {
      await writeFile(path, text);
      await assert.rejects(host.bootId(), { code: 'io', path });
    }
    await writeFile(path, '0123abcd-0000-1111-2222-333344445555\n');
    assert.equal((await host.bootId()).toString('hex'), '0123abcd000011112222333344445555');
  } finally {
    await scratch.remove();
  }
});

test('chance, time and sleep', async () => {
  const host = new NodeHost();
  assert.equal(host.randomBytes(16).length, 16);
  assert.notDeepEqual(host.randomBytes(16), host.randomBytes(16));
  const beforeMs = host.monotonicMs();
  await host.sleep(0);
  await host.sleep(1);
  assert.ok(host.monotonicMs() >= beforeMs);
  assert.ok(host.now().getTime() > Date.UTC(2020, 0));
});

test('a signal that has come is heard, wherever in its turn the event loop is', async () => {
  const host = new NodeHost();
  let heard = 0;
  const hear = () => {
    heard += 1;
  };
  process.on('SIGUSR2', hear);
  try {
    for (const since of [() => host.sleep(0), () => host.sleep(1), () => stat('.')]) {
      await since();
      heard = 0;
      process.kill(process.pid, 'SIGUSR2');
      await host.hearSignals();
      assert.equal(heard, 1);
    }
  } finally {
    process.off('SIGUSR2', hear);
  }
});

test('short calls, one after the other, let timers and signals come to their turn', async () => {
  const scratch = await makeScratch();
  const file = await new NodeFileSystem().open(join(scratch.path, 'a'), 'create');
  try {
    for (const call of [() => file.write(Buffer.alloc(10), 0), () => file.read(Buffer.alloc(10), 0)]) {
      let isTurn = false;
      setTimeout(() => {
        isTurn = true;
      }, 1);
      const endMs = performance.now() + 10_000;
      while (!isTurn && performance.now() < endMs) await call();
      assert.ok(isTurn);
    }
  } finally {
    await file.close();
    await scratch.remove();
  }
});
