/** A directory of its own for a test, gone when the test is over. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

/** Makes an empty directory below TMPDIR; it and everything in it is removed after `t`. */
export async function temporaryDirectory(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'imgsnap-'));
  t.after(() => rm(path, { recursive: true, force: true }));
  return path;
}
