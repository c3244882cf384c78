/**
 * One seeded run on a disk that can lose power: processes that create, write, grow, remove and collect, one after the
 * other, killed at any call, carrying on, and the power lost at any point between two calls. Everything follows from
 * the seed alone.
 */
import { hasCode, SnapError } from '../../core/base/errors.ts';
import { collectSnapshots } from '../../core/snapshot/collect.ts';
import { createSnapshot } from '../../core/snapshot/create.ts';
import { writeImage } from '../../core/snapshot/write.ts';
import { testContext } from '../support/context.ts';
import { checkAfterCrash, checkSnapshots, IMAGE, rawImage, readAll } from './crash-check.ts';
import type { Random } from './crash-content.ts';
import { CrashContent } from './crash-content.ts';
import { Expectation } from './crash-expectation.ts';
import { CrashVolume } from './crash-volume.ts';
import { MemoryFileSystem } from './memory-file-system.ts';
import { MemoryHost, mulberry32 } from './memory-host.ts';
import { locate } from './name-tree.ts';
import type { Operation } from './session.ts';
import { KilledError, systemError } from './system-error.ts';

export type Step =
  | { readonly kind: 'create'; readonly name: string }
  | { readonly kind: 'write'; readonly offsetBytes: number; readonly data: Buffer; readonly sync: boolean }
  | { readonly kind: 'remove'; readonly name: string }
  | { readonly kind: 'collect' }
  | { readonly kind: 'read'; readonly name: string };

export interface RunOptions {
  readonly seed: number;
  readonly stepCount: number;
  /** Crashes are tried before every n-th call, on the average; 1: before every call. */
  readonly crashEvery: number;
  /** A step is killed with this chance in a hundred. */
  readonly killPercent: number;
  /** A flush of the sidecar fails with this chance in a thousand. */
  readonly failPermille: number;
  /** Instead of chance. */
  readonly steps?: readonly Step[];
  /** Crash states tried at each point. */
  readonly crashesAtPoint?: number;
  readonly log?: (line: string) => void;
}

export interface RunResult {
  readonly crashes: number;
}

const CLUSTER_BYTES = 4096;
const NEVER_BYTES = 1 << 20;

export async function crashRun(options: RunOptions): Promise<RunResult> {
  const run = new CrashRun(options);
  await run.perform();
  return { crashes: run.crashes };
}

class CrashRun {
  crashes = 0;
  readonly #options: RunOptions;
  readonly #random: Random;
  readonly #volume = new CrashVolume();
  readonly #host: MemoryHost;
  #expected = new Expectation(Buffer.alloc(0));
  #names = 0;
  #step = 'set-up';
  /** The first thing found wrong: core must not take it for an error of the disk. */
  #failure: Error | undefined;

  constructor(options: RunOptions) {
    this.#options = options;
    this.#random = mulberry32(options.seed);
    this.#host = new MemoryHost(options.seed, new MemoryFileSystem(this.#volume));
  }

  #below(limit: number): number {
    return this.#random() % limit;
  }

  async perform(): Promise<void> {
    await this.#makeImage();
    const { steps, stepCount } = this.#options;
    for (let index = 0; index < (steps?.length ?? stepCount); index += 1) {
      await this.#perform(steps?.[index] ?? this.#choose());
    }
    this.#step = 'end';
    await this.#crash();
  }

  async #makeImage(): Promise<void> {
    const sizeBytes = [1, 4096, 4097, 3 * 4096, 3 * 4096 + 1000, 6 * 4096 - 1][this.#below(6)] ?? 1;
    const image = randomBytes(this.#random, sizeBytes);
    if (this.#below(2) === 0) image.fill(0, 0, Math.min(CLUSTER_BYTES, sizeBytes));
    const { files } = this.#host;
    await files.makeDirectory('/vm', 0o755);
    const file = await files.open(IMAGE, 'create', 0o644);
    await file.write(image, 0);
    await file.syncAll();
    await file.close();
    await files.syncDirectory('/vm');
    await files.syncDirectory('/');
    this.#expected = new Expectation(image);
  }

  #choose(): Step {
    const names = [...this.#expected.snapshots.keys()];
    const name = names[this.#below(Math.max(1, names.length))];
    const roll = this.#below(100);
    if (roll < 25 || names.length === 0) {
      this.#names += 1;
      return { kind: 'create', name: `s${this.#names}` };
    }
    if (name !== undefined && roll < 40) return { kind: 'remove', name };
    if (roll < 45) return { kind: 'collect' };
    if (name !== undefined && roll < 55) return { kind: 'read', name };
    const grows = this.#below(6) === 0 ? CLUSTER_BYTES : 0;
    const offsetBytes = this.#below(this.#expected.image.length + grows + 1);
    const lengthBytes = 1 + this.#below(this.#below(2) === 0 ? 600 : 3 * CLUSTER_BYTES);
    const most = this.#expected.image.length + grows - offsetBytes;
    const fill = this.#below(4) === 0 ? 0 : this.#random() & 0xff;
    const data = Buffer.alloc(Math.max(0, Math.min(lengthBytes, most)), fill);
    return { kind: 'write', offsetBytes, data, sync: this.#below(4) > 0 };
  }

  async #perform(step: Step): Promise<void> {
    this.#step = describe(step);
    const killAt = this.#below(100) < this.#options.killPercent ? 1 + this.#below(150) : NEVER_BYTES;
    let calls = 0;
    let failedAt = -1;
    const session = this.#host.session(async (operation) => {
      if (operation.kind === 'tryLock' || operation.kind === 'unlock') return;
      if (this.#failure !== undefined) throw this.#failure;
      calls += 1;
      if (this.#below(this.#options.crashEvery) === 0) await this.#crash();
      // A disk error and, before the very next call, a kill: more than can be survived without false alarm.
      const justFailed = failedAt === calls - 1;
      if (calls === killAt && !justFailed) {
        session.kill();
        throw new KilledError();
      }
      failedAt = calls;
      this.#maybeFail(operation);
      failedAt = -1;
    });
    this.#options.log?.(`${this.#step}${killAt < NEVER_BYTES ? ` (killed at call ${killAt})` : ''}`);
    const doubtful = this.#isDoubtful(step);
    this.#begin(step);
    try {
      await this.#execute(session, step);
      await this.#acknowledge(step);
    } catch (error) {
      if (this.#failure !== undefined) throw this.#failure;
      const known =
        error instanceof KilledError || isInjected(error) || (doubtful && hasCode(error, 'not-found'));
      if (!known) throw error;
      await this.#learn(step);
    } finally {
      session.kill();
    }
    await this.#checkAlive(step);
  }

  /** A flush of the sidecar's files fails once; what was dirty is forgotten by the system. */
  #maybeFail({ kind, path }: Operation): void {
    if ((kind !== 'syncData' && kind !== 'syncAll') || path === IMAGE) return;
    // A sidecar that was renamed has another path than its open files say.
    if (this.#below(1000) >= this.#options.failPermille || path.includes('.tmp/')) return;
    const { inode } = locate(this.#volume.root, path, 'follow');
    if (inode?.kind === 'file' && inode.content instanceof CrashContent) inode.content.failSync(this.#random);
    this.#options.log?.(`  flush of ${path} fails`);
    throw systemError('EIO');
  }

  /** From now on the effect may be there. */
  #begin(step: Step): void {
    const expected = this.#expected;
    if (step.kind === 'write' && step.data.length > 0) {
      expected.touch({
        startBytes: Math.min(step.offsetBytes, expected.image.length),
        endBytes: step.offsetBytes + step.data.length,
      });
    }
    if (step.kind === 'create') {
      expected.snapshots.set(step.name, { bytes: Buffer.from(expected.image), certain: false });
    }
    if (step.kind === 'remove') {
      const snapshot = expected.snapshots.get(step.name);
      if (snapshot !== undefined) snapshot.certain = false;
    }
  }

  async #execute(session: MemoryHost, step: Step): Promise<void> {
    const context = testContext(session);
    if (step.kind === 'create') {
      const first = this.#names % 2 === 0 ? { clusterSizeBytes: CLUSTER_BYTES } : {};
      const sizes = this.#expected.snapshots.size > 1 ? {} : { clusterSizeBytes: CLUSTER_BYTES, ...first };
      await createSnapshot(context, { image: IMAGE, name: step.name }, { ...sizes, onFull: 'invalidate' });
    } else if (step.kind === 'write') {
      const { failure } = await writeImage(
        context,
        IMAGE,
        { offsetBytes: step.offsetBytes, extend: true, delta: false, sync: step.sync },
        sourceOf(step.data),
      );
      if (failure !== undefined) throw failure;
    } else if (step.kind === 'read') {
      await readAll(session, step.name);
    } else {
      const names = step.kind === 'remove' ? [step.name] : undefined;
      await collectSnapshots(context, IMAGE, { names, dryRun: false });
    }
  }

  async #acknowledge(step: Step): Promise<void> {
    const expected = this.#expected;
    if (step.kind === 'write' && step.data.length > 0) {
      const end = step.offsetBytes + step.data.length;
      const image = Buffer.alloc(Math.max(expected.image.length, end));
      expected.image.copy(image);
      step.data.copy(image, step.offsetBytes);
      expected.image = image;
    }
    const flushes = step.kind === 'create' || (step.kind === 'write' && step.sync);
    if (flushes) expected.flush();
    if (step.kind === 'remove') expected.snapshots.delete(step.name);
    if (step.kind === 'read' || (step.kind === 'write' && step.data.length === 0)) return;
    // Whoever changed something has first made durable what was found half-done: what is there now stays.
    await this.#settleDoubts();
  }

  async #settleDoubts(): Promise<void> {
    const found = await checkSnapshots(this.#host.session(), this.#expected);
    for (const [name, snapshot] of this.#expected.snapshots) {
      if (found.has(name)) snapshot.certain = true;
      else this.#expected.snapshots.delete(name);
    }
  }

  async #learn(step: Step): Promise<void> {
    const wrong = this.#expected.learnAfterKill(
      await rawImage(this.#host.session()),
      step.kind === 'write' ? step : undefined,
    );
    if (wrong !== undefined) throw new Error(`after ${this.#step}: ${wrong}`);
  }

  /** Whether a name is asked for that may well not exist. */
  #isDoubtful(step: Step): boolean {
    if (step.kind !== 'remove' && step.kind !== 'read') return false;
    return this.#expected.snapshots.get(step.name)?.certain === false;
  }

  /** In the same boot, at once: everything reads right for those who only look. */
  async #checkAlive(step: Step): Promise<void> {
    try {
      await checkSnapshots(this.#host.session(), this.#expected);
    } catch (error) {
      throw new Error(`after ${describe(step)}: ${String(error)}`, { cause: error });
    }
  }

  async #crash(): Promise<void> {
    for (let count = 0; count < (this.#options.crashesAtPoint ?? 1); count += 1) {
      const seed = this.#random();
      const volume = this.#volume.afterCrash(mulberry32(seed));
      this.crashes += 1;
      try {
        await checkAfterCrash(new MemoryHost(seed, new MemoryFileSystem(volume)), this.#expected);
      } catch (error) {
        this.#failure ??= new Error(`crash ${this.crashes} during ${this.#step}: ${String(error)}`, {
          cause: error,
        });
        throw this.#failure;
      }
    }
  }
}

function randomBytes(random: Random, lengthBytes: number): Buffer {
  const bytes = Buffer.alloc(lengthBytes);
  for (let at = 0; at < lengthBytes; at += 1) bytes[at] = random() & 0xff;
  return bytes;
}

function isInjected(error: unknown): boolean {
  return error instanceof SnapError && error.errno === 'EIO';
}

function sourceOf(data: Buffer) {
  let at = 0;
  return {
    read: async (target: Buffer) => {
      const got = data.copy(target, 0, at);
      at += got;
      return got;
    },
  };
}

function describe(step: Step): string {
  if (step.kind === 'write') {
    return `write ${step.data.length} bytes at ${step.offsetBytes}${step.sync ? '' : ' without flush'}`;
  }
  return step.kind === 'collect' ? 'collect' : `${step.kind} ${step.name}`;
}
