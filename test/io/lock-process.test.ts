/** Locks between real processes: a killed holder lets go, and a child does not inherit what its parent holds. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { NodeHost } from '../../core/io/node-host.ts';
import { acquire } from '../../core/io/turnstile.ts';
import { makeScratch } from './worlds.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const HOLDER = fileURLToPath(new URL('hold-lock.ts', import.meta.url));
const NEVER = new AbortController().signal;

/** Starts Node with `argv`, waits until it says that it holds the lock of `path`, and kills it. */
async function holdAndKill(argv: readonly string[], path: string): Promise<void> {
  const host = new NodeHost();
  const file = await host.files.open(path, 'update');
  const child = spawn(process.execPath, [...argv, path], { cwd: ROOT, stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  try {
    assert.equal(await firstOutput(child), 'held\n');
    const atOnce = { deadlineMs: 0, signal: NEVER };
    await assert.rejects(acquire(host, file, 'shared', atOnce), { code: 'busy' });
    child.kill('SIGKILL');
    await ended;
    const patient = { deadlineMs: host.monotonicMs() + 60_000, signal: NEVER };
    await acquire(host, file, 'exclusive', patient);
  } finally {
    child.kill('SIGKILL');
    await file.close();
  }
}

async function firstOutput(child: ChildProcess): Promise<string> {
  assert.ok(child.stdout !== null);
  for await (const chunk of child.stdout) return String(chunk);
  return '';
}

test('the lock of a killed process is free', async () => {
  const scratch = await makeScratch();
  try {
    await writeFile(join(scratch.path, 'a'), '');
    await holdAndKill(['--import', 'tsx', HOLDER], join(scratch.path, 'a'));
  } finally {
    await scratch.remove();
  }
});

test('locks work when bundled to CommonJS, where import.meta.url is undefined', async () => {
  const scratch = await makeScratch();
  try {
    await writeFile(join(scratch.path, 'a'), '');
    await symlink(join(ROOT, 'node_modules'), join(scratch.path, 'node_modules'));
    const entry = join(scratch.path, 'entry.cjs');
    await build({
      stdin: { contents: bundledHolder(), resolveDir: join(ROOT, 'test/io'), loader: 'ts' },
      outfile: entry,
      bundle: true,
      platform: 'node',
      format: 'cjs',
      external: ['fs-native-extensions'],
      logOverride: { 'empty-import-meta': 'silent' },
    });
    await holdAndKill([entry], join(scratch.path, 'a'));
  } finally {
    await scratch.remove();
  }
});

/** hold-lock.ts awaits at its top level, which CommonJS cannot. */
function bundledHolder(): string {
  return `
    import { NodeHost } from '../../core/io/node-host.ts';
    import { acquire } from '../../core/io/turnstile.ts';
    async function hold(path: string) {
      const host = new NodeHost();
      if (host.randomBytes(4).length !== 4) throw new Error('no chance');
      const file = await host.files.open(path, 'update');
      await acquire(host, file, 'exclusive', { deadlineMs: 0, signal: new AbortController().signal });
      process.stdout.write('held\\n');
      process.stdin.resume();
    }
    hold(process.argv[2] ?? '');
  `;
}

test('a child process does not keep what its parent had locked', async () => {
  const scratch = await makeScratch();
  const host = new NodeHost();
  const [a, b] = [
    await host.files.open(join(scratch.path, 'a'), 'create'),
    await host.files.open(join(scratch.path, 'a'), 'update'),
  ];
  assert.equal(a.tryLock(0, 'exclusive'), true);
  const child = spawn('cat', { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  try {
    // Once it echoes, it is past exec, where descriptors are closed.
    child.stdin.write('up\n');
    assert.equal(await firstOutput(child), 'up\n');
    await a.close();
    assert.equal(b.tryLock(0, 'exclusive'), true);
  } finally {
    child.kill('SIGKILL');
    await ended;
    await b.close();
    await scratch.remove();
  }
});
