/**
 * The bytes of one simulated file: pages that were never written are absent and read as zeros, so that a file
 * of 8 TiB costs what was written to it.
 */

export const PAGE_BYTES = 4096;

/** The space of one simulated disk, shared by its files. */
export class PageBudget {
  /** Undefined for a disk without end. May be lowered below what is used: then nothing more fits. */
  limitPages: number | undefined;
  #usedPages = 0;

  constructor(limitPages?: number) {
    this.limitPages = limitPages;
  }

  get usedPages(): number {
    return this.#usedPages;
  }

  /** False where the disk is full. */
  take(): boolean {
    if (this.limitPages !== undefined && this.#usedPages >= this.limitPages) return false;
    this.#usedPages += 1;
    return true;
  }

  giveBack(pages: number): void {
    this.#usedPages -= pages;
  }
}

export class SparseContent {
  readonly #pages = new Map<number, Buffer>();
  readonly #budget: PageBudget;
  #sizeBytes = 0;

  constructor(budget: PageBudget) {
    this.#budget = budget;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  protected get pageCount(): number {
    return this.#pages.size;
  }

  get allocatedBytes(): number {
    return this.#pages.size * PAGE_BYTES;
  }

  /** Fills `target` up to the end of the file; returns the bytes read. */
  read(target: Buffer, offsetBytes: number): number {
    const lengthBytes = Math.max(0, Math.min(target.length, this.#sizeBytes - offsetBytes));
    let doneBytes = 0;
    while (doneBytes < lengthBytes) {
      const withinBytes = (offsetBytes + doneBytes) % PAGE_BYTES;
      const partBytes = Math.min(PAGE_BYTES - withinBytes, lengthBytes - doneBytes);
      const page = this.#pages.get(Math.floor((offsetBytes + doneBytes) / PAGE_BYTES));
      if (page === undefined) target.fill(0, doneBytes, doneBytes + partBytes);
      else page.copy(target, doneBytes, withinBytes, withinBytes + partBytes);
      doneBytes += partBytes;
    }
    return lengthBytes;
  }

  /** As lseek with SEEK_DATA: by pages, whatever is in them. */
  dataFrom(offsetBytes: number): number {
    let found = Math.max(offsetBytes, this.#sizeBytes);
    for (const pageIndex of this.#pages.keys()) {
      if ((pageIndex + 1) * PAGE_BYTES <= offsetBytes) continue;
      found = Math.min(found, Math.max(offsetBytes, pageIndex * PAGE_BYTES));
    }
    return found;
  }

  /** Returns the bytes written: fewer than all where the disk became full on the way. */
  write(source: Buffer, offsetBytes: number): number {
    let doneBytes = 0;
    while (doneBytes < source.length) {
      const withinBytes = (offsetBytes + doneBytes) % PAGE_BYTES;
      const partBytes = Math.min(PAGE_BYTES - withinBytes, source.length - doneBytes);
      const page = this.#pageToWrite(Math.floor((offsetBytes + doneBytes) / PAGE_BYTES));
      if (page === undefined) break;
      source.copy(page, withinBytes, doneBytes, doneBytes + partBytes);
      doneBytes += partBytes;
    }
    if (doneBytes > 0) this.#sizeBytes = Math.max(this.#sizeBytes, offsetBytes + doneBytes);
    return doneBytes;
  }

  truncate(sizeBytes: number): void {
    if (sizeBytes < this.#sizeBytes) this.#cut(sizeBytes);
    this.#sizeBytes = sizeBytes;
  }

  /** fdatasync. Nothing is ever lost here; a content that can lose something takes it from here on as safe. */
  sync(): void {
    return;
  }

  /** Neither a name nor a reader is left. */
  release(): void {
    this.truncate(0);
  }

  /** The same bytes, in a content that shares nothing with this one. */
  copyInto(copy: SparseContent): void {
    for (const [pageIndex, page] of this.#pages) copy.#pages.set(pageIndex, Buffer.from(page));
    copy.#sizeBytes = this.#sizeBytes;
  }

  /** All that tells this content from another. */
  *parts(): Generator<Buffer | string> {
    yield `${this.#sizeBytes}\n`;
    for (const pageIndex of [...this.#pages.keys()].sort((a, b) => a - b)) {
      yield `${pageIndex}\n`;
      yield this.#pages.get(pageIndex) ?? '';
    }
  }

  #pageToWrite(pageIndex: number): Buffer | undefined {
    const present = this.#pages.get(pageIndex);
    if (present !== undefined) return present;
    if (!this.#budget.take()) return undefined;
    const page = Buffer.alloc(PAGE_BYTES);
    this.#pages.set(pageIndex, page);
    return page;
  }

  #cut(sizeBytes: number): void {
    const keptPages = Math.ceil(sizeBytes / PAGE_BYTES);
    for (const pageIndex of this.#pages.keys()) {
      if (pageIndex < keptPages) continue;
      this.#pages.delete(pageIndex);
      this.#budget.giveBack(1);
    }
    // What lay after the new end must not come back when the file grows again.
    this.#pages.get(keptPages - 1)?.fill(0, sizeBytes - (keptPages - 1) * PAGE_BYTES);
  }
}
