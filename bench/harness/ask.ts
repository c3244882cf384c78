/**
 * Asks a question: makes what it needs, then measures both sides in turn. The first round is thrown away, since the
 * first touch of fresh disk blocks and of a cold cache costs more; every round gives one ratio, and who begins changes
 * from round to round. What cannot be measured here is told apart from what went wrong.
 */
import { ScriptFailure, TooSlow } from './place.ts';
import { type Comparison, isLimit, type Question, type Side, type Workshop } from './question.ts';
import { type Figure, summarize } from './statistics.ts';

const ROUNDS = 5;
/** A run that takes longer is given up: its target is missed by far. */
const LIMIT_SECONDS = 300;
/** Where memory is measured, time does not matter. */
const MEMORY_LIMIT_SECONDS = 1800;

export type Outcome =
  | { readonly kind: 'measured'; readonly ratio: Figure; readonly ours: Figure; readonly beside: Figure }
  | { readonly kind: 'slow'; readonly limitSeconds: number }
  | { readonly kind: 'unavailable'; readonly why: string }
  | { readonly kind: 'failed'; readonly why: string };

export interface Answer {
  readonly question: Question;
  readonly comparison: Comparison;
  readonly outcome: Outcome;
}

/** What runs the scripts of a question. */
export interface Bench extends Workshop {
  readonly bash: (script: string, limitSeconds?: number) => Promise<number>;
  peakMib(script: string, limitSeconds: number): Promise<number>;
  succeeds(test: string): Promise<boolean>;
  during<T>(script: string | undefined, work: () => Promise<T>): Promise<T>;
}

/** Answers for all comparisons of a question; each is told as soon as it is known. */
export async function ask(
  question: Question,
  bench: Bench,
  isSmall: boolean,
  tell: (answer: Answer) => void,
): Promise<void> {
  let problem: Outcome | undefined;
  try {
    await question.setup(bench);
  } catch (error) {
    problem = outcomeOf(error);
  }
  for (const comparison of question.comparisons) {
    const outcome = problem ?? (await compare(comparison, bench, isSmall));
    tell({ question, comparison, outcome });
  }
}

async function compare(comparison: Comparison, bench: Bench, isSmall: boolean): Promise<Outcome> {
  try {
    for (const { test, lacking } of comparison.needs ?? []) {
      if (!(await bench.succeeds(test))) return { kind: 'unavailable', why: lacking };
    }
    await comparison.setup?.(bench);
    const rounds = isSmall ? 1 : (comparison.rounds ?? ROUNDS);
    return await measure(comparison, bench, rounds, rounds === 1 ? 0 : 1);
  } catch (error) {
    if (error instanceof TooSlow && error.script === comparison.ours.run) {
      return { kind: 'slow', limitSeconds: error.limitSeconds };
    }
    return outcomeOf(error);
  }
}

async function measure(
  { ours, beside }: Comparison,
  bench: Bench,
  rounds: number,
  thrownAway: number,
): Promise<Outcome> {
  const pairs: (readonly [number, number])[] = [];
  for (let round = 0; round < rounds + thrownAway; round += 1) {
    let pair: readonly [number, number];
    if (isLimit(beside)) {
      if (ours.prepare !== undefined) await bench.bash(ours.prepare);
      pair = [await bench.peakMib(ours.run, MEMORY_LIMIT_SECONDS), beside.peakMib];
    } else if (round % 2 === 0) {
      const first = await time(ours, bench);
      pair = [first, await time(beside, bench)];
    } else {
      const first = await time(beside, bench);
      pair = [await time(ours, bench), first];
    }
    if (round >= thrownAway) pairs.push(pair);
  }
  return {
    kind: 'measured',
    ratio: summarize(pairs.map(([our, other]) => our / other)),
    ours: summarize(pairs.map(([our]) => our)),
    beside: summarize(pairs.map(([, other]) => other)),
  };
}

async function time({ prepare, run, meanwhile }: Side, bench: Bench): Promise<number> {
  if (prepare !== undefined) await bench.bash(prepare);
  return bench.during(meanwhile, () => bench.bash(run, LIMIT_SECONDS));
}

function outcomeOf(error: unknown): Outcome {
  if (error instanceof TooSlow || error instanceof ScriptFailure)
    return { kind: 'failed', why: error.message };
  throw error;
}
