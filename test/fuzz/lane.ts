/**
 * One target being fuzzed: takes an input of its corpus, changes it, runs it, and keeps it where it came somewhere new.
 * What fails is made as small as it gets and kept apart.
 */
import type { Chance } from './chance.ts';
import { coverage, type Seen } from './coverage.ts';
import type { Target } from './target.ts';
import type { Watchdog } from './watchdog.ts';

export interface Finding {
  readonly target: string;
  readonly input: unknown;
  readonly error: Error;
  /** How many inputs of this target had been run. */
  readonly executions: number;
}

export interface LaneTools {
  readonly chance: Chance;
  /** Absent where a test's own time limit is enough. */
  readonly watchdog: Watchdog | undefined;
  readonly onFinding: (finding: Finding) => void;
}

/** Changes made to one input before it is run. */
const MOST_CHANGES = 4;
const MOST_STEPS_SMALLER = 300;

export class Lane<I> {
  readonly name: string;
  executions = 0;
  /** Milliseconds spent. */
  spentMs = 0;
  readonly seen: Seen = new Map();
  readonly corpus: I[] = [];
  readonly #target: Target<I>;
  readonly #tools: LaneTools;
  readonly #answers = new Set<string>();
  /** What was found so far; the same mistake is told once. */
  readonly #found = new Set<string>();

  constructor(target: Target<I>, tools: LaneTools) {
    this.name = target.name;
    this.#target = target;
    this.#tools = tools;
  }

  /** Runs inputs that were kept, the smallest first. Those that come nowhere new go. */
  async load(inputs: readonly unknown[]): Promise<void> {
    const length = (input: unknown) => JSON.stringify(input).length;
    const sorted = [...inputs].sort((a, b) => length(a) - length(b));
    for (const input of sorted as readonly I[]) await this.#consider([input]);
  }

  /** A batch of inputs by chance. */
  async round(): Promise<void> {
    const startMs = performance.now();
    const inputs = Array.from({ length: this.#target.batch }, () => this.#next());
    await this.#consider(inputs);
    this.spentMs += performance.now() - startMs;
  }

  #next(): I {
    const { chance } = this.#tools;
    if (this.corpus.length === 0 || chance.once(4)) return this.#target.generate(chance);
    let input = chance.pick(this.corpus);
    for (let left = 1 + chance.below(MOST_CHANGES); left > 0; left -= 1) {
      input = this.#target.mutate(input, chance);
    }
    return input;
  }

  /** Where a batch came somewhere new, each of its inputs is run once more, to see which. */
  async #consider(inputs: readonly I[]): Promise<void> {
    const fresh: I[] = [];
    const before = new Map([...this.seen].map(([path, bytes]) => [path, bytes.slice()]));
    for (const input of inputs) if (await this.#run(input)) fresh.push(input);
    if (coverage.takeNew(this.seen) === 0) this.corpus.push(...fresh);
    else if (inputs.length === 1) this.corpus.push(...inputs);
    else {
      for (const input of inputs) {
        await this.#run(input);
        if (coverage.takeNew(before) > 0 || fresh.includes(input)) this.corpus.push(input);
      }
    }
  }

  /** @returns whether an answer came for the first time */
  async #run(input: I): Promise<boolean> {
    this.executions += 1;
    this.#tools.watchdog?.begin(this.name, input);
    try {
      const answers = await this.#target.run(input);
      const before = this.#answers.size;
      for (const each of answers) this.#answers.add(each);
      return this.#answers.size > before;
    } catch (thrown) {
      await this.#report(input, thrown);
      return false;
    }
  }

  async #report(input: I, thrown: unknown): Promise<void> {
    const kind = kindOf(thrown);
    const { executions } = this;
    if (this.#found.has(kind)) return;
    this.#found.add(kind);
    const small = await this.#smallest(input, kind);
    const error = thrown instanceof Error ? thrown : new Error(String(thrown));
    this.#tools.onFinding({ target: this.name, input: small, error, executions });
  }

  /** The smallest input found that fails in the same way. */
  async #smallest(input: I, kind: string): Promise<I> {
    let left = MOST_STEPS_SMALLER;
    for (let found: I | undefined = input; found !== undefined; ) {
      input = found;
      found = undefined;
      for (const smaller of this.#target.smaller(input)) {
        left -= 1;
        if (left < 0) return input;
        this.#tools.watchdog?.begin(this.name, smaller);
        const again = await this.#target.run(smaller).then(
          () => undefined,
          (error: unknown) => error,
        );
        if (again === undefined || kindOf(again) !== kind) continue;
        found = smaller;
        break;
      }
    }
    return input;
  }
}

/** Two failures of the same kind are one mistake: numbers and what is quoted do not count. */
export function kindOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  const where = /\/((?:core|cmd)\/[\w/.-]+:\d+)/.exec(thrown.stack ?? '')?.[1] ?? '';
  const message = thrown.message.split('\n')[0] ?? '';
  return `${thrown.name} ${message.replace(/[0-9a-f]{8,}|\d+/g, '0')} ${where}`;
}
