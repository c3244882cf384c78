/** What a run of the crash simulator is told: a plan, or how likely what is. */
import type { Expectation } from './crash-expectation.ts';
import type { Step } from './crash-steps.ts';

/** A step of a plan. */
export interface Planned {
  /** Undefined where it makes no sense: the run ends there. */
  readonly choose: (expected: Expectation) => Step | undefined;
  /** It is killed before its n-th change of the disk. */
  readonly killAtChange?: number;
  /** Power losses are tried during this step. */
  readonly crashes: boolean;
}

export interface RunOptions {
  readonly seed: number;
  /** Instead of chance. */
  readonly plan?: readonly Planned[];
  readonly stepCount: number;
  /** Power losses are tried after every n-th change of the disk, on the average. */
  readonly crashEvery: number;
  /** A step is killed with this chance in a hundred. */
  readonly killPercent: number;
  /** A flush of the sidecar fails with this chance in a thousand. */
  readonly failPermille: number;
  /** A flush of the origin fails, too, with that chance. What was lost is written again next. */
  readonly failsOrigin?: boolean;
  /** Snapshots have limits; the disk is nearly full in a step with this chance in a hundred. */
  readonly fullPercent?: number;
  /** Something else writes to the image now and then. */
  readonly changesOutside?: boolean;
  /** Between two batches of a write somebody else does something, with this chance in a hundred. Not with `failsOrigin`. */
  readonly betweenPercent?: number;
  /** The power is lost again, after a power loss, while the next command repairs, with this chance in a hundred. */
  readonly againPercent?: number;
  /** Of the states that a power loss may leave, as many are tried at a point, the extreme ones among them. Else one by chance. */
  readonly statesAtPoint?: number;
  readonly log?: (line: string) => void;
}

export interface RunResult {
  readonly crashes: number;
  /** Steps of the plan that were done to their end or to their kill; fewer than planned where one made no sense. */
  readonly steps: number;
  /** Whether the last kill that was planned took place: there were so many changes. */
  readonly killed: boolean;
}

/** Different runs find different things: undisturbed ones go deep, troubled ones wide. All follows from the seed. */
export function optionsFor(seed: number, log: (line: string) => void): RunOptions {
  const [killPercent = 0, failPermille = 0] =
    [
      [0, 0],
      [45, 0],
      [30, 40],
      [45, 25],
    ][seed % 4] ?? [];
  const turn = Math.floor(seed / 4);
  return {
    seed,
    stepCount: 8 + (seed % 9),
    crashEvery: 3 + (seed % 5),
    killPercent,
    failPermille,
    failsOrigin: turn % 2 === 0,
    fullPercent: turn % 3 === 0 ? 25 : 0,
    changesOutside: turn % 5 === 0,
    betweenPercent: turn % 2 === 1 ? 70 : 0,
    againPercent: 15,
    log,
  };
}
