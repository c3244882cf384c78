/** Runs commands as real processes: exit codes, signals, pipes and terminals are only true there. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';

export interface ProcessResult {
  readonly stdout: Buffer;
  readonly stderr: string;
  /** What a shell sees: the exit code, or 128 and the number of the signal that ended the process. */
  readonly status: number;
  readonly signal: NodeJS.Signals | null;
}

export interface ProcessOptions {
  /** Data or a stream to feed; a number is a descriptor to hand over; absent is /dev/null. */
  readonly stdin?: Buffer | string | Readable | number;
  /** Keeps the input open after the data, as a producer that thinks for ever. */
  readonly stdinOpen?: boolean;
  readonly cwd?: string;
  /** Added to this process's environment; undefined takes a variable away. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** `unread` leaves the output in the pipe, so that the process blocks when it is full. */
  readonly stdout?: 'collected' | 'unread' | number;
  /** Descriptors handed over from 3 on. */
  readonly descriptors?: readonly number[];
}

export interface RunningProcess {
  readonly child: ChildProcess;
  readonly result: Promise<ProcessResult>;
  /** Resolves as soon as stderr contains `text`; rejects when the process ends without it. */
  said(text: string): Promise<void>;
}

const SIGNAL_NUMBERS = new Map<NodeJS.Signals, number>([
  ['SIGHUP', 1],
  ['SIGINT', 2],
  ['SIGKILL', 9],
  ['SIGPIPE', 13],
  ['SIGTERM', 15],
]);

/**
 * The words that run a TypeScript file of this package as the commands run: bundled, by Node alone. tsx would
 * make standard output non-blocking, which is just what these tests must not have by accident. To be called
 * outside of tests; the bundle is gone after the last one.
 */
export function bundledCommand(path: string): string[] {
  const directory = mkdtempSync(join(tmpdir(), 'imgsnap-bundle-'));
  after(() => rmSync(directory, { recursive: true, force: true }));
  const outfile = join(directory, 'command.cjs');
  buildSync({
    entryPoints: [packagePath(path)],
    outfile,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    external: ['fs-native-extensions'],
    logLevel: 'error',
    logOverride: { 'empty-import-meta': 'silent' },
  });
  return [process.execPath, outfile];
}

/** The path of a file of this package, by its path from the root. */
export function packagePath(path: string): string {
  return fileURLToPath(new URL(`../../${path}`, import.meta.url));
}

/** Starts a command and returns while it runs. */
export function startProcess(words: readonly string[], options: ProcessOptions = {}): RunningProcess {
  const { stdin, stdout = 'collected' } = options;
  const child = spawn(words[0] ?? '', words.slice(1), {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: [
      typeof stdin === 'number' ? stdin : stdin === undefined ? 'ignore' : 'pipe',
      typeof stdout === 'number' ? stdout : 'pipe',
      'pipe',
      ...(options.descriptors ?? []),
    ],
  });
  const output: Buffer[] = [];
  const messages: Buffer[] = [];
  if (stdout === 'collected') child.stdout?.on('data', (chunk: Buffer) => output.push(chunk));
  child.stderr?.on('data', (chunk: Buffer) => messages.push(chunk));
  feed(child, options);
  const stderrText = () => Buffer.concat(messages).toString();
  const result = new Promise<ProcessResult>((resolve, reject) => {
    child.once('error', reject);
    // Unread output never closes its pipe.
    child.once(stdout === 'unread' ? 'exit' : 'close', (code, signal) => {
      const status = code ?? 128 + (SIGNAL_NUMBERS.get(signal) ?? 0);
      child.stdout?.destroy();
      resolve({ stdout: Buffer.concat(output), stderr: stderrText(), status, signal });
    });
  });
  const said = (text: string) =>
    new Promise<void>((resolve, reject) => {
      const look = () => {
        if (stderrText().includes(text)) resolve();
      };
      child.stderr?.on('data', look);
      look();
      result.then(({ stderr }) => reject(new Error(`ended without saying ${text}: ${stderr}`)), reject);
    });
  return { child, result, said };
}

/** Runs a command to its end. */
export function runProcess(words: readonly string[], options: ProcessOptions = {}): Promise<ProcessResult> {
  return startProcess(words, options).result;
}

/** Runs a script in sh; `args` are its `"$@"`. */
export function runShell(
  script: string,
  args: readonly string[] = [],
  options: ProcessOptions = {},
): Promise<ProcessResult> {
  return runProcess(['sh', '-c', script, 'sh', ...args], options);
}

function feed(child: ChildProcess, { stdin, stdinOpen = false }: ProcessOptions): void {
  if (child.stdin === null) return;
  // A command may end, or close its input, before it has read all: that is for the test to judge by its status.
  child.stdin.on('error', () => undefined);
  const data = typeof stdin === 'string' || Buffer.isBuffer(stdin) ? Readable.from([stdin]) : stdin;
  if (typeof data === 'object') data.pipe(child.stdin, { end: !stdinOpen });
}
