/** What a command's end says to the shell, and what it says in JSON: the contract's tables, in one place. */
import { type ErrorCode, SnapError } from '../../core/base/errors.ts';

/** What each exit status means, as `--help` shows it. */
export const EXIT_MEANINGS: ReadonlyMap<number, string> = new Map([
  [0, 'done'],
  [1, 'failed: a file is missing, an I/O error, a refused operation'],
  [2, 'usage: nothing was touched'],
  [3, 'damage was found, or what was compared differs'],
  [4, 'busy: another process did not finish within --wait'],
  [
    5,
    'the snapshot is not to be trusted: its store was full, it did not outlive a reboot, or the image was changed outside snap-write',
  ],
  [130, 'interrupted (143: terminated), everything left consistent'],
  [141, 'the reader of the output closed it'],
]);

/** The statuses that every command can end with. */
export const COMMON_EXITS: readonly number[] = [0, 1, 2, 130, 141];

/** 128 and the signal's number, for the signals that end a command in order. */
export const SIGNAL_EXITS: ReadonlyMap<NodeJS.Signals, number> = new Map([
  ['SIGHUP', 129],
  ['SIGINT', 130],
  ['SIGTERM', 143],
]);

/** The statuses by code; `interrupted` is the signal's, where one came. */
const STATUS_BY_CODE: Readonly<Record<ErrorCode, number>> = {
  usage: 2,
  'not-found': 1,
  exists: 1,
  refused: 1,
  io: 1,
  'no-space': 1,
  'newer-version': 1,
  busy: 4,
  damage: 3,
  differs: 3,
  invalid: 5,
  modified: 5,
  interrupted: 130,
  'pipe-closed': 141,
};

/** The exit status for what was thrown; anything that is no SnapError is a bug of ours, and 1. */
export function exitStatusOf(error: unknown, received?: NodeJS.Signals): number {
  if (!(error instanceof SnapError)) return 1;
  const bySignal = received === undefined ? undefined : SIGNAL_EXITS.get(received);
  return error.code === 'interrupted' && bySignal !== undefined ? bySignal : STATUS_BY_CODE[error.code];
}

/** The contract's JSON codes have no word for a bug or an interruption: both are told as `io`. */
export function jsonCodeOf(error: unknown): ErrorCode {
  if (!(error instanceof SnapError)) return 'io';
  return error.code === 'interrupted' || error.code === 'pipe-closed' ? 'io' : error.code;
}
