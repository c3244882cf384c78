/**
 * Turns what the system answers into the one SnapError that core knows: which code, what was tried, on what,
 * and what to do about it where that is obvious.
 */
import { getSystemErrorMap } from 'node:util';
import { type ErrorCode, SnapError } from '../base/errors.ts';
import { lazyRequire } from '../base/lazy-require.ts';

/** What was tried: "cannot `verb` `path``tail`", as in "cannot rename a to b". */
export interface Attempt {
  readonly verb: string;
  readonly path: string;
  readonly tail?: string | undefined;
  readonly offsetBytes?: number | undefined;
}

const CODES = new Map<string, ErrorCode>([
  ['ENOENT', 'not-found'],
  ['ENOTDIR', 'not-found'],
  ['EEXIST', 'exists'],
  ['ENOSPC', 'no-space'],
  ['EDQUOT', 'no-space'],
  ['EFBIG', 'no-space'],
]);

const HINTS = new Map<string, string>([
  ['EACCES', 'check the permissions of the file and of the directories above it'],
  ['EPERM', 'check the permissions of the file and of the directories above it'],
  ['EROFS', 'the file system is mounted read-only'],
  ['ENOSPC', 'free some space on its file system'],
  ['EDQUOT', 'free some space, or have the quota raised'],
  ['EFBIG', 'the file system or the limit on file sizes (ulimit -f) does not allow a file that large'],
]);

/** Names that neither libuv nor node:os knows on Linux; ext4 and XFS answer EUCLEAN for their own damage. */
const UNNAMED_ERRNOS = new Map<number, string>([[117, 'EUCLEAN']]);

/** Texts that libuv lacks or words differently from everything else on the system. */
const TEXTS = new Map<string, string>([
  ['EIO', 'input/output error'],
  ['EDQUOT', 'disk quota exceeded'],
  ['ESTALE', 'stale file handle'],
  ['ENOLCK', 'no locks available'],
  ['EUCLEAN', 'the file system is damaged'],
]);

/**
 * The SnapError for `error`, which an attempt threw. A SnapError is returned as it is; so that this can stand
 * around a whole operation.
 */
export function systemFailure(attempt: Attempt, error: unknown): SnapError {
  if (error instanceof SnapError) return error;
  const errno = errnoOf(error);
  const where = attempt.offsetBytes === undefined ? '' : ` at offset ${attempt.offsetBytes}`;
  const reason = errno === undefined ? textOfUnknown(error) : `${textOf(errno)} (${errno})`;
  const code = (errno === undefined ? undefined : CODES.get(errno)) ?? 'io';
  return new SnapError(
    code,
    `cannot ${attempt.verb} ${attempt.path}${attempt.tail ?? ''}${where}: ${reason}`,
    {
      path: attempt.path,
      offsetBytes: attempt.offsetBytes,
      errno,
      hint: errno === undefined ? undefined : HINTS.get(errno),
      cause: error,
    },
  );
}

/** Runs `work`; what it throws comes out as a SnapError that says what was tried. */
export async function attempt<Result>(what: Attempt, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    throw systemFailure(what, error);
  }
}

/**
 * The system's name for an error, such as `ENOSPC`; undefined where it is not one of the system's. libuv has no
 * name for some errnos (EDQUOT!) and then gives `Unknown system error -122` for a code.
 */
export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  if ('code' in error && typeof error.code === 'string' && /^E[A-Z0-9]+$/.test(error.code)) return error.code;
  if (!('errno' in error) || typeof error.errno !== 'number') return undefined;
  const { constants }: typeof import('node:os') = lazyRequire('node:os');
  const errno = -error.errno;
  for (const [name, value] of Object.entries(constants.errno)) if (value === errno) return name;
  return UNNAMED_ERRNOS.get(errno);
}

function textOf(errno: string): string {
  const text = TEXTS.get(errno);
  if (text !== undefined) return text;
  for (const [name, message] of getSystemErrorMap().values()) if (name === errno) return message;
  return 'the system refused';
}

function textOfUnknown(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
