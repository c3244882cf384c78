/**
 * The voice of the commands: what is said on stdout and stderr, and what is kept to oneself under `-q` and
 * `--json`. Text is written synchronously to the descriptors: `process.stdout` makes pipes non-blocking, and
 * what it has not written yet is lost when the process exits.
 */
import fs from 'node:fs';
import { inspect } from 'node:util';
import { SnapError } from '../../core/base/errors.ts';
import { errnoOf } from '../../core/io/system-error.ts';
import type { Warning } from '../../core/snapshot/context.ts';
import { sinkFailure } from '../../core/stream/fd-sink.ts';
import { jsonCodeOf } from './exit-codes.ts';

const STDOUT = 1;
const STDERR = 2;
const PAUSE_MS = 10;
/** A minute in which a non-blocking reader takes nothing. */
const MOST_PAUSES = 6000;

export interface ReporterOptions {
  /** The command, as it stands before each message. */
  readonly name: string;
  readonly json: boolean;
  readonly quiet: boolean;
  readonly debug: boolean;
  /** Called before anything is written, to take the progress bar away. */
  readonly beforeWrite?: () => void;
}

export interface Reporter {
  /** Results, findings and data, on stdout unless stdout carries a stream: never silenced. One or more lines. */
  print(text: string, to?: 'stdout' | 'stderr'): void;
  /** A result that only says that it worked, on stdout: not under `-q`. */
  printSuccess(text: string): void;
  /** The one JSON document. */
  json(document: unknown, to?: 'stdout' | 'stderr'): void;
  /** The same, as text in parts, on stdout: for one that is too large to be in memory. */
  jsonParts(parts: Iterable<string>): void;
  /** A message that it worked, on stderr, and what to do next: neither under `-q` nor in JSON mode. */
  success(message: string, hint?: string): void;
  /** Under `-q` only warnings of loss; in JSON mode held back until `finish`. */
  warn(warning: Warning): void;
  /** Says why the command failed; in JSON mode that is all that stderr gets. A closed pipe is no news. */
  fail(error: unknown): void;
  /** The end of a command that did not throw: shows the warnings held back, if it succeeded. */
  finish(status: number): void;
}

export function createReporter(options: ReporterOptions): Reporter {
  const { name, json, quiet, debug } = options;
  const held: Warning[] = [];
  let documentOnStderr = false;

  const write = (text: string, to: 'stdout' | 'stderr') => {
    options.beforeWrite?.();
    if (to === 'stdout') writeText(STDOUT, text);
    else writeToStderr(text);
  };
  const say = (kind: string, message: string, hint: string | undefined) => {
    const hintLine = hint === undefined ? '' : `${name}: hint: ${hint}\n`;
    write(`${name}: ${kind}${message}\n${hintLine}`, 'stderr');
  };
  const show = (warning: Warning) => say('warning: ', warning.message, warning.hint);

  return {
    print: (text, to = 'stdout') => write(endLine(text), to),
    printSuccess: (text) => {
      if (!quiet) write(endLine(text), 'stdout');
    },
    json: (document, to = 'stdout') => {
      documentOnStderr ||= to === 'stderr';
      write(`${JSON.stringify(document)}\n`, to);
    },
    jsonParts: (parts) => {
      for (const part of parts) write(part, 'stdout');
    },
    success: (message, hint) => {
      if (!quiet && !json) say('', message, hint);
    },
    warn: (warning) => {
      if (quiet && warning.loss !== true) return;
      if (json) held.push(warning);
      else show(warning);
    },
    fail: (error) => {
      if (error instanceof SnapError && error.code === 'pipe-closed') return options.beforeWrite?.();
      const { message, hint } = describe(error, name);
      const stack = debug ? inspect(error) : undefined;
      if (json)
        return write(
          `${JSON.stringify({ error: { code: jsonCodeOf(error), message, hint, stack } })}\n`,
          'stderr',
        );
      say('error: ', message, hint);
      if (stack !== undefined) write(`${stack}\n`, 'stderr');
    },
    finish: (status) => {
      options.beforeWrite?.();
      if (status !== 0) return;
      // Whoever parses stderr as JSON must be able to; only a loss is worth more than that.
      for (const warning of held) if (!documentOnStderr || warning.loss === true) show(warning);
    },
  };
}

/** The message and the remedy; an error that nobody meant to throw is a bug, and says so. */
function describe(error: unknown, name: string): { message: string; hint: string | undefined } {
  if (error instanceof SnapError) {
    const hint = error.hint ?? (error.code === 'usage' ? `${name} --help shows how it is used` : undefined);
    return { message: error.message, hint };
  }
  const text = error instanceof Error ? error.message : String(error);
  return {
    message: `internal error: ${text}`,
    hint: 'run it again with --debug to see where, and report it',
  };
}

function endLine(text: string): string {
  return text === '' || text.endsWith('\n') ? text : `${text}\n`;
}

/** Where stderr cannot be written there is nobody left to tell: the exit status still says it. */
export function writeToStderr(text: string): void {
  try {
    writeText(STDERR, text);
  } catch (error) {
    if (!(error instanceof SnapError)) throw error;
  }
}

/** Writes all of `text`, waiting where a parent handed over a non-blocking pipe that is full. */
function writeText(fd: number, text: string): void {
  let rest = Buffer.from(text);
  for (let pauses = 0; rest.length > 0; ) {
    try {
      rest = rest.subarray(fs.writeSync(fd, rest));
      pauses = 0;
    } catch (error) {
      pauses += 1;
      if (errnoOf(error) !== 'EAGAIN' || pauses > MOST_PAUSES) {
        throw sinkFailure(fd === STDOUT ? 'standard output' : 'standard error', error);
      }
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE_MS);
    }
  }
}
