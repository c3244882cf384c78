/**
 * The installed commands as real processes, now and then: an exit status of the contract, messages that begin with the
 * command's name, and never a stack or an internal error.
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { noise } from '../support/image.ts';
import { packagePath, runShell } from '../support/process.ts';
import { shorter } from './chance.ts';
import type { CommandInput } from './command-target.ts';
import type { Command } from './commands.ts';
import type { Target } from './target.ts';
import { inputFor, WordsGrammar } from './words-grammar.ts';

const STATUSES = [0, 1, 2, 3, 4, 5];
/** No file over 20 MiB, whatever a line asks for, and an end; then the command. */
const CONFINED = 'ulimit -f 20480; exec timeout -s KILL 60 "$@"';

/** A line that can do nothing outside of its own directory, and that a process can be given. */
function isHarmless(words: readonly string[]): boolean {
  return !words.some((word) => /\/|\0|^~|[\ud800-\udfff]/.test(word));
}

const bundle = (name: string) => [process.execPath, packagePath(`dist/${name}.cjs`)];

/** An image with snapshots, and other things with names that come up. */
async function populate(cwd: string): Promise<void> {
  writeFileSync(join(cwd, 'disk.img'), noise(1, 40_000));
  writeFileSync(join(cwd, 'x@y'), noise(2, 9000));
  symlinkSync('disk.img', join(cwd, 'link'));
  mkdirSync(join(cwd, 'dir'));
  const run = (name: string, ...words: string[]) =>
    runShell(CONFINED, [...bundle(name), ...words], { cwd, stdin: 'new content' });
  for (const name of ['a', 'b', 'c']) {
    await run('snap-create', `disk.img@${name}`, '--cluster-size=4K');
    await run('snap-write', 'disk.img', `--offset=${name.charCodeAt(0) * 100}`);
  }
}

async function runIn(cwd: string, { words: [name = '', ...words], stdin }: CommandInput): Promise<string[]> {
  writeFileSync(join(cwd, 'list'), stdin);
  const { status, stderr } = await runShell(CONFINED, [...bundle(name), ...words], { cwd, stdin });
  assert.ok(STATUSES.includes(status), `exit status ${status}: ${stderr}`);
  assert.doesNotMatch(stderr, /internal error/);
  const isJson = stderr.startsWith('{');
  if (isJson) JSON.parse(stderr.split('\n')[0] ?? '');
  const lines = isJson ? [] : stderr.split('\n').filter(Boolean);
  // --debug shows stacks; a path with a line break in it is printed as it was given.
  const isTold = words.includes('--debug') || words.some((word) => word.includes('\n'));
  // --digest is a result, and stands on standard error beside the data.
  const foreign = lines.filter((line) => !line.startsWith(`${name}: `) && !/^xxh64:/.test(line));
  assert.ok(isTold || foreign.length === 0, `not from ${name}: ${foreign.join('\n')}`);
  return [`${name}: ${status}`];
}

/** Directories with the same image, a new one for each run. */
class Folders {
  readonly #root = mkdtempSync(join(tmpdir(), 'imgsnap-fuzz-'));
  #original: Promise<string> | undefined;
  #count = 0;

  constructor() {
    process.once('exit', () => rmSync(this.#root, { recursive: true, force: true }));
  }

  async use<T>(work: (cwd: string) => Promise<T>): Promise<T> {
    this.#original ??= this.#make();
    const original = await this.#original;
    this.#count += 1;
    // One level down, so that `..` is still a directory of its own.
    const outside = join(this.#root, String(this.#count));
    const cwd = join(outside, 'inside');
    mkdirSync(outside);
    try {
      // With times to the nanosecond, by which a change of the image is told.
      await runShell('cp -a "$1" "$2"', [original, cwd]);
      return await work(cwd);
    } finally {
      rmSync(outside, { recursive: true, force: true });
    }
  }

  async #make(): Promise<string> {
    const original = join(this.#root, 'original');
    mkdirSync(original);
    await populate(original);
    return original;
  }
}

export function processTarget(commands: ReadonlyMap<string, Command>): Target<CommandInput> {
  const grammar = new WordsGrammar(commands.values());
  const folders = new Folders();
  return {
    name: 'process',
    batch: 1,
    generate(chance) {
      const words = grammar.line(chance);
      return { words, stdin: inputFor(words, chance) };
    },
    mutate({ words }, chance) {
      const changed = grammar.change(words, chance);
      return { words: changed, stdin: inputFor(changed, chance) };
    },
    *smaller({ words: [name = '', ...words], stdin }) {
      for (const fewer of shorter(words)) yield { words: [name, ...fewer], stdin };
    },
    run: async (input) => (isHarmless(input.words) ? folders.use((cwd) => runIn(cwd, input)) : []),
  };
}
