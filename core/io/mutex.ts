/**
 * Mutual exclusion inside the process, in the order of asking: two locks on one descriptor do not exclude each
 * other, so this comes before a file's lock wherever two tasks share a descriptor.
 */
export class Mutex {
  #last: Promise<unknown> = Promise.resolve();

  /**
   * Runs `work` once everything that asked before has settled; settles as `work` does. Asking again from inside
   * `work` and waiting for it never ends.
   */
  run<Result>(work: () => Promise<Result> | Result): Promise<Result> {
    const result = this.#last.then(work);
    // The next one waits for the end, not for success; the failure belongs to the caller of this one.
    this.#last = result.then(ignore, ignore);
    return result;
  }
}

function ignore(): undefined {
  return undefined;
}
