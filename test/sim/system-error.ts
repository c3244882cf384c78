/** Errors as the system would answer them: what the simulated file system throws, and what hooks inject. */
import { constants } from 'node:os';

/** The session was killed: whatever still runs in it gets this, from every call. Not a SnapError, so that no code takes it for an answer of the system. */
export class KilledError extends Error {
  override readonly name = 'KilledError';

  constructor() {
    super('this simulated process was killed');
  }
}

/** An error that looks like Node's for `code`, such as `ENOSPC`. */
export function systemError(code: string): Error {
  const numbers = new Map<string, number>(Object.entries(constants.errno));
  return Object.assign(new Error(`${code}: simulated`), { code, errno: -(numbers.get(code) ?? 0) });
}
