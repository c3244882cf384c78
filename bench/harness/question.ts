/**
 * What a question of the benchmark is: two things that are measured in turn, as bash scripts in a directory of their
 * own, and how many times the second the first may take. A script finds the commands by name and the sizes of the
 * question as variables.
 */

/** Numbers by the names that scripts know them by, as in `$MIB`. */
export type Sizes = Readonly<Record<string, number>>;

export interface Question {
  readonly name: string;
  readonly title: string;
  readonly sizes: { readonly full: Sizes; readonly small: Sizes };
  /** Makes what is measured; not timed. */
  setup(place: Workshop): Promise<void>;
  readonly comparisons: readonly Comparison[];
}

export interface Comparison {
  readonly name: string;
  readonly ours: Side;
  readonly beside: Side | Limit;
  /** At most so many times as much; absent where there is no target and the figure is only shown. */
  readonly reach?: number;
  /** Added to the question's title, where it is not quite the same. */
  readonly note?: string;
  readonly needs?: readonly Need[];
  /** What it needs besides the question's setup. */
  setup?(place: Workshop): Promise<void>;
  /** Instead of five: more where a run is short, one where it takes minutes. */
  readonly rounds?: number;
}

export interface Side {
  readonly label: string;
  /** Timed, from the start of bash to its end. */
  readonly run: string;
  /** Before each run; not timed. */
  readonly prepare?: string;
  /** Repeated in the background for as long as `run` takes. */
  readonly meanwhile?: string;
}

/** Nothing is run beside it: the peak memory of the largest process of `ours` is compared with a number. */
export interface Limit {
  readonly label: string;
  readonly peakMib: number;
}

/** What the machine must have; where the test fails the comparison is reported as not to be made here, and why. */
export interface Need {
  readonly lacking: string;
  readonly test: string;
}

/** The directory of a question, for its setup, which may take what it needs out of it. */
export interface Workshop {
  readonly sizes: Sizes;
  readonly path: (name: string) => string;
  readonly bash: (script: string) => Promise<unknown>;
}

export function isLimit(beside: Side | Limit): beside is Limit {
  return 'peakMib' in beside;
}

/** Programs, each with the Debian package that has it. */
export function programs(...names: readonly (keyof typeof PACKAGES)[]): Need[] {
  return names.map((name) => ({
    lacking: `not installed: ${name} (package ${PACKAGES[name]})`,
    test: `command -v ${name}`,
  }));
}

export const PACKAGES = {
  'mkfs.btrfs': 'btrfs-progs',
  nbdcopy: 'libnbd-bin',
  nbdkit: 'nbdkit',
  'qemu-img': 'qemu-utils',
  'qemu-io': 'qemu-utils',
  'qemu-nbd': 'qemu-utils',
  xxhsum: 'xxhash',
} as const;
