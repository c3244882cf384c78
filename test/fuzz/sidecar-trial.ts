/**
 * One sidecar with something wrong in it, and commands on it one after the other. Whatever stands there: right bytes or
 * an error of ours, an image that is as the commands said, nothing touched that is not ours, and an end.
 */
import assert from 'node:assert/strict';
import { type ErrorCode, SnapError } from '../../core/base/errors.ts';
import { acceptOrigin } from '../../core/snapshot/accept-origin.ts';
import { collectSnapshots } from '../../core/snapshot/collect.ts';
import { compareWithOrigin, digestSnapshots } from '../../core/snapshot/compare.ts';
import { listDirectory, listImage } from '../../core/snapshot/list.ts';
import { verifySnapshots } from '../../core/snapshot/verify.ts';
import { contentOf } from '../damage/copy-machine.ts';
import { CLUSTER_BYTES, type Scene, SIDECAR } from '../damage/scene.ts';
import type { MemoryHost } from '../sim/memory-host.ts';
import type { Operation } from '../sim/session.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { create, IMAGE, noise, rawImage, read, withFile, write } from '../support/image.ts';
import { type Edit, isDamage, isOfState } from './sidecar-edits.ts';
import { errorAnswer, warningAnswer } from './target.ts';

/** Commands, and what happens between them. The first line only looks. Those that write say where, in clusters. */
export const STEPS = [
  ...['list', 'verify', 'verify b', 'digest', 'compare', 'dry run', 'accept dry', 'orphan'],
  ...['write 0', 'write 3', 'write 9', 'delta 2', 'extend', 'create', 'remove a', 'remove b', 'remove c'],
  ...['collect', 'keep 1', 'total 1', 'accept', 'reboot', 'touch'],
] as const;
export type Step = (typeof STEPS)[number];
const LOOKS = new Set<Step>(STEPS.slice(0, 8));

/** Files that are nobody's, beside the image and in the sidecar, with a store's name too: to be there, as they were. */
export const PRECIOUS = ['/precious', `${SIDECAR}/notes.txt`, `${SIDECAR}/z-00000000.cow`];
export const PRECIOUS_BYTES = noise(77, 30_000);
const MOST_OPERATIONS = 5000;
/** A cluster or a catalog at its largest, and a byte; whoever asks for more at once does not bound its memory. */
const MOST_BYTES_AT_ONCE = (16 << 20) + 1;
/** What a sidecar can lead to no more than any other file, whatever is in it. */
const NEVER: readonly ErrorCode[] = ['usage', 'busy', 'interrupted', 'pipe-closed'];

type Outcome<T> = { readonly value: T } | { readonly error: SnapError };

/** One run of one input: the machine, and what is known of it. */
export class Trial {
  readonly answers: string[] = [];
  readonly #host: MemoryHost;
  readonly #seed: number;
  readonly #frozen: Map<string, Buffer>;
  /** Whether what reads is right: a forgery can say that something else is. */
  #strict: boolean;
  /** Whether a change from outside is noticed: not where `state` is left open, or spoilt. */
  readonly #isWatched: boolean;
  #image: Buffer;
  #changes = 0;
  #losses = 0;

  constructor(host: MemoryHost, scene: Scene, image: Buffer, edits: readonly Edit[]) {
    this.#host = host;
    this.#strict = isDamage(edits);
    this.#isWatched = scene.kind !== 'left open, another boot' && !edits.some(isOfState);
    this.#seed = host.randomBytes(4).readUInt32LE();
    this.#frozen = new Map(scene.frozen);
    this.#image = image;
  }

  /** Runs one command as a process of its own that is stopped if it does not end. */
  async #command<T>(what: string, work: (context: TestContext) => Promise<T>): Promise<Outcome<T>> {
    let operations = 0;
    const session = this.#host.session(({ kind, path, lengthBytes = 0 }: Operation) => {
      operations += 1;
      assert.ok(operations <= MOST_OPERATIONS, `${what} does not end`);
      if (kind !== 'read' && kind !== 'write') return;
      assert.ok(lengthBytes <= MOST_BYTES_AT_ONCE, `${what}: ${kind} of ${lengthBytes} bytes of ${path}`);
    });
    const context = testContext(session);
    const outcome = await outcomeOf(() => work(context));
    assert.equal(session.files.openCount, 0, `${what}: files are left open`);
    if ('error' in outcome) {
      assert.ok(
        !NEVER.includes(outcome.error.code),
        `${what}: ${outcome.error.code}: ${outcome.error.message}`,
      );
      this.answers.push(errorAnswer(outcome.error));
    }
    for (const { message, loss } of context.warnings) {
      this.answers.push(warningAnswer(message));
      if (loss === true) this.#losses += 1;
    }
    return outcome;
  }

  /** What the snapshots read as, or the code of the error. */
  async #readAll(when: string): Promise<Map<string, Buffer | string>> {
    const found = new Map<string, Buffer | string>();
    for (const [name, frozen] of this.#frozen) {
      const outcome = await this.#command('read', (context) => read(context, name));
      found.set(name, 'value' in outcome ? outcome.value : outcome.error.code);
      const isRight = 'error' in outcome || frozen.equals(outcome.value);
      assert.ok(isRight || !this.#strict, `${name} reads wrong ${when}`);
    }
    return found;
  }

  /** Every file's bytes. */
  async #everything(): Promise<Map<string, Buffer>> {
    const { files } = this.#host;
    const found = new Map<string, Buffer>();
    const walk = async (directory: string) => {
      for (const name of await files.list(directory)) {
        const path = `${directory === '/' ? '' : directory}/${name}`;
        const kind = (await files.linkStat(path))?.kind;
        if (kind === 'directory') await walk(path);
        else if (kind === 'file') found.set(path, await contentOf(this.#host, path));
      }
    };
    await walk('/');
    return found;
  }

  async #assertUntouched(when: string): Promise<void> {
    assert.ok((await rawImage(this.#host)).equals(this.#image), `the image is not as ${when} says`);
    for (const path of PRECIOUS) {
      const precious = await contentOf(this.#host, path);
      assert.ok(precious.equals(PRECIOUS_BYTES), `${path} is none of ours, and was changed by ${when}`);
    }
  }

  async #verify(names: readonly string[]): Promise<void> {
    const outcome = await this.#command('verify', (context) => verifySnapshots(context, IMAGE, names));
    if ('error' in outcome) return;
    const { damaged, untrusted, snapshots, findings } = outcome.value;
    for (const { kind } of findings) this.answers.push(`finding: ${kind}`);
    const reads = await this.#readAll('after verify');
    for (const { name, ok } of snapshots) {
      const now = reads.get(name);
      assert.ok(!ok || typeof now !== 'string', `verify says ok of ${name}, which reads: ${now}`);
    }
    const failing = snapshots.filter(({ name }) => typeof reads.get(name) === 'string');
    const isContent = !damaged && !untrusted && findings.length === 0;
    assert.ok(failing.length === 0 || !isContent, 'verify is content, and reading is not');
  }

  async #look(step: Step): Promise<void> {
    const before = await this.#everything();
    if (step === 'list') await this.#command(step, (context) => listImage(context, IMAGE));
    if (step === 'verify') await this.#command(step, (context) => verifySnapshots(context, IMAGE, []));
    if (step === 'verify b') await this.#command(step, (context) => verifySnapshots(context, IMAGE, ['b']));
    if (step === 'digest')
      await this.#command(step, (context) => digestSnapshots(context, IMAGE, [], () => undefined));
    if (step === 'compare') await this.#command(step, (context) => compareWithOrigin(context, IMAGE, []));
    if (step === 'dry run') {
      const request = { rules: { keepLast: 1 }, maxTotalBytes: 20_000, dryRun: true };
      await this.#command(step, (context) => collectSnapshots(context, IMAGE, request));
    }
    if (step === 'accept dry') {
      await this.#command(step, (context) => acceptOrigin(context, IMAGE, { dryRun: true }));
    }
    if (step === 'orphan') {
      await this.#host.files.rename(IMAGE, '/aside');
      await this.#command(step, (context) => listDirectory(context, '/', () => undefined));
      await this.#host.files.rename('/aside', IMAGE);
    }
    assert.deepEqual(await this.#everything(), before, `${step} changed something`);
    if (step === 'verify') await this.#verify([]);
    if (step === 'verify b') await this.#verify(['b']);
  }

  async #write(step: Step): Promise<void> {
    const [what = '', cluster = '0'] = step.split(' ');
    const offsetBytes = what === 'extend' ? this.#image.length + 100 : Number(cluster) * CLUSTER_BYTES + 100;
    const data = noise(this.#seed + this.#changes, 2 * CLUSTER_BYTES).subarray(
      0,
      what === 'extend' ? 5000 : this.#image.length - offsetBytes,
    );
    const options = { extend: what === 'extend', delta: what === 'delta' };
    const outcome = await this.#command(what, async (context) => {
      const { failure, summary } = await write(context, offsetBytes, data, options);
      if (failure === undefined) return;
      assert.equal(summary.bytesWritten, 0, 'it failed and wrote');
      throw failure;
    });
    if ('error' in outcome) return;
    const expected = Buffer.alloc(Math.max(this.#image.length, offsetBytes + data.length));
    this.#image.copy(expected);
    data.copy(expected, offsetBytes);
    this.#image = expected;
  }

  async #create(): Promise<void> {
    const name = `new${this.#changes}`;
    const outcome = await this.#command('create', (context) => create(context, name));
    if ('value' in outcome) this.#frozen.set(name, this.#image);
  }

  async #collect(step: Step): Promise<void> {
    const [what, value] = step.split(' ');
    const request = {
      ...(what === 'remove' && { names: [value ?? ''] }),
      ...(what === 'keep' && { rules: { keepLast: Number(value) } }),
      ...(what === 'total' && { maxTotalBytes: Number(value) }),
      dryRun: false,
    };
    const outcome = await this.#command(what ?? '', (context) => collectSnapshots(context, IMAGE, request));
    if ('value' in outcome) this.answers.push(`${what}: ${outcome.value.removed.length} removed`);
  }

  async #change(step: Step): Promise<void> {
    this.#changes += 1;
    if (step === 'reboot') return this.#host.reboot();
    if (step === 'touch') {
      const first = Buffer.from([(this.#image[7] ?? 0) ^ 1]);
      await withFile(this.#host, 'update', (file) => file.write(first, 7));
      this.#image = await rawImage(this.#host);
      this.#strict &&= this.#isWatched;
      return;
    }
    if (step === 'accept') {
      await this.#command(step, (context) => acceptOrigin(context, IMAGE, { dryRun: false }));
    } else if (step === 'create') await this.#create();
    else if (/^(?:write|delta|extend)/.test(step)) await this.#write(step);
    else await this.#collect(step);
  }

  /** What could be read still can, or a warning said that it is lost; or it was removed, or the image changed. */
  #assertKept(before: ReadonlyMap<string, unknown>, after: ReadonlyMap<string, unknown>, step: Step): void {
    if (!this.#strict || this.#losses > 0 || step === 'touch') return;
    for (const [name, content] of before) {
      const now = after.get(name);
      const isLost = typeof content !== 'string' && typeof now === 'string' && now !== 'not-found';
      assert.ok(!isLost, `${name} could be read; after ${step}: ${now}, and no warning`);
    }
  }

  async run(steps: readonly Step[]): Promise<void> {
    let before = await this.#readAll('at once');
    assert.deepEqual(await this.#readAll('again'), before, 'read again, it reads otherwise');
    for (const step of steps) {
      this.#losses = 0;
      if (LOOKS.has(step)) await this.#look(step);
      else await this.#change(step);
      await this.#assertUntouched(step);
      const after = await this.#readAll(`after ${step}`);
      this.#assertKept(before, after, step);
      before = after;
    }
  }
}

async function outcomeOf<T>(work: () => Promise<T>): Promise<Outcome<T>> {
  try {
    return { value: await work() };
  } catch (error) {
    if (error instanceof SnapError) return { error };
    throw error;
  }
}
