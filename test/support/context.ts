/** A context for core as a quiet command would make it, except that a test can see what it was warned of. */

import type { Host } from '../../core/io/host.ts';
import type { Context, Warning } from '../../core/snapshot/context.ts';

export interface TestContext extends Context {
  /** Everything that was warned of, in order. */
  readonly warnings: Warning[];
}

export function testContext(host: Host, overrides: Partial<Context> = {}): TestContext {
  const warnings: Warning[] = [];
  return {
    host,
    waitMs: 60_000,
    signal: new AbortController().signal,
    warn: (warning) => warnings.push(warning),
    progress: () => undefined,
    anyFileSystem: false,
    ...overrides,
    warnings,
  };
}
