/** Small real file systems for tests, where the machine allows mounting; elsewhere the tests are skipped, and say so. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import type { TestContext } from 'node:test';
import { skipWithout, Workplace } from './commands.ts';

/** Mounts something on a directory of the workplace while `use` runs; skips the test where that is not allowed. */
export async function mounted(
  t: TestContext,
  work: Workplace,
  args: readonly string[],
  use: (there: Workplace) => Promise<void>,
): Promise<void> {
  const there = new Workplace(work.path('mounted'));
  mkdirSync(there.directory, { recursive: true });
  const { status, stderr, error } = spawnSync('mount', [...args, there.directory], { encoding: 'utf8' });
  if (status !== 0) return t.skip(`nothing can be mounted here: ${error?.message ?? stderr.trim()}`);
  try {
    await use(there);
  } finally {
    execFileSync('umount', ['-l', there.directory]);
  }
}

/** Makes an ext4 file system in `fs.img` of the workplace; false, and the test skipped, without the programs for it. */
export async function ext4(t: TestContext, work: Workplace, sizeBytes: number): Promise<boolean> {
  if (skipWithout(t, 'mke2fs', 'mount')) return false;
  writeFileSync(work.path('fs.img'), '');
  truncateSync(work.path('fs.img'), sizeBytes);
  execFileSync('mke2fs', ['-q', '-F', '-t', 'ext4', '-m', '0', work.path('fs.img')]);
  return true;
}
