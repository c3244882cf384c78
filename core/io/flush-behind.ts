/**
 * Flushing what was written while more is written, so that little is left to wait for at the end. A flush more than is
 * needed is never wrong: it puts on disk early what was to be there later. It is begun again only when the last has
 * ended, since each costs the disk a round of its own.
 */
export class FlushBehind {
  readonly #flush: () => Promise<void>;
  #current: Promise<void> | undefined;
  #failure: { readonly error: unknown } | undefined;

  constructor(flush: () => Promise<void>) {
    this.#flush = flush;
  }

  /** Begins a flush, unless one is under way. */
  start(): void {
    this.#current ??= this.#run();
  }

  async #run(): Promise<void> {
    try {
      await this.#flush();
    } catch (error) {
      // The system tells of a failure once: a later flush would seem to have succeeded.
      this.#failure ??= { error };
    } finally {
      this.#current = undefined;
    }
  }

  /** Waits for what is under way. @throws what the first that failed did */
  async finish(): Promise<void> {
    await this.#current;
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}
