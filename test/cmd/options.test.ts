/** The command line to the letter: what is taken, and what is refused before anything is touched. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { declareCommand, flag, many, one, oneOf, text, value, values } from '../../cmd/shared/options.ts';
import { asksFor, parseArguments } from '../../cmd/shared/parse.ts';
import { hasCode } from '../../core/base/errors.ts';
import { parseCount, parseSize } from '../../core/base/units.ts';

const spec = declareCommand({
  name: 'snap-test',
  description: 'Tests.',
  arguments: { image: one('IMAGE', 'the image'), others: many('OTHER', 'more of them', 0) },
  options: {
    offset: value('SIZE', parseSize, 'where'),
    maxSize: value('SIZE', parseSize, 'how much'),
    output: value('FILE', text, 'whereto', 'o'),
    onFull: value('WHAT', oneOf('invalidate', 'refuse'), 'and then'),
    keepLast: value('N', parseCount, 'how many'),
    tag: values('TEXT', text, 'marks'),
    noSync: flag('in a hurry'),
  },
  examples: [],
  exits: [],
});
const bare = declareCommand({
  name: 'snap-bare',
  description: 'Tests.',
  arguments: { images: many('IMAGE', 'images', 1) },
  options: {},
  examples: [],
  exits: [],
});

const UNSET = {
  image: 'a',
  others: [],
  offset: undefined,
  maxSize: undefined,
  output: undefined,
  onFull: undefined,
  keepLast: undefined,
  tag: [],
  noSync: false,
  json: false,
  quiet: false,
  progress: undefined,
  wait: undefined,
  debug: false,
  help: false,
  version: false,
};

const ACCEPTED: [string[], Partial<Record<keyof typeof UNSET, unknown>>][] = [
  [['a'], {}],
  [['--offset', '4K', 'a'], { offset: 4096 }],
  [['a', '--offset=4K'], { offset: 4096 }],
  [['--max-size', '1', 'a'], { maxSize: 1 }],
  [['a', 'b', '7', '0x10', '1e3'], { others: ['b', '7', '0x10', '1e3'] }],
  [['7'], { image: '7' }],
  [['--', '--offset', '-q', '--'], { image: '--offset', others: ['-q', '--'] }],
  [['-q', 'a', '--', '-b'], { quiet: true, others: ['-b'] }],
  [['-q', '--quiet', '-q', 'a'], { quiet: true }],
  [['-o', 'f', 'a'], { output: 'f' }],
  [['-of', 'a'], { output: 'f' }],
  [['-qof', 'a'], { quiet: true, output: 'f' }],
  [['-qo', 'f', 'a'], { quiet: true, output: 'f' }],
  [['--output=f', 'a'], { output: 'f' }],
  [['-o', '-', 'a'], { output: '-' }],
  [['-o-', 'a'], { output: '-' }],
  [['--output=-x', 'a'], { output: '-x' }],
  [['--output=007', 'a'], { output: '007' }],
  [['--output=true', 'a'], { output: 'true' }],
  [['--output=a=b\nc', 'a'], { output: 'a=b\nc' }],
  [['--output=__proto__', 'a'], { output: '__proto__' }],
  [['-', 'x'], { image: '-', others: ['x'] }],
  [['--on-full', 'refuse', 'a'], { onFull: 'refuse' }],
  [['--keep-last', 'unlimited', 'a'], { keepLast: Number.POSITIVE_INFINITY }],
  [['--tag', 'x', 'a', '--tag=1'], { tag: ['x', '1'] }],
  [['--no-sync', 'a'], { noSync: true }],
  [['--json', 'true'], { json: true, image: 'true' }],
  [['--progress', 'a'], { progress: true }],
  [['--no-progress', 'a'], { progress: false }],
  [['--progress', '--no-progress', 'a'], { progress: false }],
  [['--no-progress', '--progress', 'a'], { progress: true }],
  [['--wait', '0.25', 'a'], { wait: 250 }],
  [['--wait=0', 'a'], { wait: 0 }],
  [['--debug', '--version', '-h', 'a'], { debug: true, version: true, help: true }],
];

for (const [argv, expected] of ACCEPTED) {
  test(`takes ${JSON.stringify(argv)}`, () => {
    assert.deepEqual(parseArguments(spec, argv), { ...UNSET, ...expected });
  });
}

const REFUSED: [string[], RegExp][] = [
  [[], /missing argument IMAGE/],
  [[''], /IMAGE is empty/],
  [['a', ''], /OTHER is empty/],
  [['--constructor', 'a'], /unknown option "--constructor"/],
  [['--__proto__', 'a'], /unknown option "--__proto__"/],
  [['--__proto__.x=1', 'a'], /unknown option "--__proto__.x"/],
  [['--toString=1', 'a'], /unknown option "--toString"/],
  [['--valueOf', 'a'], /unknown option/],
  [['--hasOwnProperty', 'a'], /unknown option/],
  [['--offset.x=1', 'a'], /unknown option "--offset.x"/],
  [['--off', '1', 'a'], /unknown option "--off"/],
  [['--maxSize=1', 'a'], /unknown option "--maxSize"/],
  [['--sync', 'a'], /unknown option "--sync"/],
  [['--no-offset', 'a'], /unknown option/],
  [['--no-json', 'a'], /unknown option/],
  [['--=1', 'a'], /unknown option "--"/],
  [['-x', 'a'], /unknown option "-x"/],
  [['-qx', 'a'], /unknown option "-x"/],
  [['-q-', 'a'], /unknown option "-q-"/],
  [['-q-json', 'a'], /unknown option/],
  [['-5', 'a'], /unknown option "-5"/],
  [['---', 'a'], /unknown option "---"/],
  [['-o=f', 'a'], /-o takes its value without "="/],
  [['--json=banana', 'a'], /--json takes no value/],
  [['--json=', 'a'], /--json takes no value/],
  [['--no-progress=1', 'a'], /--no-progress takes no value/],
  [['a', '--offset'], /--offset needs a value/],
  [['a', '-o'], /-o needs a value/],
  [['--offset=', 'a'], /--offset needs a value/],
  [['--offset', '', 'a'], /--offset needs a value/],
  [['--tag', '', 'a'], /--tag needs a value/],
  [['--offset', '-5', 'a'], /--offset needs a value/],
  [['--offset', '--json', 'a'], /--offset needs a value/],
  [['--offset', '--', 'a'], /--offset needs a value/],
  [['--offset=-5', 'a'], /--offset: "-5" is not a size/],
  [['--offset', 'x', 'a'], /--offset: "x" is not a size/],
  [['--on-full', 'shrug', 'a'], /--on-full: "shrug" is not possible/],
  [['--wait', 'soon', 'a'], /--wait: "soon" is not a number of seconds/],
  [['--offset', '1', '--offset=1', 'a'], /--offset is given twice/],
  [['-o', 'x', '--output', 'y', 'a'], /--output is given twice/],
];

for (const [argv, message] of REFUSED) {
  test(`refuses ${JSON.stringify(argv)}`, () => {
    assert.throws(
      () => parseArguments(spec, argv),
      (error) => hasCode(error, 'usage') && message.test(error.message),
    );
  });
}

test('counts arguments', () => {
  assert.deepEqual(parseArguments(bare, ['a', 'b']).images, ['a', 'b']);
  assert.throws(() => parseArguments(bare, []), /missing argument IMAGE/);
  const single = declareCommand({ ...bare, arguments: { image: one('IMAGE', 'image') } });
  assert.throws(() => parseArguments(single, ['a', 'b']), /unexpected argument "b"/);
});

test('an abbreviation is told what it could have meant', () => {
  assert.throws(
    () => parseArguments(spec, ['--off', '1', 'a']),
    (error) => hasCode(error, 'usage') && error.hint?.includes('--offset') === true,
  );
});

test('the types of the options come from the declaration', () => {
  const options = parseArguments(spec, ['a', '--offset', '1']);
  const offset: number | undefined = options.offset;
  const onFull: 'invalidate' | 'refuse' | undefined = options.onFull;
  const others: readonly string[] = options.others;
  const noSync: boolean = options.noSync;
  // @ts-expect-error: an option that was not declared
  const missing: unknown = options.size;
  assert.deepEqual([offset, onFull, others, noSync, missing], [1, undefined, [], false, undefined]);
});

test('help is seen among options only', () => {
  assert.equal(asksFor(['--foo', '--help'], '--help', '-h'), true);
  assert.equal(asksFor(['a', '--offset', '-h'], '--help', '-h'), true);
  assert.equal(asksFor(['a', '--', '--help'], '--help', '-h'), false);
  assert.equal(asksFor(['--help=x'], '--help'), false);
});
