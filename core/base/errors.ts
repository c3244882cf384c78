/**
 * The one error class that core throws on purpose, and its stable codes. Core never prints: the message
 * says what is wrong and names the path, the hint says what to do, and `cmd/` decides how it is shown.
 */

/**
 * - `usage`: the arguments make no sense; nothing was touched
 * - `not-found`: an image, a snapshot or a store file is not there
 * - `exists`: what should be made is there already
 * - `refused`: it could be done, and would do harm
 * - `io`: the system refused a read, a write or an opening
 * - `no-space`: the disk, the quota or the snapshot's limit is full
 * - `newer-version`: made by a newer imgsnap
 * - `busy`: the lock was not free within the time to wait
 * - `damage`: something of ours does not prove itself
 * - `differs`: what was compared is not the same
 * - `invalid`: the snapshot ended (full, shrunk origin)
 * - `modified`: the origin was changed outside the copy-on-write path
 * - `interrupted`: the caller asked to stop; everything was left consistent
 * - `pipe-closed`: the reader of our output went away
 */
export type ErrorCode =
  | 'usage'
  | 'not-found'
  | 'exists'
  | 'refused'
  | 'io'
  | 'no-space'
  | 'newer-version'
  | 'busy'
  | 'damage'
  | 'differs'
  | 'invalid'
  | 'modified'
  | 'interrupted'
  | 'pipe-closed';

/** What an error may carry beside its message. `errno` is the system's name of it, such as `ENOSPC`. */
export interface ErrorDetails {
  readonly hint?: string | undefined;
  readonly path?: string | undefined;
  readonly offsetBytes?: number | undefined;
  readonly clusterIndex?: number | undefined;
  readonly snapshot?: string | undefined;
  readonly errno?: string | undefined;
  readonly cause?: unknown;
}

export class SnapError extends Error {
  override readonly name = 'SnapError';
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly path: string | undefined;
  readonly offsetBytes: number | undefined;
  readonly clusterIndex: number | undefined;
  readonly snapshot: string | undefined;
  readonly errno: string | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.hint = details.hint;
    this.path = details.path;
    this.offsetBytes = details.offsetBytes;
    this.clusterIndex = details.clusterIndex;
    this.snapshot = details.snapshot;
    this.errno = details.errno;
  }
}

/** Whether `error` is a SnapError of one of these codes. */
export function hasCode(error: unknown, ...codes: ErrorCode[]): error is SnapError {
  return error instanceof SnapError && codes.includes(error.code);
}

/**
 * Takes back what a failure left half-made. What fails in that is not told: what went wrong first is what matters, and
 * decides how the command ends.
 */
export async function quietly(cleanUp: () => Promise<unknown>): Promise<void> {
  try {
    await cleanUp();
  } catch (error) {
    if (!(error instanceof SnapError)) throw error;
  }
}

/** Whether `error` is the system's answer `errno`, such as `EROFS`, however it was wrapped. */
export function hasErrno(error: unknown, ...names: string[]): boolean {
  return error instanceof SnapError && error.errno !== undefined && names.includes(error.errno);
}
