/**
 * From the words of the command line to a command's options. They are checked and brought into one form before
 * minimist sees them: left alone it guesses, coerces numbers, nests at dots, and throws at `--constructor`.
 */
import minimist from 'minimist';
import { SnapError } from '../../core/base/errors.ts';
import {
  type Argument,
  type CommandSpec,
  GLOBAL_OPTIONS,
  longName,
  type OptionSpec,
  type ParsedOptions,
  usage,
  type Value,
} from './options.ts';

/** Whether one of these words is among the options, so that even a line that makes no sense is answered right. */
export function asksFor(argv: readonly string[], ...words: string[]): boolean {
  const end = argv.indexOf('--');
  return (end === -1 ? argv : argv.slice(0, end)).some((word) => words.includes(word));
}

/** Parses the words after the command's name. Throws a `usage` error for everything the declaration does not allow. */
export function parseArguments<O extends Record<string, OptionSpec>, A extends Record<string, Argument>>(
  spec: CommandSpec<O, A>,
  argv: readonly string[],
): ParsedOptions<O, A> {
  const specs: [string, OptionSpec][] = Object.entries({ ...spec.options, ...GLOBAL_OPTIONS });
  const flags = specs.filter(([, option]) => option.type === 'flag').map(([key]) => key);
  const others = specs.map(([key]) => key).filter((key) => !flags.includes(key));
  const found = minimist(normalize(argv, specs), { string: [...others, '_'], boolean: flags });
  const result = new Map<string, unknown>();
  for (const [key, option] of specs) {
    const given: unknown = found[key];
    if (option.type === 'flag') result.set(key, given === true);
    else if (option.type === 'toggle') result.set(key, given === undefined ? undefined : given === 'yes');
    else {
      const texts = (Array.isArray(given) ? given : [given]).filter((item) => typeof item === 'string');
      const parsed = texts.map((item) => parseValue(key, option, item));
      result.set(key, option.repeatable ? parsed : parsed[0]);
    }
  }
  for (const [key, words] of assignArguments(spec.arguments, found._)) result.set(key, words);
  return Object.fromEntries(result) as ParsedOptions<O, A>;
}

interface NamedOption {
  readonly name: string;
  readonly key: string;
  readonly spec: OptionSpec;
  readonly negated: boolean;
}

/** Every spelling of every option. A Map, because an object would know `--constructor`. */
function namedOptions(specs: readonly [string, OptionSpec][]): Map<string, NamedOption> {
  const names = new Map<string, NamedOption>();
  for (const [key, spec] of specs) {
    const name = longName(key);
    names.set(name, { name, key, spec, negated: false });
    const shortName = `-${spec.short}`;
    if (spec.short !== undefined) names.set(shortName, { name: shortName, key, spec, negated: false });
    const negatedName = name.replace('--', '--no-');
    if (spec.type === 'toggle') names.set(negatedName, { name: negatedName, key, spec, negated: true });
  }
  return names;
}

/** Brings the words into the one form that minimist reads in one way: `--key=value` …, `--`, arguments. */
function normalize(argv: readonly string[], specs: readonly [string, OptionSpec][]): string[] {
  const names = namedOptions(specs);
  const rest = [...argv];
  const options = new Map<string, string[]>();
  const plain: string[] = [];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (word === '--') {
      plain.push(...rest.splice(0));
    } else if (word === '-' || !word.startsWith('-')) {
      plain.push(word);
    } else {
      const { option, attached } = splitWord(word, names);
      const { key, spec } = option;
      const earlier = options.get(key) ?? [];
      if (spec.type === 'value') {
        if (earlier.length > 0 && !spec.repeatable) throw usage(`${longName(key)} is given twice`);
        options.set(key, [...earlier, attached ?? takeValue(option, spec, rest)]);
      } else {
        if (attached !== undefined && option.name.startsWith('--'))
          throw usage(`${option.name} takes no value`);
        // `-qo FILE`: behind a flag's letter stand more letters; a dash there would become another kind of word.
        if (attached?.startsWith('-')) throw usage(`unknown option ${JSON.stringify(word)}`);
        if (attached !== undefined) rest.unshift(`-${attached}`);
        options.set(key, [spec.type === 'flag' ? 'true' : option.negated ? 'no' : 'yes']);
      }
      if (options.get(key)?.at(-1) === '') throw usage(`${option.name} needs a value`);
    }
  }
  const words = [...options].flatMap(([key, given]) => given.map((item) => `--${key}=${item}`));
  return [...words, '--', ...plain];
}

/** `--size=4K` or `-o` `-ofile`, as the option it names and what is attached to it. */
function splitWord(word: string, names: ReadonlyMap<string, NamedOption>) {
  const long = word.startsWith('--');
  const equals = word.indexOf('=');
  const name = long ? (equals === -1 ? word : word.slice(0, equals)) : word.slice(0, 2);
  const option = names.get(name);
  if (option === undefined) {
    const meant = [...names.keys()].filter((known) => long && name.length > 3 && known.startsWith(name));
    throw usage(
      `unknown option ${JSON.stringify(name)}`,
      meant[0] && `options are not abbreviated: ${meant.join(', ')}`,
    );
  }
  if (long) return { option, attached: equals === -1 ? undefined : word.slice(equals + 1) };
  // `-o=file` would write a file named `=file`, which nobody means.
  if (word[2] === '=') throw usage(`${name} takes its value without "="`, `${name} ${word.slice(3)}`);
  return { option, attached: word.length > 2 ? word.slice(2) : undefined };
}

function takeValue(option: NamedOption, spec: Value<unknown>, rest: string[]): string {
  const next = rest[0];
  if (next === undefined || (next.startsWith('-') && next !== '-')) {
    const form =
      next === undefined || next === '--' ? spec.placeholder : `${spec.placeholder}, or =${next} if meant`;
    throw usage(`${option.name} needs a value`, `${longName(option.key)} ${form}`);
  }
  rest.shift();
  return next;
}

function parseValue(key: string, option: Value<unknown>, given: string): unknown {
  try {
    return option.parse(given);
  } catch (error) {
    if (!(error instanceof SnapError)) throw error;
    throw new SnapError('usage', `${longName(key)}: ${error.message}`, { hint: error.hint, cause: error });
  }
}

function assignArguments(specs: Record<string, Argument>, given: readonly string[]): [string, unknown][] {
  const rest = [...given];
  const assigned = Object.entries(specs).map(([key, argument]): [string, unknown] => {
    if (rest.length < argument.min) throw usage(`missing argument ${argument.placeholder}`);
    const words = rest.splice(0, argument.many ? rest.length : 1);
    if (words.includes('')) throw usage(`${argument.placeholder} is empty`);
    return [key, argument.many ? words : words[0]];
  });
  if (rest[0] !== undefined) throw usage(`unexpected argument ${JSON.stringify(rest[0])}`);
  return assigned;
}
