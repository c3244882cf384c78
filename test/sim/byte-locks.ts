/** The locks on one simulated file: single bytes, owned by open file descriptions, as Linux's F_OFD_SETLK has it. */

interface ByteLock {
  readonly kind: 'shared' | 'exclusive';
  readonly holders: Set<object>;
}

export class ByteLocks {
  readonly #locks = new Map<number, ByteLock>();

  /** Takes or converts `holder`'s lock on a byte; where another stands in the way, it keeps what it had. */
  tryTake(holder: object, offsetBytes: number, kind: 'shared' | 'exclusive'): boolean {
    const lock = this.#locks.get(offsetBytes);
    if (lock === undefined || (lock.holders.size === 1 && lock.holders.has(holder))) {
      this.#locks.set(offsetBytes, { kind, holders: new Set([holder]) });
      return true;
    }
    if (kind === 'exclusive' || lock.kind === 'exclusive') return false;
    lock.holders.add(holder);
    return true;
  }

  drop(holder: object, offsetBytes: number): void {
    const lock = this.#locks.get(offsetBytes);
    lock?.holders.delete(holder);
    if (lock?.holders.size === 0) this.#locks.delete(offsetBytes);
  }

  dropAll(holder: object): void {
    for (const offsetBytes of this.#locks.keys()) this.drop(holder, offsetBytes);
  }
}
