/** Command lines by chance: a command's own options with values of the kinds that they take, and what nobody takes. */
import { GLOBAL_OPTIONS, longName, type OptionSpec } from '../../cmd/shared/options.ts';
import { type Chance, mutateList } from './chance.ts';
import type { Command } from './commands.ts';

/** The words of a text, and a few that no text has in it. */
const wordsOf = (text: string, ...others: readonly string[]) => [...text.trim().split(/\s+/), ...others];

const SIZES = wordsOf(
  `0 1 512 4096 4K 64KiB 1M 16M 32M 1.5K 40.5K 0.5 .5 1. 1e3 0x10 -1 +1 8P 8192P 9007199254740992 9007199254740993
  1KB 1kb 1Kib 1B 1PP 0.0009765625K 0.00097656250000001K 00 ١ NaN Infinity 1_000 1,5K 4k 2E`,
  ...[' 1', '1 ', ''],
);
const COUNTS = wordsOf('1 2 0 -1 unlimited Unlimited 1.0 1e1 999999999999999999999 01', ' 1');
const DURATIONS = wordsOf('1h 14d 2y5m7d3h 1m 0h 0d 3h1d 1y1y 99999999999y 9007199254740993d d 1 1w -1d');
const TIMES = wordsOf(
  `2026-11-20T07:17:31Z 2026-11-20T08:17:31.25+01:00 2026-02-30T00:00:00Z 2026-13-01T00:00:00Z 2026-11-20t07:17:31z
  0001-01-01T00:00:00Z 0001-01-01T00:00:00+00:01 9999-12-31T23:59:59.999999999999Z 9999-12-31T23:59:59-00:01
  2016-12-31T23:59:60Z 2026-11-20 2026-11-20T24:00:00Z 2026-11-20T07:17:31 0000-01-01T00:00:00Z`,
);
const SECONDS = wordsOf(
  '0 1 0.5 60 1e3 -1 .5 1. 99999999999999999999 1e400 0.0000000000001',
  '9'.repeat(400),
);
const PATHS = wordsOf(
  `out store dir list - disk.img disk.img.snap disk.img.snap/x no/such . .. / x@y disk.img.snap/state ~ store/`,
  '',
);
const TEXTS = wordsOf(
  'remark __proto__ -- -',
  '',
  'ä\n',
  '\0',
  'x'.repeat(1024),
  'x'.repeat(1025),
  '\u001b[31m',
);
const CHOICES = wordsOf('invalidate refuse Refuse constructor', '');
const IMAGES = wordsOf(
  `disk.img disk.img@a disk.img@b disk.img@c disk.img@new disk.img@ /disk.img /disk.img@c ./disk.img@a link link@a
  x@y x@y@a x@y@ x dir dir@a none none@a @a @ @@ disk.img@a@b disk.img@@ disk.img@-a disk.img@a/b dir/../disk.img@a
  disk.img/@a . / disk.img@__proto__ disk.img@constructor disk.img.snap disk.img.snap/state 0 1e3 orphan
  disk.img.snap/catalog.json@a`,
  ...['', `disk.img@${'n'.repeat(128)}`, `disk.img@${'n'.repeat(129)}`, 'l'.repeat(300)],
);
const BY_PLACEHOLDER: Readonly<Record<string, readonly string[]>> = {
  SIZE: SIZES,
  N: COUNTS,
  DURATION: DURATIONS,
  RFC3339: TIMES,
  SECONDS,
  PATH: PATHS,
  FILE: PATHS,
  TEXT: TEXTS,
  WHAT: CHOICES,
  FORMAT: wordsOf('dm raw dmsetup rbd DM', ''),
};
const ODD_WORDS = wordsOf(
  `-- - --no- --- --= -= --constructor --__proto__=1 --toString -qq -qo -oq -q=1 --a.b=1 --json=no --no-json --offse
  --help=1 -h --version -1 --size`,
  ...['', '\0'],
);
const CHARACTERS = [...'0123456789KMGTPiBbymdhTZ:.+-@/=_ eE"\'\\\n\t\0é\u2028💾\ud800'];
const HEX = '0123456789abcdefABCDEF';

/** Few characters of a word changed. */
export function garble(word: string, chance: Chance): string {
  const at = chance.below(word.length + 1);
  const char = chance.pick(CHARACTERS);
  return word.slice(0, at) + (chance.once(3) ? '' : char) + word.slice(at + chance.below(2));
}

/** What a line's standard input and its file `list` hold: lines as `snap-verify --check` is given them. */
export function inputFor(words: readonly string[], chance: Chance): string {
  const isRead = words[0] === 'snap-write' || words.some((word) => word.startsWith('--check'));
  return isRead ? digestList(chance) : '';
}

function digestList(chance: Chance): string {
  const digits = (count: number) => Array.from({ length: count }, () => chance.pick([...HEX])).join('');
  const line = () => {
    const digest = digits(chance.once(6) ? chance.below(20) : 16);
    const name = chance.pick([...IMAGES, 'a', 'b', 'c', 'a\r', '*disk.img@a']);
    const text = `${digest}${chance.pick(['  ', ' *', ' ', '\t', ''])}${name}`;
    return chance.once(6) ? garble(text, chance) : text;
  };
  const lines = Array.from({ length: chance.below(5) }, line);
  return lines.join(chance.pick(['\n', '\n', '\r\n'])) + chance.pick(['\n', '']);
}

export class WordsGrammar {
  readonly #commands: readonly Command[];

  constructor(commands: Iterable<Command>) {
    this.#commands = [...commands];
  }

  /** The name of a command and its words. */
  line(chance: Chance): string[] {
    const { spec } = chance.pick(this.#commands);
    const images = Array.from({ length: chance.once(3) ? chance.below(4) : 1 }, () => this.#image(chance));
    const options = Array.from({ length: chance.below(4) }, () => this.#option(spec.name, chance)).flat();
    return [spec.name, ...(chance.once(2) ? [...images, ...options] : [...options, ...images])];
  }

  change([name = '', ...words]: readonly string[], chance: Chance): string[] {
    if (chance.once(12)) return [chance.pick(this.#commands).spec.name, ...words];
    const make = () => (chance.once(3) ? this.#image(chance) : (this.#option(name, chance)[0] ?? ''));
    if (chance.once(3)) {
      const at = chance.below(words.length + 1);
      return [name, ...words.slice(0, at), ...this.#option(name, chance), ...words.slice(at)].slice(0, 12);
    }
    return [name, ...mutateList(words, chance, make, (word) => garble(word, chance))].slice(0, 12);
  }

  #image(chance: Chance): string {
    // The ones that exist, more often than not: everything else ends early.
    if (chance.once(2)) return chance.pick(IMAGES.slice(0, 4));
    const image = chance.pick(IMAGES);
    return chance.once(6) ? garble(image, chance) : image;
  }

  #option(name: string, chance: Chance): string[] {
    if (chance.once(10)) return [chance.pick(ODD_WORDS)];
    const other = chance.pick(this.#commands);
    const own = this.#commands.find(({ spec }) => spec.name === name) ?? other;
    const { spec } = chance.once(12) ? other : own;
    const all: readonly [string, OptionSpec][] = Object.entries({ ...spec.options, ...GLOBAL_OPTIONS });
    const [key, option] = chance.pick(all);
    const long = chance.once(20) ? garble(longName(key), chance) : longName(key);
    if (option.type === 'toggle') return [chance.once(2) ? long : long.replace('--', '--no-')];
    const written = option.short !== undefined && chance.once(2) ? `-${option.short}` : long;
    if (option.type === 'flag') return [written];
    let value = chance.pick(BY_PLACEHOLDER[option.placeholder] ?? TEXTS);
    if (chance.once(6)) value = garble(value, chance);
    if (written.startsWith('--')) return chance.once(2) ? [`${written}=${value}`] : [written, value];
    return chance.once(2) ? [written + value] : [written, value];
  }
}
