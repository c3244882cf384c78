/** What the fuzzer needs to know of the thing it feeds. */
import type { SnapError } from '../../core/base/errors.ts';
import type { Chance } from './chance.ts';

/** @typeParam I an input: plain JSON, since it is kept as a line of text */
export interface Target<I> {
  /** Its corpus is the file of this name. */
  readonly name: string;
  /** How many inputs one look at the coverage is for: one look takes as long as hundreds of cheap inputs. */
  readonly batch: number;
  generate(chance: Chance): I;
  mutate(input: I, chance: Chance): I;
  /** Inputs that are smaller by one step. */
  smaller(input: I): Iterable<I>;
  /**
   * Runs one input. Answers that came for the first time make it worth keeping too.
   * @throws whatever the fuzzer is looking for
   */
  run(input: I): Promise<readonly string[]>;
}

/** An error as an answer: its code, and where it was made, with whoever asked for it. */
export function errorAnswer(error: SnapError): string {
  const places = (error.stack ?? '').matchAll(/\/((?:core|cmd)\/[\w/.-]+:\d+)/g);
  const made = [...places].slice(0, 2).map(([, place]) => place);
  return [error.code, ...made].join(' ');
}

/** A warning as an answer: without the numbers, names and lists in it. */
export function warningAnswer(message: string): string {
  const text = message.replace(/"(?:[^"\\]|\\.)*"/g, '""').replace(/\S*[/@]\S*|\S+\.\w\S*/g, '/');
  return text
    .replace(/[0-9a-f]{8,}|\d+/g, '0')
    .replace(/: .*/s, '')
    .slice(0, 120);
}
