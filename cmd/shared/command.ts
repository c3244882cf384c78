/**
 * The frame that every command runs in: the command line, the context for core, signals, and an end whose exit
 * status can be relied on. A command is a declaration and one function.
 */
import { SnapError } from '../../core/base/errors.ts';
import type { ConfirmingSink } from '../../core/io/byte-stream.ts';
import { isTerminal } from '../../core/io/is-terminal.ts';
import { NodeHost } from '../../core/io/node-host.ts';
import type { Context } from '../../core/snapshot/context.ts';
import { createFdSink, hasPendingWrite, interruption } from '../../core/stream/fd-sink.ts';
import { createStdinSource, type StdinSource } from '../../core/stream/stdin-source.ts';
import packageJson from '../../package.json' with { type: 'json' };
import { exitStatusOf, SIGNAL_EXITS } from './exit-codes.ts';
import { renderHelp } from './help.ts';
import type { Argument, CommandSpec, OptionSpec, ParsedOptions } from './options.ts';
import { asksFor, parseArguments } from './parse.ts';
import { createProgressBar } from './progress.ts';
import { createReporter, type Reporter, writeToStderr } from './report.ts';

const DEFAULT_WAIT_MS = 60_000;

/** What a command works with. Standard input and output are touched only where they are asked for. */
export interface Tools {
  readonly context: Context;
  readonly report: Reporter;
  readonly stdin: () => StdinSource;
  readonly stdout: () => ConfirmingSink;
}

/** A command's own part: returns the exit status, 0 where it returns none, or throws. */
export type CommandBody<O, A> = (options: ParsedOptions<O, A>, tools: Tools) => Promise<number | undefined>;

/** Runs a command for this process's arguments, and ends the process. */
export function runCommand<O extends Record<string, OptionSpec>, A extends Record<string, Argument>>(
  spec: CommandSpec<O, A>,
  body: CommandBody<O, A>,
): void {
  const argv = process.argv.slice(2);
  const signals = watchSignals();
  // Until the options are parsed, these words say how a bad command line is answered.
  const early = { json: asksFor(argv, '--json'), debug: asksFor(argv, '--debug'), quiet: false };
  let report = createReporter({ name: spec.name, ...early });
  const fail = (thrown: unknown) => {
    // Node's own calls end with an AbortError of theirs.
    const aborted = signals.signal.aborted && thrown instanceof Error && thrown.name === 'AbortError';
    const error = aborted ? interruption(signals.signal) : thrown;
    report.fail(error);
    leave(exitStatusOf(error, signals.received()), signals);
  };
  process.once('uncaughtException', fail);
  // Node ends with 0 when nothing is left that could go on; the work is not done then.
  process.once('beforeExit', () => fail(new Error('the command waits for something that cannot come')));

  const perform = async (): Promise<number> => {
    if (asksFor(argv, '--help', '-h')) return tell(report, renderHelp(spec));
    if (asksFor(argv, '--version')) return tell(report, `imgsnap ${packageJson.version}\n`);
    const options = parseArguments(spec, argv);
    const tools = makeTools(spec.name, options, signals.signal);
    report = tools.report;
    if (options.help) return tell(report, renderHelp(spec));
    const status = (await body(options, tools)) ?? 0;
    report.finish(status);
    return status;
  };
  perform()
    .then((status) => leave(status, signals))
    .catch(fail);
}

function tell(report: Reporter, text: string): number {
  report.print(text);
  return 0;
}

/** The options that are every command's, as far as the tools are made of them. */
type ToolOptions = Pick<ParsedOptions<unknown, unknown>, 'json' | 'quiet' | 'debug' | 'progress' | 'wait'>;

function makeTools(name: string, options: ToolOptions, signal: AbortSignal): Tools {
  const host = new NodeHost();
  const { json, quiet, debug } = options;
  // In JSON mode none at all: on failure stderr must hold the error and nothing else.
  const late = !json && !quiet && options.progress === undefined && isTerminal(2);
  const shown = !json && options.progress === true ? 'forced' : late ? 'late' : 'no';
  const bar = createProgressBar({ shown, monotonicMs: () => host.monotonicMs(), write: writeToStderr });
  const report = createReporter({ name, json, quiet, debug, beforeWrite: () => bar.clear() });
  let stdin: StdinSource | undefined;
  let stdout: ConfirmingSink | undefined;
  const context: Context = {
    host,
    waitMs: options.wait ?? DEFAULT_WAIT_MS,
    signal,
    warn: (warning) => report.warn(warning),
    progress: (doneBytes, totalBytes) => bar.update(doneBytes, totalBytes),
    anyFileSystem: process.env.IMGSNAP_ANY_FILESYSTEM === '1',
  };
  return {
    context,
    report,
    stdin: () => (stdin ??= createStdinSource(signal)),
    stdout: () => (stdout ??= createFdSink(1, { name: 'standard output', signal })),
  };
}

interface SignalWatch {
  /** Aborted by the first signal. */
  readonly signal: AbortSignal;
  readonly received: () => NodeJS.Signals | undefined;
  /** Gives the signals back to the system, for which they end the process. */
  readonly release: () => void;
}

function watchSignals(): SignalWatch {
  const controller = new AbortController();
  let received: NodeJS.Signals | undefined;
  const names = [...SIGNAL_EXITS.keys()];
  const release = () => {
    for (const name of names) process.removeListener(name, onSignal);
  };
  const onSignal = (name: NodeJS.Signals) => {
    if (received === undefined) {
      received = name;
      const how = name === 'SIGINT' ? 'interrupted' : `terminated by ${name}`;
      controller.abort(new SnapError('interrupted', how));
    } else if (name === 'SIGINT') {
      // Somebody is waiting at the keyboard, for the second time. Nothing depends on unwinding: it may be killed.
      release();
      process.kill(process.pid, name);
    }
  };
  for (const name of names) process.on(name, onSignal);
  return { signal: controller.signal, received: () => received, release };
}

/**
 * Ends the process. `process.exit` waits for a thread that is stuck in a write which nobody reads; then only the
 * signal itself ends it, and the shell sees the same status.
 */
function leave(status: number, signals: SignalWatch): void {
  const received = signals.received();
  signals.release();
  if (received !== undefined && status === SIGNAL_EXITS.get(received) && hasPendingWrite()) {
    process.kill(process.pid, received);
  } else {
    process.exit(status);
  }
}
