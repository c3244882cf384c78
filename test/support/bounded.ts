/** Runs a command that must end by itself and in little memory, whatever it is given. */
import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { Answer, CommandName, Workplace } from './commands.ts';
import { wordsOf } from './commands.ts';
import { type ProcessOptions, startProcess } from './process.ts';

/** Far more than any machine needs: what is not over by then never ends. */
const HANG_MS = 120_000;
/** The most that was ever resident, as the kernel counts it for this program alone. */
const TELL_PEAK = `process.on('exit', () => {
  const status = require('node:fs').readFileSync('/proc/self/status', 'latin1');
  require('node:fs').writeFileSync(process.env.IMGSNAP_PEAK, /VmHWM:\\s*(\\d+) kB/.exec(status)[1]);
});`;

export interface BoundedAnswer extends Answer {
  readonly peakBytes: number;
}

let count = 0;

/** A command that hangs is killed, and fails the test. */
export async function runBounded(
  work: Workplace,
  name: CommandName,
  args: readonly string[],
  options: ProcessOptions = {},
): Promise<BoundedAnswer> {
  count += 1;
  const preload = `${work.directory}.peak.${count}.cjs`;
  const peakPath = `${work.directory}.peak.${count}`;
  writeFileSync(preload, TELL_PEAK);
  const [node = '', ...words] = wordsOf(name, args);
  const env = { ...options.env, IMGSNAP_PEAK: peakPath };
  const running = startProcess([node, '--require', preload, ...words], {
    cwd: work.directory,
    ...options,
    env,
  });
  let hangs = false;
  const timer = setTimeout(() => {
    hangs = true;
    running.child.kill('SIGKILL');
  }, HANG_MS);
  try {
    const { stdout, ...result } = await running.result;
    assert.ok(!hangs, `${name} ${args.join(' ')} does not end`);
    const peakBytes = Number(readFileSync(peakPath, 'latin1')) * 1024;
    return { ...result, stdout: stdout.toString('latin1'), data: stdout, peakBytes };
  } finally {
    clearTimeout(timer);
    rmSync(peakPath, { force: true });
    rmSync(preload, { force: true });
  }
}
