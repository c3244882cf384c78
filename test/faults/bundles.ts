/**
 * The installed commands with one of their calls to the system failing or cut short: what they answer, and what is left.
 * Each try begins with a copy of the same directory, and costs two processes.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { hasCode } from '../../core/base/errors.ts';
import { NodeHost } from '../../core/io/node-host.ts';
import type { Context } from '../../core/snapshot/context.ts';
import { readSnapshot } from '../../core/snapshot/read.ts';
import { verifySnapshots } from '../../core/snapshot/verify.ts';
import { type CommandName, KIB, noise, Workplace } from '../support/commands.ts';
import { testContext } from '../support/context.ts';
import { CollectingSink } from '../support/image.ts';
import { type Probe, startProbed } from '../support/probe.ts';
import type { ProcessResult } from '../support/process.ts';
import type { Failure, Point } from './bundle-points.ts';

const CLUSTER = 4 * KIB;
const DATA = noise('new', 3 * CLUSTER);

/** A command with its arguments, tried in a directory with an image and its snapshots `one`, `two` and `three`. */
export interface Case {
  readonly name: CommandName;
  readonly args: readonly string[];
  readonly stdin?: Buffer;
  /** What it writes into the image. */
  readonly written?: { readonly offsetBytes: number; readonly data: Buffer };
  /** The snapshot that it streams to standard output. */
  readonly streams?: string;
  readonly creates?: string;
  readonly removes?: readonly string[];
}

const written = { offsetBytes: 2 * CLUSTER + 7, data: DATA };
const at = String(written.offsetBytes);

export const CASES: readonly Case[] = [
  { name: 'snap-create', args: ['plain.img@four', '--cluster-size', '4K'] },
  { name: 'snap-create', args: ['disk.img@four'], creates: 'four' },
  { name: 'snap-write', args: ['disk.img', '--offset', at], stdin: DATA, written },
  { name: 'snap-write', args: ['disk.img', '--offset', at, '--delta', '--no-sync'], stdin: DATA, written },
  { name: 'snap-read', args: ['disk.img@one'], streams: 'one' },
  { name: 'snap-read', args: ['disk.img@three'], streams: 'three' },
  { name: 'snap-read', args: ['disk.img@two', '-o', 'out.img'] },
  { name: 'snap-verify', args: ['disk.img'] },
  { name: 'snap-verify', args: ['disk.img', '--digest'] },
  { name: 'snap-gc', args: ['disk.img@two'], removes: ['two'] },
  { name: 'snap-gc', args: ['disk.img', '--keep-last', '1'], removes: ['one', 'two'] },
  { name: 'snap-list', args: ['disk.img'] },
];

export function titleOf({ name, args }: Case): string {
  return `${name} ${args.join(' ')}`;
}

export class Bundles {
  readonly #work: Workplace;
  readonly #frozen = new Map<string, Buffer>();
  #image: Buffer = Buffer.alloc(0);
  #tries = 0;

  private constructor(work: Workplace) {
    this.#work = work;
  }

  static async make(work: Workplace): Promise<Bundles> {
    const bundles = new Bundles(work);
    await bundles.#prepare();
    return bundles;
  }

  async #prepare(): Promise<void> {
    mkdirSync(this.#work.path('template'));
    const there = new Workplace(this.#work.path('template'));
    const content = noise('image', 9 * CLUSTER + 100);
    content.fill(0, 6 * CLUSTER, 7 * CLUSTER);
    there.image('disk.img', content);
    there.image('plain.img', noise('plain', 3 * CLUSTER));
    for (const [index, name] of ['one', 'two', 'three'].entries()) {
      this.#frozen.set(name, readFileSync(there.path('disk.img')));
      await there.ok('snap-create', ['-q', `disk.img@${name}`, '--cluster-size', '4K']);
      await there.write('disk.img', index * CLUSTER, noise(name, 2 * CLUSTER));
      if (name !== 'three') await there.read(`disk.img@${name}`);
    }
    this.#image = readFileSync(there.path('disk.img'));
  }

  /** Lets `use` work in a copy of the directory. */
  async #copy<T>(use: (there: Workplace) => Promise<T>): Promise<T> {
    this.#tries += 1;
    const there = new Workplace(this.#work.path(`try${this.#tries}`));
    // Times with all their digits: another one is a change from outside.
    execFileSync('cp', ['-a', this.#work.path('template'), there.directory]);
    try {
      return await use(there);
    } finally {
      rmSync(there.directory, { recursive: true });
    }
  }

  async #run(there: Workplace, tried: Case, probe: Probe): Promise<ProcessResult> {
    const options = tried.stdin === undefined ? {} : { stdin: tried.stdin };
    return startProbed(there, tried.name, tried.args, probe, options).result;
  }

  /** What a command passes, in order, and what it answers. */
  points(tried: Case): Promise<{ readonly points: Point[]; readonly usual: ProcessResult }> {
    return this.#copy(async (there) => {
      const log = `${there.directory}.log`;
      const usual = await this.#run(there, tried, { log });
      assert.equal(usual.status, 0, usual.stderr);
      const lines = readFileSync(log, 'utf8').trimEnd().split('\n');
      return { points: lines.map((point, index) => ({ call: index + 1, point })), usual };
    });
  }

  /** Every read and write from this call on, or this one, does half of what it is asked: nobody notices. */
  short(tried: Case, usual: ProcessResult, probe: Probe): Promise<void> {
    return this.#copy(async (there) => {
      const found = await this.#run(there, tried, { action: 'short', ...probe });
      assert.equal(found.status, 0, found.stderr);
      assert.ok(found.stdout.equals(usual.stdout), 'another output');
      assert.equal(found.stderr, usual.stderr);
      this.#checkImage(there, tried, true);
      await this.#checkSnapshots(there, tried, false);
    });
  }

  /** The call fails: the answer is right, nothing is harmed, and the next try works. */
  fail(tried: Case, { call, point, errno, harmless }: Failure): Promise<void> {
    return this.#copy(async (there) => {
      const found = await this.#run(there, tried, { call, errno, action: 'fail' });
      const told = / (ended|its name is free)/.test(found.stderr);
      if (found.status === 0) assert.ok(harmless, `succeeds: ${found.stderr}`);
      else if (tried.name === 'snap-verify' && found.status === 3) checkFinding(found, point, errno);
      else checkMessage(tried.name, found, point, errno);
      if (tried.streams !== undefined) this.#checkStream(tried.streams, found);
      this.#checkImage(there, tried, found.status === 0);
      await this.#checkSnapshots(there, tried, told);
      const again = await this.#run(there, tried, {});
      const isDone = /: (exists already|no such snapshot)\n/.test(again.stderr);
      assert.ok(again.status === 0 || isDone, `the next try: ${again.stderr}`);
      this.#checkImage(there, tried, true);
      await this.#checkSnapshots(there, tried, told || / ended/.test(again.stderr));
    });
  }

  /** Whole, or its beginning: never a wrong byte. */
  #checkStream(name: string, { status, stdout }: ProcessResult): void {
    const frozen = this.#frozen.get(name) ?? Buffer.alloc(0);
    assert.ok(
      status === 0 ? stdout.equals(frozen) : stdout.equals(frozen.subarray(0, stdout.length)),
      'output',
    );
  }

  /** Each byte is the old one, or, in what was written, the new one; all are new once that was acknowledged. */
  #checkImage(there: Workplace, { written: change }: Case, done: boolean): void {
    const found = readFileSync(there.path('disk.img'));
    const wanted = Buffer.from(this.#image);
    change?.data.copy(wanted, change.offsetBytes);
    assert.equal(found.length, wanted.length);
    const wrong = found.findIndex(
      (byte, index) => byte !== wanted[index] && (done || byte !== this.#image[index]),
    );
    assert.equal(wrong, -1, 'a byte of the image is neither old nor new');
  }

  /** By core itself, which costs no process. */
  async #checkSnapshots(there: Workplace, tried: Case, mayEnd: boolean): Promise<void> {
    const context = testContext(new NodeHost());
    const image = there.path('disk.img');
    for (const [name, frozen] of this.#frozen) {
      const found = await contentOf(context, image, name).catch((error: unknown) => {
        if (tried.removes?.includes(name) && hasCode(error, 'not-found')) return frozen;
        if (mayEnd && hasCode(error, 'invalid')) return frozen;
        throw error;
      });
      assert.ok(found.equals(frozen), `${name} reads wrong`);
    }
    if (tried.creates !== undefined) {
      const found = await contentOf(context, image, tried.creates).catch((error: unknown) => {
        if (hasCode(error, 'not-found')) return this.#image;
        throw error;
      });
      assert.ok(found.equals(this.#image), 'the new one reads wrong');
    }
    const { findings } = await verifySnapshots(context, image, []);
    assert.deepEqual(
      findings.filter(({ kind }) => kind !== 'invalid'),
      [],
      'verification finds damage',
    );
  }
}

async function contentOf(context: Context, image: string, name: string): Promise<Buffer> {
  const sink = new CollectingSink();
  const options = { offsetBytes: 0, allowModifiedOrigin: false, digest: false };
  await readSnapshot(context, { image, name }, options, sink);
  return sink.bytes();
}

const NAMES = new Map([
  ['<stdin>', 'standard input'],
  ['<stdout>', 'standard output'],
]);

/** A point's file, as a message names it. */
function fileIn(point: string): string {
  const file = point.slice(point.indexOf(' ') + 1);
  return (
    (NAMES.get(file) ?? file)
      .replaceAll('.', '\\.')
      // The directory itself has another name in each try.
      .replace(/^try\d+$/, 'try\\d+')
      .replace('-H\\.cow', '-[0-9a-f]{8}\\.cow')
      .replace('.H\\.', '.[0-9a-f]{12,16}\\.')
  );
}

/** A store that cannot be read is a finding, which names it with the system's word; all else is verified. */
function checkFinding({ stdout, stderr }: ProcessResult, point: string, errno: string): void {
  assert.match(point, /\.cow$/, stdout.toString());
  assert.match(stdout.toString(), new RegExp(`^disk\\.img@\\w+: .*${fileIn(point)}.*\\(${errno}\\)$`, 'm'));
  assert.match(stdout.toString(), /^disk\.img: 1 finding; [012] of 3 snapshots whole/m);
  assert.equal(stderr, '');
}

/** One error, of one line, that names the file as it is called, with the system's word for it; a hint where it helps. */
function checkMessage(name: CommandName, found: ProcessResult, point: string, errno: string): void {
  const { status, stderr } = found;
  assert.equal(status, 1, stderr);
  const [error = '', ...others] = stderr
    .trimEnd()
    .split('\n')
    .filter((line) => line.startsWith(`${name}: error: `));
  assert.deepEqual(others, [], stderr);
  assert.match(error, new RegExp(fileIn(point)), `names another file: ${stderr}`);
  assert.match(error, new RegExp(`\\(${errno}\\)`), stderr);
  for (const line of stderr.trimEnd().split('\n')) {
    assert.match(line, new RegExp(`^${name}: (error|warning|hint): [^.].*[^.]$`), stderr);
  }
  if (errno === 'ENOSPC') assert.match(stderr, /^snap-[a-z]+: hint: /m);
  assert.doesNotMatch(stderr, /internal error|^ +at /m);
}
