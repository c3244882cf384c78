/** Whether a descriptor is a terminal, asked of Node only for devices: node:tty takes 2 ms to load. */
import { fstatSync } from 'node:fs';
import { lazyRequire } from '../base/lazy-require.ts';
import { errnoOf } from './system-error.ts';

/** False for a descriptor that is closed, or that cannot be looked at: whoever uses it is told what is wrong. */
export function isTerminal(descriptor: number): boolean {
  try {
    if (!fstatSync(descriptor).isCharacterDevice()) return false;
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return false;
  }
  const { isatty }: typeof import('node:tty') = lazyRequire('node:tty');
  return isatty(descriptor);
}
