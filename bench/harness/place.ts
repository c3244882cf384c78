/**
 * The directory that a question is asked in, and the processes that run there. Whatever happens, an interrupt included,
 * nothing is left of either: processes run in groups of their own that are killed as a whole, and what was mounted is
 * unmounted before the directory is removed.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Sizes, Workshop } from './question.ts';

const STRICT = ['-eu', '-o', 'pipefail', '-c'];
const PEAK_MEMORY = fileURLToPath(new URL('peak-memory.cjs', import.meta.url));
/** Long enough for a process in the background to be in the middle of its work. */
const HEAD_START_MS = 300;
/** What is told to end is killed after so long. */
const PATIENCE_MS = 10_000;
/**
 * `noise FILE MIB`. In large writes: how a file came into the page cache decides how fast it is afterwards, and what is
 * compared must have come into it in the same way.
 */
const NOISE = '#!/bin/sh\nhead -c "$2"M /dev/urandom | dd of="$1" bs=1M iflag=fullblock status=none\n';
/**
 * `warm MIB`. On a virtual machine the first touch of memory that the host has not given yet, or took back because it was
 * free, takes longer than all the copying that is measured. So as much is used and freed as the run is going to take.
 */
const WARM = '#!/bin/sh\ndd if=/dev/zero of=.warm bs=1M count="$1" status=none\nrm .warm\n';
const SETUP_SECONDS = 1800;
const LOG = '.stderr';
const BESIDE_LOG = '.stderr-beside';

/** A script ended with another status than 0. */
export class ScriptFailure extends Error {}

/** A script took longer than anyone wants to wait. */
export class TooSlow extends Error {
  readonly script: string;
  readonly limitSeconds: number;

  constructor(script: string, limitSeconds: number) {
    super(`${brief(script)}: given up after ${limitSeconds} s`);
    this.script = script;
    this.limitSeconds = limitSeconds;
  }
}

/** What a script took. */
export interface Cost {
  readonly seconds: number;
  readonly peakMib: number;
}

interface Running {
  readonly child: ChildProcess;
  /** The status, or the signal's name, and when it came. */
  readonly ended: Promise<{ readonly status: number | string; readonly atMs: number }>;
}

export class Place implements Workshop {
  readonly sizes: Sizes;
  readonly #directory: string;
  readonly #signal: AbortSignal;
  readonly #environment: NodeJS.ProcessEnv;

  constructor(sizes: Sizes, signal: AbortSignal) {
    this.sizes = sizes;
    this.#signal = signal;
    this.#directory = mkdtempSync(join(tmpdir(), 'imgsnap-bench-'));
    mkdirSync(this.path('.bin'));
    mkdirSync(this.path('.tmp'));
    this.#environment = {
      ...process.env,
      ...Object.fromEntries(Object.entries(sizes).map(([name, value]) => [name, String(value)])),
      PATH: [this.path('.bin'), process.env.PATH, '/usr/sbin', '/sbin'].join(delimiter),
      // What peers put aside is counted and removed with the rest.
      TMPDIR: this.path('.tmp'),
      LC_ALL: 'C',
      // Reading certificates takes Node 20 ms, and no command needs them.
      NODE_EXTRA_CA_CERTS: undefined,
    };
    writeFileSync(this.path('.bin/noise'), NOISE, { mode: 0o755 });
    writeFileSync(this.path('.bin/warm'), WARM, { mode: 0o755 });
    symlinkSync(process.execPath, this.path('.bin/node'));
    const dist = fileURLToPath(new URL('../../dist', import.meta.url));
    for (const file of readdirSync(dist))
      symlinkSync(join(dist, file), this.path(`.bin/${basename(file, '.cjs')}`));
  }

  readonly path = (name: string): string => join(this.#directory, name);

  /** Runs a script that must succeed, and returns the seconds it took. */
  readonly bash = (script: string, limitSeconds = SETUP_SECONDS): Promise<number> =>
    this.#run(script, limitSeconds, {});

  /** The same, but returns the MiB that the largest Node process in it had in memory at most. */
  async peakMib(script: string, limitSeconds: number): Promise<number> {
    return (await this.measure(script, limitSeconds)).peakMib;
  }

  /** Both. Looking at the memory at the end of a process takes a millisecond. */
  async measure(script: string, limitSeconds: number): Promise<Cost> {
    const file = this.path('.peaks');
    rmSync(file, { force: true });
    const NODE_OPTIONS = `--require ${JSON.stringify(PEAK_MEMORY)}`;
    const seconds = await this.#run(script, limitSeconds, { NODE_OPTIONS, IMGSNAP_PEAK_FILE: file });
    if (!existsSync(file)) throw new ScriptFailure(`${brief(script)}: no process of Node ended in it`);
    const peakKib = Math.max(...readFileSync(file, 'utf8').trim().split('\n').map(Number));
    return { seconds, peakMib: peakKib / 1024 };
  }

  async succeeds(test: string): Promise<boolean> {
    try {
      await this.bash(test);
      return true;
    } catch (error) {
      if (error instanceof ScriptFailure) return false;
      throw error;
    }
  }

  /** Runs `work` while `script` is run again and again in the background. */
  async during<T>(script: string | undefined, work: () => Promise<T>): Promise<T> {
    if (script === undefined) return work();
    const { child, ended } = this.#start(`while :; do ${script}; done`, {}, BESIDE_LOG);
    // Asked, not killed: a command leaves everything consistent, and has its time for that.
    const stop = async () => {
      signalGroup(child, 'SIGTERM');
      const timer = setTimeout(() => signalGroup(child, 'SIGKILL'), PATIENCE_MS);
      const { status } = await ended;
      clearTimeout(timer);
      signalGroup(child, 'SIGKILL');
      return status;
    };
    let result: T;
    try {
      await sleep(HEAD_START_MS);
      result = await work();
    } catch (error) {
      await stop();
      throw error;
    }
    if (!['SIGTERM', 'SIGKILL'].includes(String(await stop()))) {
      throw new ScriptFailure(`what ran in the background ended: ${this.#complaint(BESIDE_LOG)}`);
    }
    return result;
  }

  remove(): void {
    const mounts = readFileSync('/proc/self/mounts', 'utf8')
      .split('\n')
      .map((line) => line.split(' ')[1] ?? '')
      .filter((path) => path.startsWith(`${this.#directory}/`));
    for (const path of mounts.reverse()) {
      if (spawnSync('umount', [path]).status !== 0) spawnSync('umount', ['-l', path]);
    }
    rmSync(this.#directory, { recursive: true, force: true, maxRetries: 3 });
  }

  async #run(script: string, limitSeconds: number, extra: NodeJS.ProcessEnv): Promise<number> {
    const startMs = performance.now();
    const { child, ended } = this.#start(script, extra, LOG);
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      signalGroup(child, 'SIGKILL');
    }, limitSeconds * 1000);
    const { status, atMs } = await ended;
    clearTimeout(timer);
    this.#signal.throwIfAborted();
    if (isLate) throw new TooSlow(script, limitSeconds);
    if (status !== 0)
      throw new ScriptFailure(`${brief(script)}: ended with ${status}: ${this.#complaint(LOG)}`);
    return (atMs - startMs) / 1000;
  }

  #start(script: string, extra: NodeJS.ProcessEnv, logName: string): Running {
    this.#signal.throwIfAborted();
    const log = openSync(this.path(logName), 'w');
    const child = spawn('bash', [...STRICT, script], {
      cwd: this.#directory,
      env: { ...this.#environment, ...extra },
      stdio: ['ignore', 'ignore', log],
      detached: true,
    });
    closeSync(log);
    const kill = () => signalGroup(child, 'SIGKILL');
    this.#signal.addEventListener('abort', kill);
    const ended = new Promise<{ status: number | string; atMs: number }>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code, signal) =>
        resolve({ status: code ?? signal ?? 'nothing', atMs: performance.now() }),
      );
    });
    return { child, ended: ended.finally(() => this.#signal.removeEventListener('abort', kill)) };
  }

  /** The last lines that a script said on stderr. */
  #complaint(logName: string): string {
    const lines = readFileSync(this.path(logName), 'utf8').trim().split('\n');
    return lines.slice(-3).join(' / ') || 'it said nothing';
  }
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch (error) {
    // The group is gone already.
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}

/** Enough of a script to know which it is. */
function brief(script: string): string {
  const line = script.trim().replaceAll(/\s+/g, ' ');
  return line.length > 80 ? `${line.slice(0, 80)}…` : line;
}
