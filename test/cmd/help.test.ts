/** The help that a declaration makes: everything that is declared, in 80 columns. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { renderHelp } from '../../cmd/shared/help.ts';
import { declareCommand, flag, many, one, text, value, values } from '../../cmd/shared/options.ts';
import { parseSize } from '../../core/base/units.ts';

const words = (count: number) => Array.from({ length: count }, (_, index) => `word${index}`).join(' ');

const spec = declareCommand({
  name: 'snap-test',
  description: `Does this: ${words(30)}`,
  arguments: { image: one('IMAGE', words(20)), others: many('OTHER', 'more of them', 0) },
  options: {
    maxSize: value('SIZE', parseSize, 'how much'),
    output: value('FILE', text, 'whereto', 'o'),
    aVeryLongNameForAnOption: values('SOMETHING', text, words(20)),
    noSync: flag('in a hurry'),
  },
  examples: [
    { text: words(20), command: 'snap-test disk.img |\nsnap-test other.img' },
    { text: 'Another:', command: 'snap-test a' },
  ],
  exits: [3],
});

test('keeps within 80 columns, without trailing blanks', () => {
  for (const line of renderHelp(spec).split('\n')) {
    assert.ok(line.length <= 80, line);
    assert.equal(line, line.trimEnd());
  }
});

test('shows the usage, the arguments and every option', () => {
  const help = renderHelp(spec);
  assert.match(help, /^Usage: snap-test \[OPTION\]\.\.\. IMAGE \[OTHER\]\.\.\.\n\nDoes this: word0 /);
  assert.match(help, /^ {2}\[OTHER\]\.\.\. {2}more of them$/m);
  assert.match(help, /^ {6}--max-size SIZE {2,}how much$/m);
  assert.match(help, /^ {2}-o, --output FILE {2,}whereto$/m);
  assert.match(help, /^ {6}--a-very-long-name-for-an-option SOMETHING\n {10,}word0 /m);
  assert.match(help, /^ {6}--no-sync {2,}in a hurry$/m);
  assert.match(help, /^ {6}--\[no-\]progress {2,}/m);
  assert.match(help, /^ {2}-q, --quiet {2,}/m);
  assert.match(help, /^ {4}snap-test disk\.img \|\n {4}snap-test other\.img$/m);
  assert.ok(help.endsWith('\n') && !help.endsWith('\n\n'));
});

test('names the exit statuses of the command and no others', () => {
  const statuses = [...renderHelp(spec).matchAll(/^ {2}(\d+) {2,}/gm)].map(([, status]) => status);
  assert.deepEqual(statuses, ['0', '1', '2', '3', '130', '141']);
});

test('leaves out what there is none of, and takes usage lines as given', () => {
  const help = renderHelp({ ...spec, arguments: {}, options: {}, examples: [], usage: ['A', 'B ...'] });
  assert.match(help, /^Usage: snap-test \[OPTION\]\.\.\. A\n {3}or: snap-test \[OPTION\]\.\.\. B \.\.\.\n/);
  assert.doesNotMatch(help, /^(Arguments|Options|Examples?):$/m);
});
