/**
 * How a command is declared: one object, from which come its parsing (parse.ts), the type of what it is given,
 * and its help (help.ts).
 */
import { SnapError } from '../../core/base/errors.ts';
import { parseSeconds } from '../../core/base/units.ts';

/** On or off, once or several times: `--json`, `-q`. */
export interface Flag {
  readonly type: 'flag';
  readonly help: string;
  readonly short: string | undefined;
}
/** `--progress` or `--no-progress`; the last one counts, undefined where neither was given. */
export interface Toggle {
  readonly type: 'toggle';
  readonly help: string;
  readonly short: undefined;
}
/** An option with a value; `repeatable` ones collect all, others are refused the second time. */
export interface Value<T, R extends boolean = boolean> {
  readonly type: 'value';
  readonly placeholder: string;
  /** Throws a `usage` error where the text is not one. */
  readonly parse: (text: string) => T;
  readonly help: string;
  readonly short: string | undefined;
  readonly repeatable: R;
}
export type OptionSpec = Flag | Toggle | Value<unknown>;

/** A positional argument. */
export interface Argument<M extends boolean = boolean> {
  readonly placeholder: string;
  readonly help: string;
  /** How many at least; at most one, unless `many`. */
  readonly min: number;
  readonly many: M;
}

/** Everything that is to be known about a command before it runs. */
export interface CommandSpec<
  O extends Record<string, OptionSpec> = Record<string, OptionSpec>,
  A extends Record<string, Argument> = Record<string, Argument>,
> {
  readonly name: string;
  /** What follows the name in each usage line, where what is made of `arguments` does not say enough. */
  readonly usage?: readonly string[];
  /** One paragraph: what it does, for somebody who has not used it before. */
  readonly description: string;
  /** In this order; only the last may be `many`. */
  readonly arguments: A;
  /** By camelCase name: `maxSize` is `--max-size`. */
  readonly options: O;
  readonly examples: readonly { readonly text: string; readonly command: string }[];
  /** Exit statuses beside those that every command can give (0, 1, 2, 130, 141, 143). */
  readonly exits: readonly number[];
}

export const flag = (help: string, short?: string): Flag => ({ type: 'flag', help, short });
export const toggle = (help: string): Toggle => ({ type: 'toggle', help, short: undefined });

export function value<T>(
  placeholder: string,
  parse: (text: string) => T,
  help: string,
  short?: string,
): Value<T, false> {
  return { type: 'value', placeholder, parse, help, short, repeatable: false };
}

export function values<T>(placeholder: string, parse: (text: string) => T, help: string): Value<T, true> {
  return { type: 'value', placeholder, parse, help, short: undefined, repeatable: true };
}

export const one = (placeholder: string, help: string): Argument<false> => {
  return { placeholder, help, min: 1, many: false };
};
export const many = (placeholder: string, help: string, min: 0 | 1): Argument<true> => {
  return { placeholder, help, min, many: true };
};

/** The parser of an option that takes any text. */
export const text = (given: string): string => given;

/** The parser of an option that takes one of a few words. */
export function oneOf<const W extends string>(...words: readonly W[]): (given: string) => W {
  return (given) => {
    const word = words.find((candidate) => candidate === given);
    if (word !== undefined) return word;
    throw usage(`${JSON.stringify(given)} is not possible`, `one of ${words.join(', ')}`);
  };
}

export const GLOBAL_OPTIONS = {
  json: flag('one JSON document instead of text, errors too'),
  quiet: flag('say nothing that only reports success', 'q'),
  progress: toggle('show or hide the progress bar (default: shown on a terminal after half a second)'),
  wait: value(
    'SECONDS',
    parseSeconds,
    'wait this long for another process to finish (default 60; 0 tries once)',
  ),
  debug: flag('show where in the program an error arose'),
  help: flag('show this help', 'h'),
  version: flag('show the version'),
};

type OptionResult<S> = S extends Flag
  ? boolean
  : S extends Toggle
    ? boolean | undefined
    : S extends Value<infer T, infer R>
      ? R extends true
        ? readonly T[]
        : T | undefined
      : never;
type ArgumentResult<S> = S extends Argument<true> ? readonly string[] : string;

/** What a command is given: each option and argument under its name, `wait` in milliseconds. */
export type ParsedOptions<O, A> = { readonly [K in keyof O]: OptionResult<O[K]> } & {
  readonly [K in keyof A]: ArgumentResult<A[K]>;
} & { readonly [K in keyof typeof GLOBAL_OPTIONS]: OptionResult<(typeof GLOBAL_OPTIONS)[K]> };

/** Declares a command; exists so that the types of its options are kept. */
export function declareCommand<
  const O extends Record<string, OptionSpec>,
  const A extends Record<string, Argument>,
>(spec: CommandSpec<O, A>): CommandSpec<O, A> {
  return spec;
}

/** `maxSize` as `--max-size`. */
export function longName(key: string): string {
  return `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** A mistake on the command line. */
export function usage(message: string, hint?: string): SnapError {
  return new SnapError('usage', message, { hint });
}
