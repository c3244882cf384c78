/** The text of `--help`, made from a command's declaration so that it cannot say anything else than what is parsed. */
import { COMMON_EXITS, EXIT_MEANINGS } from './exit-codes.ts';
import { type Argument, type CommandSpec, GLOBAL_OPTIONS, longName, type OptionSpec } from './options.ts';

const WIDTH = 80;
/** Wider names stand on a line of their own, so that one long option does not squeeze all the texts. */
const WIDEST_NAME = 26;

/** The whole help of a command, ending with a newline; no line is longer than 80 columns. */
export function renderHelp(spec: CommandSpec): string {
  const examples = spec.examples.map(
    ({ text, command }) => `${fill(text, '  ')}\n    ${command.split('\n').join('\n    ')}`,
  );
  const sections = [
    renderUsage(spec),
    fill(spec.description, ''),
    `Arguments:\n${table(Object.values(spec.arguments).map((argument) => [argumentForm(argument), argument.help]))}`,
    `Options:\n${optionTable(spec.options)}`,
    `Options of every command:\n${optionTable(GLOBAL_OPTIONS)}`,
    `${examples.length > 1 ? 'Examples' : 'Example'}:\n${examples.join('\n\n')}`,
    `Exit status:\n${table(exitRows(spec.exits))}`,
  ];
  const empty = ['Arguments:\n', 'Options:\n', 'Example:\n'];
  return `${sections.filter((section) => !empty.includes(section)).join('\n\n')}\n`;
}

function renderUsage({ name, usage, arguments: specs }: CommandSpec): string {
  const forms = usage ?? [Object.values(specs).map(argumentForm).join(' ')];
  return forms
    .map((form, index) => `${index === 0 ? 'Usage:' : '   or:'} ${name} [OPTION]... ${form}`.trimEnd())
    .join('\n');
}

function argumentForm({ placeholder, min, many }: Argument): string {
  return `${min === 0 ? `[${placeholder}]` : placeholder}${many ? '...' : ''}`;
}

function optionTable(options: Readonly<Record<string, OptionSpec>>): string {
  return table(
    Object.entries(options).map(([key, option]) => {
      const short = option.short === undefined ? '    ' : `-${option.short}, `;
      const name = option.type === 'toggle' ? longName(key).replace('--', '--[no-]') : longName(key);
      const again = option.type === 'value' && option.repeatable ? '; can be given several times' : '';
      return [
        `${short}${name}${option.type === 'value' ? ` ${option.placeholder}` : ''}`,
        option.help + again,
      ];
    }),
  );
}

function exitRows(exits: readonly number[]): [string, string][] {
  const all = new Set([...COMMON_EXITS, ...exits]);
  return [...EXIT_MEANINGS]
    .filter(([status]) => all.has(status))
    .map(([status, means]) => [`${status}`, means]);
}

/** Names on the left, texts on the right, wrapped under themselves. */
function table(rows: readonly [string, string][]): string {
  const nameWidth = Math.max(0, ...rows.map(([name]) => name.length).filter((width) => width <= WIDEST_NAME));
  const margin = ' '.repeat(nameWidth + 4);
  const lines = rows.map(([name, text]) => {
    const wrapped = fill(text, margin);
    return name.length > nameWidth
      ? `  ${name}\n${wrapped}`
      : `  ${name.padEnd(nameWidth)}  ${wrapped.trimStart()}`;
  });
  return lines.join('\n');
}

/** Wraps `text` to the width, every line behind `margin`. A longer word stays whole. */
function fill(text: string, margin: string): string {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(/\s+/)) {
    if (line !== '' && margin.length + line.length + 1 + word.length > WIDTH) {
      lines.push(margin + line);
      line = '';
    }
    line += line === '' ? word : ` ${word}`;
  }
  return [...lines, margin + line].join('\n');
}
