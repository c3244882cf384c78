/**
 * One run on a disk that can lose power: processes that create, write, grow, remove and collect, one after the other,
 * killed at any call, carrying on, and the power lost at any point between two calls. Steps, kills, failing flushes and
 * crashes follow from the seed alone, or from a plan.
 */
import { hasCode, SnapError } from '../../core/base/errors.ts';
import { checkAfterCrash, checkSnapshots, IMAGE, rawImage, SPILL_DIRECTORY } from './crash-check.ts';
import type { Random } from './crash-content.ts';
import { Expectation, newSnapshot } from './crash-expectation.ts';
import { failFlush, isFlush } from './crash-faults.ts';
import type { Planned, RunOptions, RunResult } from './crash-options.ts';
import { CLUSTER_BYTES, chooseStep, describe, executeStep, frozenBy, type Step } from './crash-steps.ts';
import { CORNERS, CrashVolume } from './crash-volume.ts';
import { MemoryFileSystem } from './memory-file-system.ts';
import { MemoryHost, mulberry32 } from './memory-host.ts';
import { isChange, type Operation } from './session.ts';
import { KilledError } from './system-error.ts';

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
  /** The last step was acknowledged, and left everything on disk. */
  #isCalm = false;
  /** The disk is nearly full. */
  #isFull = false;
  #originFailed = false;
  /** In the present step. */
  #flushFailed = false;
  /** The write between two batches of which somebody else is at work. */
  #interrupted: { readonly step: Step; readonly doneBytes: number } | undefined;
  /** Of the write under way, what was written before somebody else did something. */
  #writtenBytes = 0;

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
    while (this.steps < (plan?.length ?? stepCount)) {
      const planned = plan?.[this.steps];
      const step = planned ? planned.choose(this.#expected) : this.#choose();
      if (step === undefined) return;
      await this.#perform(step, planned);
      this.steps += 1;
      this.#isChanged = true;
      // More is certain now.
      this.#tried.clear();
      if (planned?.crashes ?? this.steps === stepCount) await this.#crash();
    }
  }

  #choose(): Step {
    const { lost } = this.#expected;
    if (lost !== undefined) {
      const data = Buffer.alloc(lost.endBytes - lost.startBytes, this.#random() & 0xff);
      return { kind: 'write', offsetBytes: lost.startBytes, data, sync: true };
    }
    const { fullPercent = 0, changesOutside = false } = this.#options;
    return chooseStep(this.#random, this.#expected, {
      newName: () => {
        this.#names += 1;
        return `s${this.#names}`;
      },
      limits: fullPercent > 0,
      mayChangeOutside: changesOutside && this.#isCalm,
    });
  }

  async #makeImage(): Promise<void> {
    const random = this.#options.plan ? 3 : this.#below(6);
    const sizeBytes = [1, 4096, 4097, 3 * 4096 + 1000, 3 * 4096, 6 * 4096 - 1][random] ?? 1;
    const image = randomBytes(this.#random, sizeBytes);
    if (this.#below(2) === 0) image.fill(0, 0, Math.min(CLUSTER_BYTES, sizeBytes));
    const { files } = this.#host;
    await files.makeDirectory('/vm', 0o755);
    await files.makeDirectory(SPILL_DIRECTORY, 0o755);
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
    const session = this.#session(step, planned);
    const doubtful = this.#isDoubtful(step);
    // What a plan only leads up with was looked at as a plan of its own.
    const isKnown = planned !== undefined && !planned.crashes;
    if (this.#interrupted === undefined) this.#fill(planned);
    this.#begin(step);
    this.#writtenBytes = 0;
    this.#originFailed = false;
    this.#flushFailed = false;
    const wasCalm = this.#isCalm;
    this.#isCalm = false;
    try {
      const between = (doneBytes: number) => this.#between(step, doneBytes);
      await executeStep(session, step, { inSmallSteps: this.#isInSmallSteps(step), between });
      await this.#acknowledge(step, isKnown);
      // A read that could not close again, after it recorded a digest, does not fail for that.
      this.#isCalm = leavesCalm(step) || (wasCalm && step.kind === 'read' && !this.#flushFailed);
    } catch (error) {
      if (this.#failure !== undefined) throw this.#failure;
      if (!this.#isExpected(error, doubtful)) throw error;
      await this.#learn(step);
    } finally {
      session.kill();
      if (this.#interrupted === undefined) this.#volume.budget.limitPages = undefined;
    }
    if (this.#originFailed) await this.#learn(step);
    if (!isKnown || this.killed) await this.#checkAlive(step);
  }

  /** In a plan, writes have one batch and hand-overs as many steps as they can. */
  #isInSmallSteps(step: Step): boolean {
    return this.#options.plan === undefined ? this.#below(2) === 0 : step.kind !== 'write';
  }

  /** What another process does between two batches of a write. */
  async #between(step: Step, doneBytes: number): Promise<void> {
    const { betweenPercent = 0, log } = this.#options;
    if (step.kind !== 'write' || this.#interrupted !== undefined) return;
    if (this.#failure !== undefined || this.#below(100) >= betweenPercent) return;
    const before = this.#writtenBytes;
    this.#expected.write(step.offsetBytes + before, step.data.subarray(before, doneBytes));
    this.#interrupted = { step, doneBytes };
    const name = this.#step;
    log?.(`  when ${doneBytes} bytes were written, somebody else:`);
    try {
      await this.#perform(this.#choose(), undefined);
    } finally {
      this.#step = `${name}, going on`;
      this.#tried.clear();
      this.#interrupted = undefined;
      this.#writtenBytes = doneBytes;
      this.#expected.mayEndByWrite(this.#isFull);
    }
  }

  #fill(planned: Planned | undefined): void {
    const { fullPercent = 0, log } = this.#options;
    this.#isFull = planned === undefined && this.#below(100) < fullPercent;
    if (!this.#isFull) return;
    const { budget } = this.#volume;
    const pages = this.#below(8);
    budget.limitPages = budget.usedPages + pages;
    log?.(`  room for ${pages} pages`);
  }

  /** Whether a command may fail with that. */
  #isExpected(error: unknown, doubtful: boolean): boolean {
    if (error instanceof KilledError) return true;
    if (error instanceof SnapError && error.errno === 'EIO') return true;
    if (doubtful && hasCode(error, 'not-found', 'invalid', 'modified')) return true;
    // What a full disk keeps from being repaired is told as `io`.
    if (this.#isFull && hasCode(error, 'io')) return true;
    return (this.#options.fullPercent ?? 0) > 0 && hasCode(error, 'no-space');
  }

  /** The process that does a step, with what happens to it. */
  #session(step: Step, planned: Planned | undefined): MemoryHost {
    const { killPercent, crashEvery, log } = this.#options;
    const byChance = planned === undefined && this.#below(100) < killPercent;
    const isOurs = step.kind !== 'outside';
    const killAt = planned?.killAtChange ?? (byChance && isOurs ? 1 + this.#below(60) : NEVER);
    log?.(`${this.#step}${killAt < NEVER ? ` (killed before change ${killAt})` : ''}`);
    this.killed = false;
    let changes = 0;
    let hasJustFailed = false;
    const session = this.#host.session(async (operation) => {
      if (operation.kind === 'tryLock' || operation.kind === 'unlock') return;
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#isChanged && (planned?.crashes ?? isOurs) && this.#below(crashEvery) === 0)
        await this.#crash();
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
    const { failPermille, failsOrigin = false, log } = this.#options;
    if (failPermille === 0 || !isFlush(operation)) return;
    if (this.#step.endsWith('outside') || (operation.path === IMAGE && !failsOrigin)) return;
    if (this.#below(1000) >= failPermille) return;
    log?.(`  flush of ${operation.path} fails`);
    this.#flushFailed = true;
    if (operation.path === IMAGE) {
      this.#originFailed = true;
      this.#expected.lose();
    }
    failFlush(this.#volume, operation, this.#random);
  }

  /** From now on the effect may be there. */
  #begin(step: Step): void {
    const expected = this.#expected;
    if ((step.kind === 'write' || step.kind === 'outside') && step.data.length > 0) {
      expected.touch({
        startBytes: Math.min(step.offsetBytes, expected.image.length),
        endBytes: step.offsetBytes + step.data.length,
      });
    }
    for (const snapshot of expected.snapshots.values()) {
      if (step.kind === 'collect' && snapshot.mayEnd) snapshot.certain = false;
      if (step.kind === 'outside') snapshot.mayEnd = true;
    }
    if (step.kind === 'write') expected.mayEndByWrite(this.#isFull);
    if (step.kind === 'create') {
      const limit = step.maxSizeBytes === undefined ? 'full' : 'limit';
      const ends = step.onFull === 'refuse' ? 'never' : limit;
      expected.snapshots.set(step.name, newSnapshot(frozenBy(step, expected.image), ends, step.transient));
    }
    if (step.kind === 'remove') {
      const snapshot = expected.snapshots.get(step.name);
      if (snapshot !== undefined) snapshot.certain = false;
    }
  }

  async #acknowledge(step: Step, isKnown: boolean): Promise<void> {
    const expected = this.#expected;
    if (step.kind === 'write' || step.kind === 'outside') {
      // What somebody else wrote in between stands above what came before it.
      expected.write(step.offsetBytes + this.#writtenBytes, step.data.subarray(this.#writtenBytes));
    }
    const flushes = step.kind === 'create' || step.kind === 'outside' || (step.kind === 'write' && step.sync);
    // While another write is under way, more than this step's may be unflushed.
    if (flushes && this.#interrupted === undefined) expected.flush();
    if (step.kind === 'remove') expected.snapshots.delete(step.name);
    if (step.kind === 'read' || step.kind === 'outside' || (step.kind === 'write' && step.data.length === 0))
      return;
    // Whoever changed something has first made durable what was found half-done: what is there now stays.
    expected.settle(
      isKnown
        ? { names: new Set(expected.snapshots.keys()), ended: new Set() }
        : await checkSnapshots(this.#host, expected, 'look'),
    );
  }

  async #learn(step: Step): Promise<void> {
    const wrong = this.#expected.learnAfterKill(
      await rawImage(this.#host.session()),
      step.kind === 'write' || step.kind === 'outside' ? step : undefined,
    );
    if (wrong !== undefined) throw new Error(`after ${this.#step}: ${wrong}`);
  }

  /** Whether a name is asked for that may well not exist. */
  #isDoubtful(step: Step): boolean {
    if (step.kind !== 'remove' && step.kind !== 'read') return false;
    const snapshot = this.#expected.snapshots.get(step.name);
    return snapshot?.certain === false || snapshot?.mayEnd === true;
  }

  /** In the same boot, at once: everything reads right for those who only look. */
  async #checkAlive(step: Step): Promise<void> {
    try {
      const image = await rawImage(this.#host.session());
      if (!image.equals(this.#expected.image)) throw new Error('the origin reads wrong');
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

/** Whether `state` says "closed" after that, so that a change from outside is noticed whatever comes. */
function leavesCalm(step: Step): boolean {
  return step.kind === 'create' || step.kind === 'remove' || (step.kind === 'write' && step.sync);
}
