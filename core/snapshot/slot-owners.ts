/**
 * Which cluster has which slot, to find two that share one: in pages of numbers, since there may be millions, and an honest
 * store has its slots in order. 16 MiB remember 2^22 that follow one another, or fewer that are scattered.
 */
const SLOTS_IN_PAGE = 1 << 10;
const MOST_PAGES = 1 << 12;

export class SlotOwners {
  /** By the slots' upper bits: of each slot its cluster's index and one, 0 where none was met. */
  readonly #pages = new Map<number, Uint32Array>();
  #pageIndex = -1;
  #page: Uint32Array | undefined;

  /** Returns who has it already; undefined where nobody has, or it is not remembered. */
  claim(slotIndex: number, clusterIndex: number): number | undefined {
    const pageIndex = Math.floor(slotIndex / SLOTS_IN_PAGE);
    if (pageIndex !== this.#pageIndex) this.#turnTo(pageIndex);
    const page = this.#page;
    if (page === undefined) return undefined;
    const before = page[slotIndex % SLOTS_IN_PAGE] ?? 0;
    if (before > 0) return before - 1;
    page[slotIndex % SLOTS_IN_PAGE] = clusterIndex + 1;
    return undefined;
  }

  #turnTo(pageIndex: number): void {
    this.#pageIndex = pageIndex;
    this.#page = this.#pages.get(pageIndex);
    if (this.#page !== undefined || this.#pages.size >= MOST_PAGES) return;
    this.#page = new Uint32Array(SLOTS_IN_PAGE);
    this.#pages.set(pageIndex, this.#page);
  }
}
