/**
 * The node:test reporter of `npm test`: failures as they come, and as its very last line what a reader or a script can
 * trust: `N passed, N failed, N skipped`. Silent about what passed, except for dots on a terminal.
 *
 * Only leaves are counted, so that a group of ten tests is ten and not eleven. A group that fails by itself (its own
 * code, a hook) counts as one failure, and so does a test file that crashes, hangs up or holds no test at all: node
 * takes that last one for a passed test.
 */
import path from 'node:path';
import { inspect } from 'node:util';

const LINE_DOTS = 100;
const MOST_OUTPUT_LINES = 40;

class Tally {
  passed = 0;
  failed = 0;
  skipped = 0;
  #dots = 0;
  /** The names of the tests that the present one stands in, by depth. */
  #names = [];
  /** At which depth the latest plan stood: what comes next, one above it, has children. */
  #planDepth;
  /** What each test file said on its own, to be shown if it crashes. */
  #output = new Map();
  /** What was caught after a test had ended, which names no file: that one's, which fails next. */
  #stray = '';
  /** Whether the latest result was a failure, and remarks are wanted. */
  #remarks = false;

  /** The text to show for an event. */
  take({ type, data }) {
    if (type === 'test:start') this.#names.splice(data.nesting, this.#names.length, data.name);
    if (type === 'test:stdout' || type === 'test:stderr') {
      this.#output.set(data.file, (this.#output.get(data.file) ?? '') + data.message);
    }
    if (type === 'test:diagnostic') return this.#diagnostic(data);
    if (type === 'test:plan') this.#planDepth = data.nesting;
    if (type !== 'test:pass' && type !== 'test:fail') return '';
    const isLeaf = this.#planDepth !== data.nesting + 1 && data.details?.type !== 'suite';
    this.#planDepth = undefined;
    this.#remarks = false;
    return type === 'test:pass' ? this.#pass(data, isLeaf) : this.#fail(data, isLeaf);
  }

  /** A failed test's remarks (a seed) come behind it; other tests' and node's own figures are left out. */
  #diagnostic({ message, file }) {
    if (file === undefined && message.startsWith('Error: ')) this.#stray += `${message}\n`;
    return file !== undefined && this.#remarks ? `    ${message}\n\n` : '';
  }

  #pass(data, isLeaf) {
    if (isFile(data)) {
      this.failed += 1;
      return this.#failure(data, 'this file holds no tests');
    }
    if (!isLeaf) return '';
    if (isLeftOut(data)) this.skipped += 1;
    else this.passed += 1;
    return this.#dot();
  }

  #fail(data, isLeaf) {
    const { error } = data.details;
    // Its failed children were told already.
    if (error?.failureType === 'subtestsFailed') return '';
    if (isLeftOut(data)) {
      if (isLeaf) this.skipped += 1;
      return '';
    }
    this.failed += 1;
    if (!isFile(data)) return this.#failure(data, error?.cause ?? error);
    const said = this.#stray + (this.#output.get(data.file) ?? '');
    this.#stray = '';
    const output = said.trimEnd().split('\n').slice(-MOST_OUTPUT_LINES).filter(Boolean);
    const end = error?.signal ? `signal ${error.signal}` : `exit status ${error?.exitCode}`;
    return this.#failure(data, [`the test file ended with ${end}`, ...output].join('\n'));
  }

  #failure(data, reason) {
    const names = isFile(data) ? [] : [...this.#names.slice(0, data.nesting), data.name];
    // No line: tsx compiles a file to a single one. The stack has the right ones.
    const place = path.relative('', data.file ?? data.name);
    const text = typeof reason === 'string' ? reason : describe(reason);
    const start = this.#dots === 0 ? '' : '\n';
    this.#dots = 0;
    this.#remarks = true;
    return `${start}FAILED ${[place, ...names].join(' > ')}\n${text.replace(/^/gm, '    ')}\n\n`;
  }

  #dot() {
    if (!process.stdout.isTTY) return '';
    this.#dots = (this.#dots + 1) % LINE_DOTS;
    return this.#dots === 0 ? '.\n' : '.';
  }

  summary() {
    const start = this.#dots === 0 ? '' : '\n';
    return `${start}${this.passed} passed, ${this.failed} failed, ${this.skipped} skipped\n`;
  }
}

/** An error's message, which has the difference where one was asserted, and its stack without node's own part. */
function describe(reason) {
  if (typeof reason?.stack !== 'string') return inspect(reason);
  const lines = reason.stack.split('\n').filter((line) => !/^\s+at .*\(?node:/.test(line));
  if (reason.cause !== undefined) lines.push(`caused by ${describe(reason.cause)}`);
  return lines.join('\n');
}

/** Whether it is node's test for a whole file: that is reported only when the file crashed, or had no tests. */
function isFile({ nesting, name, file }) {
  return nesting === 0 && file !== undefined && path.resolve(name) === file;
}

function isLeftOut({ skip, todo }) {
  return (skip ?? false) !== false || (todo ?? false) !== false;
}

export default async function* summaryReporter(events) {
  const tally = new Tally();
  for await (const event of events) {
    const text = tally.take(event);
    if (text !== '') yield text;
  }
  // No test at all is no success, and node alone would not say so.
  if (tally.passed === 0 || tally.failed > 0) process.exitCode = 1;
  yield tally.summary();
}
