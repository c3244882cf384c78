/**
 * The bytes of a file on a disk that can lose power: what was flushed, and the writes that were not. At a crash each
 * unflushed write is, 512 bytes at a time, kept, dropped, or replaced by garbage (inside the bytes written only: the
 * power-safe-overwrite assumption), and the size may be any that it had since the flush.
 */
import { PageBudget, SparseContent } from './sparse-content.ts';

export type Random = () => number;

const SECTOR_BYTES = 512;

type Pending =
  | { readonly kind: 'write'; readonly offsetBytes: number; readonly data: Buffer }
  | { readonly kind: 'truncate'; readonly sizeBytes: number };

/** How a crash treats what was not flushed; one that tears everything finds other things than one that tears little. */
type Fate = 'kept' | 'dropped' | 'garbled';

export interface Temper {
  readonly keep: number;
  readonly garble: number;
}

export function fateOf(random: Random, temper: Temper): Fate {
  const roll = (random() % 1000) / 1000;
  if (roll < temper.keep) return 'kept';
  return roll < temper.keep + temper.garble ? 'garbled' : 'dropped';
}

export class CrashContent extends SparseContent {
  readonly #budget: PageBudget;
  #durable: SparseContent;
  #pending: Pending[] = [];

  constructor(budget: PageBudget) {
    super(budget);
    this.#budget = budget;
    // What a power loss would leave is no second file that takes space.
    this.#durable = new SparseContent(new PageBudget());
  }

  /** A content that is wholly on disk. */
  static durable(budget: PageBudget, content: SparseContent): CrashContent {
    const crash = new CrashContent(budget);
    content.copyInto(crash);
    content.copyInto(crash.#durable);
    return crash;
  }

  override write(source: Buffer, offsetBytes: number): number {
    const doneBytes = super.write(source, offsetBytes);
    const data = Buffer.from(source.subarray(0, doneBytes));
    if (doneBytes > 0) this.#pending.push({ kind: 'write', offsetBytes, data });
    return doneBytes;
  }

  override truncate(sizeBytes: number): void {
    super.truncate(sizeBytes);
    this.#pending.push({ kind: 'truncate', sizeBytes });
  }

  /** Its space is free; but until its name is durably gone, a power loss brings the file back as it was. */
  override release(): void {
    this.#budget.giveBack(this.pageCount);
  }

  override sync(): void {
    for (const pending of this.#pending) apply(this.#durable, pending);
    this.#pending = [];
  }

  /**
   * A flush that fails, once: the system forgets what was dirty. Each sector may have reached the disk; of those that
   * have not, some are still read from memory until the power goes, and some read as the disk has them at once.
   */
  failSync(random: Random): void {
    for (const pending of this.#pending) {
      if (pending.kind === 'truncate') {
        this.#durable.truncate(pending.sizeBytes);
        continue;
      }
      for (const sector of sectorsOf(pending)) {
        const roll = random() % 3;
        if (roll === 0) this.#durable.write(sector.data, sector.offsetBytes);
        if (roll === 1) this.#evict(sector.offsetBytes, sector.data.length);
      }
    }
    this.#durable.truncate(Math.max(this.#durable.sizeBytes, this.sizeBytes));
    this.#pending = [];
  }

  #evict(offsetBytes: number, lengthBytes: number): void {
    const onDisk = Buffer.alloc(lengthBytes);
    this.#durable.read(onDisk, offsetBytes);
    super.write(onDisk, offsetBytes);
  }

  /** What the disk may hold after a power loss now. Changes nothing. */
  afterCrash(random: Random, temper: Temper, budget: PageBudget): CrashContent {
    const content = new SparseContent(new PageBudget());
    this.#durable.copyInto(content);
    const sizes = [content.sizeBytes];
    let sizeBytes = content.sizeBytes;
    for (const pending of this.#pending) {
      if (pending.kind === 'truncate') {
        sizeBytes = pending.sizeBytes;
        if (fateOf(random, temper) === 'kept') content.truncate(sizeBytes);
      } else {
        sizeBytes = Math.max(sizeBytes, pending.offsetBytes + pending.data.length);
        for (const sector of sectorsOf(pending)) writeWithFate(content, sector, random, temper);
      }
      sizes.push(sizeBytes);
    }
    const kept =
      fateOf(random, temper) === 'kept' ? sizeBytes : (sizes[random() % sizes.length] ?? sizeBytes);
    content.truncate(kept);
    return CrashContent.durable(budget, content);
  }
}

function apply(content: SparseContent, pending: Pending): void {
  if (pending.kind === 'truncate') content.truncate(pending.sizeBytes);
  else content.write(pending.data, pending.offsetBytes);
}

interface Sector {
  readonly offsetBytes: number;
  readonly data: Buffer;
}

function* sectorsOf(write: Sector): Generator<Sector> {
  for (let at = 0; at < write.data.length; ) {
    const offsetBytes = write.offsetBytes + at;
    const lengthBytes = Math.min(SECTOR_BYTES - (offsetBytes % SECTOR_BYTES), write.data.length - at);
    yield { offsetBytes, data: write.data.subarray(at, at + lengthBytes) };
    at += lengthBytes;
  }
}

function writeWithFate(content: SparseContent, sector: Sector, random: Random, temper: Temper): void {
  const fate = fateOf(random, temper);
  if (fate === 'dropped') return;
  const data = fate === 'kept' ? sector.data : Buffer.from(sector.data.map(() => random() & 0xff));
  content.write(data, sector.offsetBytes);
}
