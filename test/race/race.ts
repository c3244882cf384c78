/**
 * A race of real processes on one image: four writers on overlapping ranges, four readers of different snapshots, a
 * creator and a remover. Everything that any of them reads is judged by what the observer knows, and at the end it is
 * all read again, verified and collected.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { mulberry32 } from '../sim/memory-host.ts';
import type { CommandName, Workplace } from '../support/commands.ts';
import { startProbed } from '../support/probe.ts';
import type { ProcessOptions, ProcessResult, RunningProcess } from '../support/process.ts';
import { BATCH_UNITS, type Choose, create, IMAGE, read, remove, write } from './actors.ts';
import { History } from './history.ts';
import { Known } from './known.ts';
import { imageBytes, parseUnit, renderImage, UNIT_BYTES } from './units.ts';

/** Two batches and a bit: a long write has three. */
const UNITS = 2 * BATCH_UNITS + 26;
const WRITERS = 4;
const READERS = 4;
const CLUSTER_SIZES = [4, 16, 64];
/** No command takes that long on any machine; one that does waits for something that cannot come. */
const STUCK_MS = 180_000;
const WAITS = 'waits.log';

export interface RaceOptions {
  readonly seed: number;
  /** Each goes on for so many rounds. */
  readonly rounds?: number;
  /** Or for so long. */
  readonly milliseconds?: number;
}

export interface Counts {
  writes: number;
  batches: number;
  killedWriters: number;
  reads: number;
  goneReads: number;
  looks: number;
  creations: number;
  removals: number;
}

export interface LockTime {
  readonly ms: number;
  readonly command: string;
  /** When it ended, on a clock that all share. */
  readonly atMs: number;
}

export interface RaceResult {
  readonly counts: Readonly<Counts>;
  /** How long the lock was waited for, each time, and how long it was held; shortest first. */
  readonly waits: readonly LockTime[];
  readonly holds: readonly LockTime[];
}

export class Race {
  readonly work: Workplace;
  readonly units = UNITS;
  readonly readers = READERS;
  readonly history = new History(UNITS);
  readonly counts: Counts = {
    writes: 0,
    batches: 0,
    killedWriters: 0,
    reads: 0,
    goneReads: 0,
    looks: 0,
    creations: 0,
    removals: 0,
  };
  creating = true;
  removing = true;
  /** The removal that is under way. */
  removal: Promise<void> = Promise.resolve();
  readonly #options: RaceOptions;
  readonly #snapshots: Known[] = [];
  readonly #running = new Set<RunningProcess>();
  #round = 0;
  #stopped = false;

  constructor(work: Workplace, options: RaceOptions) {
    this.work = work;
    this.#options = options;
  }

  start(name: CommandName, args: readonly string[], options: ProcessOptions = {}): RunningProcess {
    const running = startProbed(this.work, name, args, { waits: this.work.path(WAITS) }, options);
    this.#running.add(running);
    return running;
  }

  /** The result of a process; fails where it does not end. */
  async end(running: RunningProcess, what: string): Promise<ProcessResult> {
    const patience = new AbortController();
    const stuck = delay(STUCK_MS, undefined, { signal: patience.signal }).then(
      () => assert.fail(`${what}: has not ended after ${STUCK_MS / 1000} s`),
      () => running.result,
    );
    try {
      return await Promise.race([running.result, stuck]);
    } finally {
      patience.abort();
      this.#running.delete(running);
    }
  }

  nextRound(): number {
    this.#round += 1;
    return this.#round;
  }

  alive(): Known[] {
    return this.#snapshots.filter((known) => known.alive);
  }

  /** A snapshot that is about to be created. */
  announce(name: string): Known {
    const known = new Known(name, this.history, UNITS);
    this.#snapshots.push(known);
    return known;
  }

  /** What a read by this name, between two times, may have been of. */
  candidates(name: string, from: number, to: number): Known[] {
    return this.#snapshots.filter((known) => known.name === name && known.begun < to && known.goneAt > from);
  }

  /** Judges what was read; where a name was taken again meanwhile, it may be of either snapshot. */
  seen(candidates: readonly Known[], read: { offsetBytes: number; bytes: Buffer; what: string }): void {
    const failures: unknown[] = [];
    const matches = candidates.flatMap((known) => {
      try {
        return [known.compare(read.offsetBytes, read.bytes, read.what)];
      } catch (error) {
        failures.push(error);
        return [];
      }
    });
    if (matches.length === 0) throw failures[0] ?? new Error(`${read.what}: of no snapshot`);
    // Of which of two it was nobody can tell.
    if (matches.length === 1) matches[0]?.();
  }

  #chooser(actor: number): Choose {
    const random = mulberry32(this.#options.seed * 64 + actor);
    return (below) => random() % below;
  }

  async #loop(actor: number, round: (choose: Choose) => Promise<void>): Promise<void> {
    const choose = this.#chooser(actor);
    const most = this.#options.rounds ?? Number.POSITIVE_INFINITY;
    try {
      for (let count = 0; count < most && !this.#stopped; count += 1) await round(choose);
    } catch (error) {
      // The others are not to go on with what is wrong already.
      this.#stopped = true;
      throw error;
    }
  }

  async run(): Promise<RaceResult> {
    writeFileSync(this.work.path(IMAGE), renderImage(UNITS));
    const clusterKib = CLUSTER_SIZES[this.#options.seed % CLUSTER_SIZES.length];
    const first = this.announce('first');
    await this.work.ok('snap-create', ['-q', `${IMAGE}@first`, '--cluster-size', `${clusterKib}K`]);
    first.ended = this.history.now();
    const timer = this.#options.milliseconds === undefined ? undefined : delay(this.#options.milliseconds);
    void timer?.then(() => {
      this.#stopped = true;
    });
    const outcomes = await Promise.allSettled([
      ...Array.from({ length: WRITERS }, (_, at) =>
        this.#loop(at + 1, (choose) => write(this, at + 1, choose)),
      ),
      ...Array.from({ length: READERS }, (_, at) => this.#loop(at + 10, (choose) => read(this, at, choose))),
      this.#loop(20, (choose) => create(this, choose)).finally(() => {
        this.creating = false;
      }),
      this.#loop(21, (choose) => {
        this.removal = remove(this, choose);
        return this.removal;
      }).finally(() => {
        this.removing = false;
      }),
    ]);
    for (const { child } of this.#running) child.kill('SIGKILL');
    const failures = outcomes.flatMap((it) => (it.status === 'rejected' ? [it.reason] : []));
    if (failures.length > 0) throw failures[0];
    await this.#settle();
    return { counts: this.counts, waits: this.#lockTimes('waited'), holds: this.#lockTimes('held') };
  }

  #lockTimes(word: 'waited' | 'held'): LockTime[] {
    const lines = readFileSync(this.work.path(WAITS), 'utf8').trimEnd().split('\n');
    const found = lines.map((line) => line.split(' ')).filter(([first]) => first === word);
    const times = found.map(([, ms, command = '', us]) => ({
      ms: Number(ms),
      command,
      atMs: Number(us) / 1000,
    }));
    return times.sort((a, b) => a.ms - b.ms);
  }

  /** Everything is read again, and nothing is left that does not belong there. */
  async #settle(): Promise<void> {
    const image = readFileSync(this.work.path(IMAGE));
    assert.equal(image.length, imageBytes(UNITS));
    const stamps = Array.from({ length: UNITS }, (_, unit) =>
      parseUnit(image.subarray(unit * UNIT_BYTES, (unit + 1) * UNIT_BYTES), unit, 'the image'),
    );
    const now = this.history.now();
    this.history.judge(stamps, { what: 'the image', begun: now, ended: now });
    const alive = this.alive();
    assert.ok(alive.length > 0);
    for (const known of alive) {
      const { data } = await this.work.ok('snap-read', [`${IMAGE}@${known.name}`]);
      this.seen([known], { offsetBytes: 0, bytes: data, what: `${known.name} at the end` });
    }
    for (const [at, { stamps: later, name }] of alive.entries()) {
      const earlier = alive[at - 1]?.stamps;
      if (earlier !== undefined && later !== undefined)
        this.history.judgeOrder(earlier, later, `${name} in order`);
    }
    const { stdout } = await this.work.ok('snap-verify', ['--json', IMAGE]);
    assert.deepEqual(JSON.parse(stdout).findings, []);
    await this.#collect(alive);
  }

  async #collect(alive: readonly Known[]): Promise<void> {
    await this.work.ok('snap-gc', ['-q', IMAGE]);
    const left = () =>
      readdirSync(this.work.path(`${IMAGE}.snap`)).map((name) => name.replace(/-[0-9a-f]{8}\./, '.'));
    const plain = ['catalog.json', 'reserve', 'state'];
    assert.deepEqual(left().sort(), [...plain, ...alive.map(({ name }) => `${name}.cow`)].sort());
    await this.work.ok('snap-gc', ['-q', ...alive.map(({ name }) => `${IMAGE}@${name}`)]);
    assert.deepEqual(left().sort(), plain);
    assert.deepEqual(readdirSync(this.work.directory).sort(), [IMAGE, `${IMAGE}.snap`, WAITS].sort());
  }
}
