/**
 * One run on a disk that can lose power: processes that create, write, grow, remove and collect, one after the other,
 * killed at any call, carrying on, and the power lost at any point between two calls. Steps, kills, failing flushes and
 * crashes follow from the seed alone, or from a plan.
 */
import { hasCode, SnapError } from '../../core/base/errors.ts';
import { checkAfterCrash, checkSnapshots, IMAGE, rawImage } from './crash-check.ts';
import type { Random } from './crash-content.ts';
import { Expectation } from './crash-expectation.ts';
import { failFlush, isFlush } from './crash-faults.ts';
import { CLUSTER_BYTES, chooseStep, describe, executeStep, type Step } from './crash-steps.ts';
import { CORNERS, CrashVolume } from './crash-volume.ts';
import { MemoryFileSystem } from './memory-file-system.ts';
import { MemoryHost, mulberry32 } from './memory-host.ts';
import { isChange, type Operation } from './session.ts';
import { KilledError } from './system-error.ts';

/** A step of a plan. */
export interface Planned {
  /** Undefined where it makes no sense: the run ends there. */
  readonly choose: (expected: Expectation) => Step | undefined;
  /** It is killed before its n-th change of the disk. */
  readonly killAtChange?: number;
  /** Power losses are tried during this step. */
  readonly crashes: boolean;
}

export interface RunOptions {
  readonly seed: number;
  /** Instead of chance. */
  readonly plan?: readonly Planned[];
  readonly stepCount: number;
  /** Power losses are tried after every n-th change of the disk, on the average. */
  readonly crashEvery: number;
  /** A step is killed with this chance in a hundred. */
  readonly killPercent: number;
  /** A flush of the sidecar fails with this chance in a thousand. */
  readonly failPermille: number;
  /** The power is lost again, after a power loss, while the next command repairs, with this chance in a hundred. */
  readonly againPercent?: number;
  /** Of the states that a power loss may leave, as many are tried at a point, the extreme ones among them. Else one by chance. */
  readonly statesAtPoint?: number;
  readonly log?: (line: string) => void;
}

export interface RunResult {
  readonly crashes: number;
  /** Steps of the plan that were done to their end or to their kill; fewer than planned where one made no sense. */
  readonly steps: number;
  /** Whether the last kill that was planned took place: there were so many changes. */
  readonly killed: boolean;
}

const NEVER = 1 << 20;

export async function crashRun(options: RunOptions): Promise<RunResult> {
  const run = new CrashRun(options);
  await run.perform();
  return { crashes: run.crashes, steps: run.steps, killed: run.killed };
}

class CrashRun {
  crashes = 0;
  steps = 0;
  killed = false;
  readonly #options: RunOptions;
  readonly #random: Random;
  readonly #volume = new CrashVolume();
  readonly #host: MemoryHost;
  #expected = new Expectation(Buffer.alloc(0));
  #names = 0;
  #corner = 0;
  #step = 'set-up';
  /** What was tried in this step. */
  readonly #tried = new Set<string>();
  /** The first thing found wrong: core must not take it for an error of the disk. */
  #failure: Error | undefined;
  /** The disk has changed since the last point at which the power was lost. */
  #isChanged = false;

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
    const { plan, stepCount } = this.#options;
    const newName = () => {
      this.#names += 1;
      return `s${this.#names}`;
    };
    while (this.steps < (plan?.length ?? stepCount)) {
      const planned = plan?.[this.steps];
      const step = planned
        ? planned.choose(this.#expected)
        : chooseStep(this.#random, this.#expected, newName);
      if (step === undefined) return;
      await this.#perform(step, planned);
      this.steps += 1;
      this.#isChanged = true;
      // More is certain now.
      this.#tried.clear();
      if (planned?.crashes ?? this.steps === stepCount) await this.#crash();
    }
  }

  async #makeImage(): Promise<void> {
    const random = this.#options.plan ? 3 : this.#below(6);
    const sizeBytes = [1, 4096, 4097, 3 * 4096 + 1000, 3 * 4096, 6 * 4096 - 1][random] ?? 1;
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

  async #perform(step: Step, planned: Planned | undefined): Promise<void> {
    this.#step = describe(step);
    this.#tried.clear();
    const session = this.#session(planned);
    const doubtful = this.#isDoubtful(step);
    // What a plan only leads up with was looked at as a plan of its own.
    const isKnown = planned !== undefined && !planned.crashes;
    this.#begin(step);
    try {
      await executeStep(session, step);
      await this.#acknowledge(step, isKnown);
    } catch (error) {
      if (this.#failure !== undefined) throw this.#failure;
      const known =
        error instanceof KilledError || isInjected(error) || (doubtful && hasCode(error, 'not-found'));
      if (!known) throw error;
      await this.#learn(step);
    } finally {
      session.kill();
    }
    if (!isKnown || this.killed) await this.#checkAlive(step);
  }

  /** The process that does a step, with what happens to it. */
  #session(planned: Planned | undefined): MemoryHost {
    const { killPercent, crashEvery, log } = this.#options;
    const byChance = planned === undefined && this.#below(100) < killPercent;
    const killAt = planned?.killAtChange ?? (byChance ? 1 + this.#below(60) : NEVER);
    log?.(`${this.#step}${killAt < NEVER ? ` (killed before change ${killAt})` : ''}`);
    this.killed = false;
    let changes = 0;
    let hasJustFailed = false;
    const session = this.#host.session(async (operation) => {
      if (operation.kind === 'tryLock' || operation.kind === 'unlock') return;
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#isChanged && (planned?.crashes ?? true) && this.#below(crashEvery) === 0) await this.#crash();
      if (isChange(operation)) {
        changes += 1;
        this.#isChanged = true;
        // A disk error and, before the very next call, a kill: more than can be survived without false alarm.
        if (changes >= killAt && !hasJustFailed) {
          this.killed = true;
          session.kill();
          throw new KilledError();
        }
      }
      hasJustFailed = true;
      this.#maybeFail(operation);
      hasJustFailed = false;
    });
    return session;
  }

  /** A flush fails once. */
  #maybeFail(operation: Operation): void {
    if (this.#options.failPermille === 0 || !isFlush(operation) || operation.path === IMAGE) return;
    if (this.#below(1000) >= this.#options.failPermille) return;
    this.#options.log?.(`  flush of ${operation.path} fails`);
    failFlush(this.#volume, operation, this.#random);
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

  async #acknowledge(step: Step, isKnown: boolean): Promise<void> {
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
    expected.settle(
      isKnown ? new Set(expected.snapshots.keys()) : await checkSnapshots(this.#host, expected, 'look'),
    );
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
      await checkSnapshots(this.#host, this.#expected, 'look');
    } catch (error) {
      throw new Error(`after ${describe(step)}: ${String(error)}`, { cause: error });
    }
  }

  /** The power is lost now. Each state that the disk may have then is another disk, on which the next one finds it. */
  async #crash(): Promise<void> {
    const { statesAtPoint } = this.#options;
    this.#isChanged = false;
    for (let count = 0; count < (statesAtPoint ?? 1); count += 1) {
      const seed = this.#random();
      // Fewer than there are take turns from point to point.
      if (statesAtPoint !== undefined) this.#corner = (this.#corner + 1) % CORNERS.length;
      const corner = statesAtPoint === undefined ? undefined : CORNERS[this.#corner];
      const volume = this.#volume.afterCrash(mulberry32(seed), corner);
      if (statesAtPoint !== undefined && !this.#isNew(volume.fingerprint())) continue;
      this.crashes += 1;
      const again = this.#below(100) < (this.#options.againPercent ?? 0);
      try {
        const host = new MemoryHost(seed, new MemoryFileSystem(volume));
        await checkAfterCrash(host, this.#expected, again ? mulberry32(seed + 1) : undefined);
      } catch (error) {
        this.#failure ??= new Error(`crash ${this.crashes} during ${this.#step}: ${String(error)}`, {
          cause: error,
        });
        throw this.#failure;
      }
    }
  }

  #isNew(fingerprint: string): boolean {
    const before = this.#tried.size;
    return this.#tried.add(fingerprint).size > before;
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
