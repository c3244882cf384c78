/**
 * The six commands as they are installed, and a directory for them to work in: what a test of the command line
 * needs, in few words. The bundles in `dist/` are run, since only they are what a user gets.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createCipheriv, createHash, randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { NodeHost } from '../../core/io/node-host.ts';
import { acquire, release } from '../../core/io/turnstile.ts';
import { decodeCatalog } from '../../core/store/catalog-codec.ts';
import { ENTRY, regions } from '../../core/store/layout.ts';
import {
  type ProcessOptions,
  packagePath,
  type RunningProcess,
  runProcess,
  startProcess,
} from './process.ts';
import { temporaryDirectory } from './temp.ts';

export const KIB = 1024;
export const MIB = 1024 * KIB;

export const COMMANDS = [
  'snap-create',
  'snap-write',
  'snap-read',
  'snap-verify',
  'snap-gc',
  'snap-list',
] as const;
export type CommandName = (typeof COMMANDS)[number];

/** What a command answered. */
export interface Answer {
  readonly status: number;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  /** Standard output, when it is no text. */
  readonly data: Buffer;
}

const ERROR_CODES = new Set([
  'usage',
  'not-found',
  'exists',
  'refused',
  'io',
  'no-space',
  'newer-version',
  'busy',
  'damage',
  'differs',
  'invalid',
  'modified',
]);

export interface Failure {
  readonly status: number;
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
  readonly stdout: string;
}

/** The words that run a command. */
export function wordsOf(name: CommandName, args: readonly string[]): string[] {
  return [process.execPath, packagePath(`dist/${name}.cjs`), ...args];
}

/** Bytes without a pattern, the same for the same `seed`; what is random about a test is its seed. */
export function noise(seed: string | number, lengthBytes: number): Buffer {
  const key = createHash('sha256').update(String(seed)).digest();
  return createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(lengthBytes));
}

/** A number to repeat a test's choices by: told, or taken from IMGSNAP_SEED. */
export function chooseSeed(t: TestContext): string {
  const seed = process.env.IMGSNAP_SEED ?? randomBytes(4).toString('hex');
  t.diagnostic(`IMGSNAP_SEED=${seed}`);
  return seed;
}

/** Runs `work` on each item, a few at a time: the machine has more than one core. */
export async function eachOf<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const rest = [...items];
  const worker = async () => {
    for (let item = rest.shift(); item !== undefined; item = rest.shift()) await work(item);
  };
  await Promise.all([worker(), worker(), worker()]);
}

/** Whether the system has a program; where it lacks one the test is skipped, and says so. */
export function skipWithout(t: TestContext, ...programs: string[]): boolean {
  const missing = programs.filter((program) => spawnSync('sh', ['-c', `command -v ${program}`]).status !== 0);
  if (missing.length > 0) t.skip(`not on this machine: ${missing.join(', ')}`);
  return missing.length > 0;
}

/** A directory with images and sidecars. Commands run in it, with paths as they are given. */
export class Workplace {
  readonly directory: string;

  constructor(directory: string) {
    this.directory = directory;
  }

  path(name: string): string {
    return join(this.directory, name);
  }

  start(name: CommandName, args: readonly string[], options: ProcessOptions = {}): RunningProcess {
    return startProcess(wordsOf(name, args), { cwd: this.directory, ...options });
  }

  async run(name: CommandName, args: readonly string[], options: ProcessOptions = {}): Promise<Answer> {
    const result = await runProcess(wordsOf(name, args), { cwd: this.directory, ...options });
    const { stdout, stderr, status, signal } = result;
    return { status, signal, stderr, stdout: stdout.toString(), data: stdout };
  }

  /** Runs a command that must succeed. */
  async ok(name: CommandName, args: readonly string[], options: ProcessOptions = {}): Promise<Answer> {
    const answer = await this.run(name, args, options);
    assert.equal(answer.status, 0, `${name} ${args.join(' ')}: ${answer.stderr}`);
    return answer;
  }

  /** Runs a command that must fail, in JSON mode, whose error must have the contract's shape. */
  async fails(name: CommandName, args: readonly string[], options: ProcessOptions = {}): Promise<Failure> {
    const { status, stderr, stdout } = await this.run(name, ['--json', ...args], options);
    assert.notEqual(status, 0, `${name} ${args.join(' ')} succeeded`);
    return { status, stdout, ...errorOf(stderr) };
  }

  /** Makes an image of random, or the given, bytes. */
  image(name: string, content: Buffer | number): Buffer {
    const bytes = typeof content === 'number' ? randomBytes(content) : content;
    writeFileSync(this.path(name), bytes);
    return bytes;
  }

  async write(image: string, offsetBytes: number, data: Buffer): Promise<void> {
    await this.ok('snap-write', ['-q', image, '--offset', String(offsetBytes)], { stdin: data });
  }

  async read(reference: string, ...args: string[]): Promise<Buffer> {
    return (await this.ok('snap-read', [reference, ...args])).data;
  }

  /** The store file of a snapshot in the image's own sidecar. */
  store(image: string, name: string): string {
    const pattern = new RegExp(`^${name}-[0-9a-f]{8}\\.cow$`);
    const [found] = readdirSync(this.path(`${image}.snap`)).filter((each) => pattern.test(each));
    assert.ok(found, `${image}@${name} has no store`);
    return this.path(`${image}.snap/${found}`);
  }

  /** Where things stand in the store of a snapshot. */
  places(image: string, name: string) {
    const store = this.store(image, name);
    const catalog = decodeCatalog(readFileSync(this.path(`${image}.snap/catalog.json`)), 'catalog.json');
    const record = catalog.snapshots.find((each) => each.name === name);
    assert.ok(record);
    const { clusterSizeBytes } = catalog;
    const { bitmapOffsetBytes, tableOffsetBytes, dataOffsetBytes } = regions({ ...record, clusterSizeBytes });
    const entry = (cluster: number) => tableOffsetBytes + cluster * ENTRY.sizeBytes;
    const slot = (cluster: number) =>
      dataOffsetBytes + readBytes(store, entry(cluster), 6).readUIntLE(0, 6) * clusterSizeBytes;
    return { store, bitmap: bitmapOffsetBytes, entry, slot };
  }

  /** Everything below the directory that a command could have changed. */
  fingerprint(): Map<string, string> {
    const found = new Map<string, string>();
    for (const name of readdirSync(this.directory, { recursive: true, encoding: 'utf8' }).sort()) {
      const stat = lstatSync(this.path(name), { bigint: true });
      const content = stat.isFile() && stat.size < 64 * MIB ? digest(readFileSync(this.path(name))) : '';
      found.set(name, `${stat.mode} ${stat.size} ${stat.mtimeNs} ${stat.ctimeNs} ${stat.ino} ${content}`);
    }
    const { mtimeNs } = statSync(this.directory, { bigint: true });
    return found.set('.', String(mtimeNs));
  }

  /** What everything takes on the disk. */
  diskBytes(...names: string[]): number {
    return names.reduce((sum, name) => {
      const stat = lstatSync(this.path(name));
      const below = stat.isDirectory() ? readdirSync(this.path(name)).map((each) => join(name, each)) : [];
      return sum + stat.blocks * 512 + this.diskBytes(...below);
    }, 0);
  }
}

/** A copy of everything, with times to the nanosecond: an image with another time would not be trusted. */
export function copyPlace(from: Workplace, directory: string): Workplace {
  execFileSync('cp', ['-a', from.directory, directory]);
  return new Workplace(directory);
}

function digest(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** The error in what a command in JSON mode wrote to stderr, which must be that and nothing else. */
export function errorOf(stderr: string): { code: string; message: string; hint?: string } {
  assert.match(stderr, /^\{.*\}\n$/, stderr);
  const document = JSON.parse(stderr);
  assert.deepEqual(Object.keys(document), ['error']);
  const { code, message, hint } = document.error;
  const keys = hint === undefined ? ['code', 'message'] : ['code', 'message', 'hint'];
  assert.deepEqual(Object.keys(document.error), keys);
  assert.ok(ERROR_CODES.has(code), code);
  for (const text of hint === undefined ? [message] : [message, hint]) {
    assert.ok(typeof text === 'string' && text !== '' && !/[.\n]$/.test(text), text);
  }
  return document.error;
}

export async function workplace(t: TestContext): Promise<Workplace> {
  return new Workplace(await temporaryDirectory(t));
}

export function readBytes(path: string, offsetBytes: number, lengthBytes: number): Buffer {
  const bytes = Buffer.alloc(lengthBytes);
  const fd = openSync(path, 'r');
  try {
    assert.equal(readSync(fd, bytes, 0, lengthBytes, offsetBytes), lengthBytes);
    return bytes;
  } finally {
    closeSync(fd);
  }
}

export function writeBytes(path: string, offsetBytes: number, bytes: Buffer): void {
  const fd = openSync(path, 'r+');
  try {
    writeSync(fd, bytes, 0, bytes.length, offsetBytes);
  } finally {
    closeSync(fd);
  }
}

/** Damages one bit, as a disk would. */
export function flipBit(path: string, offsetBytes: number, bit = 0): void {
  const bytes = readBytes(path, offsetBytes, 1);
  bytes[0] = (bytes[0] ?? 0) ^ (1 << bit);
  writeBytes(path, offsetBytes, bytes);
}

/** Makes a file of holes; false, and the test skipped, where the file system has none so large. */
export function makeSparse(t: TestContext, path: string, sizeBytes: number): boolean {
  writeFileSync(path, '');
  try {
    truncateSync(path, sizeBytes);
    return true;
  } catch (error) {
    t.skip(`no file of ${sizeBytes} bytes can be made here: ${error}`);
    return false;
  }
}

/** A pipe whose reader has gone away already; its writing end is the caller's to close. */
export function brokenPipe(work: Workplace, name: string): number {
  execFileSync('mkfifo', [work.path(name)]);
  const reader = openSync(work.path(name), constants.O_RDONLY | constants.O_NONBLOCK);
  const writer = openSync(work.path(name), constants.O_WRONLY);
  closeSync(reader);
  rmSync(work.path(name));
  return writer;
}

/** Runs `work` with an open descriptor, and closes it. */
export async function withDescriptor<T>(fd: number, work: (fd: number) => Promise<T>): Promise<T> {
  try {
    return await work(fd);
  } finally {
    closeSync(fd);
  }
}

/** Takes the lock that is on a file, as another command would; returns what lets it go. */
export async function holdLock(path: string): Promise<() => Promise<void>> {
  const host = new NodeHost();
  const file = await host.files.open(path, 'update');
  await acquire(host, file, 'exclusive', { deadlineMs: 0, signal: new AbortController().signal });
  return async () => {
    release(file);
    await file.close();
  };
}
