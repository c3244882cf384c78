/**
 * The command line: options or a `usage` error and the same answer twice; then the command itself on a simulated
 * machine, which touches nothing where it ends in `usage` or only looks, and ends with a status of the contract.
 */
import assert from 'node:assert/strict';
import { exitStatusOf } from '../../cmd/shared/exit-codes.ts';
import { renderHelp } from '../../cmd/shared/help.ts';
import { parseArguments } from '../../cmd/shared/parse.ts';
import type { Reporter } from '../../cmd/shared/report.ts';
import { hasCode, SnapError } from '../../core/base/errors.ts';
import { copyMachine, setContent } from '../damage/copy-machine.ts';
import type { Scene } from '../damage/scene.ts';
import type { MemoryHost } from '../sim/memory-host.ts';
import type { Operation, OperationKind } from '../sim/session.ts';
import { testContext } from '../support/context.ts';
import { CollectingSink, IMAGE, noise, sourceOf } from '../support/image.ts';
import { shorter } from './chance.ts';
import type { Command } from './commands.ts';
import { errorAnswer, type Target, warningAnswer } from './target.ts';
import { inputFor, WordsGrammar } from './words-grammar.ts';

export interface CommandInput {
  /** The command's name first. */
  readonly words: readonly string[];
  /** Standard input, and the content of the file `list`. */
  readonly stdin: string;
}

const STATUSES = [0, 1, 2, 3, 4, 5];
const MOST_OPERATIONS = 5000;
/** Twenty MiB of what a careless line may write, and then the disk is full. */
const DISK_PAGES = 5000;
const CHANGES = new Set<OperationKind>([
  ...(['create', 'write', 'truncate', 'makeDirectory', 'removeDirectory', 'remove'] as const),
  ...(['rename', 'setPermissions', 'setOwner'] as const),
]);

/** What is parsed, or a `usage` error. */
function parse({ spec }: Command, words: readonly string[]): object {
  try {
    return parseArguments(spec, words);
  } catch (error) {
    if (!hasCode(error, 'usage')) throw error;
    return error;
  }
}

/** Takes down what a command says; documents must be JSON. */
function recorder(answers: string[], lines: string[]): Reporter {
  const say = (text: string | undefined) => {
    if (text !== undefined) lines.push(text);
  };
  return {
    print: say,
    printSuccess: say,
    success: say,
    json: (document) => say(JSON.stringify(document)),
    jsonParts: (parts) => say(JSON.stringify(JSON.parse([...parts].join('')))),
    warn: ({ message }) => answers.push(warningAnswer(message)),
    fail: () => assert.fail('for the frame alone'),
    finish: () => assert.fail('for the frame alone'),
  };
}

/** The machine: an image with snapshots, and other things with names that come up. */
async function machine(scene: Scene, seed: number, stdin: string): Promise<MemoryHost> {
  const host = copyMachine(scene.host, seed);
  const { files } = host;
  for (const path of ['/list', '/x@y', '/none@a', '/orphan.snap']) {
    const file = await files.open(path, 'create');
    await file.close();
  }
  await setContent(host, '/list', Buffer.from(stdin));
  await setContent(host, '/x@y', noise(3, 9000));
  await files.makeDirectory('/dir', 0o755);
  files.makeSymlink(IMAGE, '/link');
  files.volume.budget.limitPages = files.volume.budget.usedPages + DISK_PAGES;
  return host;
}

class Run {
  readonly answers: string[] = [];
  readonly lines: string[] = [];
  readonly changes: Operation[] = [];
  readonly out = new CollectingSink();
  #operations = 0;

  readonly see = (operation: Operation): void => {
    this.#operations += 1;
    assert.ok(this.#operations <= MOST_OPERATIONS, 'it does not end');
    if (CHANGES.has(operation.kind)) this.changes.push(operation);
  };

  async body(command: Command, options: unknown, host: MemoryHost, stdin: string): Promise<unknown> {
    const session = host.session(this.see);
    const context = testContext(session);
    const source = { ...sourceOf(Buffer.from(stdin), 1000), close: () => undefined };
    const tools = {
      context,
      report: recorder(this.answers, this.lines),
      stdin: () => source,
      stdout: () => Object.assign(this.out, { canConfirm: () => true, confirm: async () => undefined }),
    };
    try {
      const status = (await command.body(options as Parameters<Command['body']>[0], tools)) ?? 0;
      this.answers.push(`${command.spec.name}: ${status}`);
      return status;
    } catch (error) {
      if (!(error instanceof SnapError)) throw error;
      this.answers.push(errorAnswer(error));
      return error;
    } finally {
      assert.equal(session.files.openCount, 0, 'files are left open');
    }
  }
}

async function runLine(
  commands: ReadonlyMap<string, Command>,
  makeMachine: (stdin: string) => Promise<MemoryHost>,
  { words: [name = '', ...words], stdin }: CommandInput,
): Promise<readonly string[]> {
  const command = commands.get(name);
  if (command === undefined) throw new Error(`no command ${name}`);
  const options = parse(command, words);
  const again = parse(command, words);
  if (options instanceof SnapError)
    assert.equal(again instanceof SnapError && again.message, options.message);
  else assert.deepEqual(again, options, 'another answer the second time');
  assert.deepEqual(Object.keys(Object.prototype), [], 'every object got something');
  if (options instanceof SnapError) return [errorAnswer(options)];
  const asked = options as Readonly<Record<string, unknown>>;
  if (asked.help === true) return [renderHelp(command.spec).slice(0, 20)];
  const run = new Run();
  const end = await run.body(command, options, await makeMachine(stdin), stdin);
  const status = typeof end === 'number' ? end : exitStatusOf(end);
  assert.ok(STATUSES.includes(status), `exit status ${status}: ${String(end)}`);
  if (status === 2)
    assert.deepEqual([run.lines, run.out.bytes().length], [[], 0], 'a usage error with output');
  const looksOnly = status === 2 || asked.dryRun === true || name === 'snap-verify' || name === 'snap-list';
  if (looksOnly) assert.deepEqual(run.changes, [], `it changed something, and ended with ${status}`);
  if (asked.json === true && typeof end === 'number') {
    assert.ok(name === 'snap-verify' || run.lines.length === 1, `${run.lines.length} documents`);
  }
  return run.answers;
}

/** @param seed the one that the scene was made with */
export function commandTarget(
  commands: ReadonlyMap<string, Command>,
  scene: Scene,
  seed: number,
): Target<CommandInput> {
  const grammar = new WordsGrammar(commands.values());
  const makeMachine = (stdin: string) => machine(scene, seed, stdin);
  return {
    name: 'command',
    batch: 8,
    generate(chance) {
      const words = grammar.line(chance);
      return { words, stdin: inputFor(words, chance) };
    },
    mutate({ words, stdin }, chance) {
      const changed = chance.once(8) ? words : grammar.change(words, chance);
      return { words: changed, stdin: changed === words || stdin === '' ? inputFor(changed, chance) : stdin };
    },
    *smaller({ words: [name = '', ...words], stdin }) {
      for (const fewer of shorter(words)) yield { words: [name, ...fewer], stdin };
      for (const lines of shorter(stdin.split('\n')))
        yield { words: [name, ...words], stdin: lines.join('\n') };
    },
    run: (input) => runLine(commands, makeMachine, input),
  };
}
