/**
 * The simulated machine's one clock. It stands still while code runs, moves a little with every change of a
 * file, and jumps to the next sleeper when nobody else can go on: sleeping costs no time, and the order of
 * everything is the same on every run.
 */

const START_NS = 1_700_000_000_000_000_000n;
const TICK_NS = 1000;

interface Sleeper {
  readonly wakeNs: number;
  readonly wake: () => void;
}

export class SimClock {
  #elapsedNs = 0;
  readonly #sleepers: Sleeper[] = [];
  #isPumping = false;

  /** Nanoseconds since the machine was made; an exact number for 104 days. */
  get elapsedNs(): number {
    return this.#elapsedNs;
  }

  /** Moves on by a microsecond; returns the new `elapsedNs`, which nobody has had before. */
  tick(): number {
    this.#elapsedNs += TICK_NS;
    return this.#elapsedNs;
  }

  /** Moves on without waking anybody before the next one is due. */
  advance(milliseconds: number): void {
    this.#elapsedNs += Math.round(milliseconds * 1e6);
  }

  /**
   * Settles when every task that can run without sleeping has run, and no sleeper is due earlier. A task that
   * waits for the real world (a real file, a real timer) does not count as one that can run.
   */
  sleep(milliseconds: number): Promise<void> {
    // However short, a pause takes time: whoever polls for a rest of 1e-14 ms would poll for ever.
    const pauseNs = milliseconds > 0 ? Math.max(1, Math.round(milliseconds * 1e6)) : 0;
    const wakeNs = this.#elapsedNs + pauseNs;
    return new Promise((wake) => {
      const after = this.#sleepers.findLastIndex((sleeper) => sleeper.wakeNs <= wakeNs);
      this.#sleepers.splice(after + 1, 0, { wakeNs, wake });
      this.#pump();
    });
  }

  /** Nanoseconds since 1970 at a moment that was `elapsedNs`. */
  static sinceEpochNs(elapsedNs: number): bigint {
    return START_NS + BigInt(elapsedNs);
  }

  now(): Date {
    return new Date(Number(START_NS / 1_000_000n) + Math.floor(this.#elapsedNs / 1e6));
  }

  #pump(): void {
    if (this.#isPumping) return;
    this.#isPumping = true;
    // Everything in memory settles in microtasks, so by the next immediate only sleepers are left.
    setImmediate(() => {
      this.#isPumping = false;
      const next = this.#sleepers.shift();
      if (next === undefined) return;
      this.#elapsedNs = Math.max(this.#elapsedNs, next.wakeNs);
      next.wake();
      if (this.#sleepers.length > 0) this.#pump();
    });
  }
}
