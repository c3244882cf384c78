/**
 * Reading a range run by run, ahead of whoever takes the runs. Each hold gives one run; but where somebody else had the
 * lock, as a busy writer has between its batches, one hold gives as much as there is room for: what is waited for is the
 * lock, and while it is waited for the room becomes free.
 */
import { RUN_BYTES } from '../base/ahead.ts';
import { SnapError } from '../base/errors.ts';
import { pageAligned } from '../base/page-aligned.ts';
import type { ReadRun } from './snapshot-reader.ts';

/** The most that is kept in memory. */
const ROOM_BYTES = 48 << 20;
/** While one run is written, the next is hashed and the one after it read. */
const LEAST_BUFFERS = 3;

/** Reads some run from `startBytes` on into `buffer`; not past the end of the plan. */
export type RunReader = (startBytes: number, buffer: Buffer) => Promise<ReadRun>;

export interface ReadPlan {
  readonly startBytes: number;
  readonly endBytes: number;
  /** What a run needs. */
  readonly bufferBytes: number;
  /** Takes the lock for as long as `work` reads. */
  readonly held: <T>(work: (read: RunReader) => Promise<T>) => Promise<T>;
  /** Whether somebody else had the lock when it was taken the last time. */
  readonly hadToWait: () => boolean;
  /** @throws `damage` */
  readonly check: (run: ReadRun) => void;
}

interface Filled {
  readonly run: ReadRun;
  readonly buffer: Buffer;
}

/** Buffers that come to be as they are needed. */
class Room {
  readonly count: number;
  readonly #sizeBytes: number;
  readonly #free: Buffer[] = [];
  #made = 0;

  constructor(sizeBytes: number) {
    this.#sizeBytes = sizeBytes;
    this.count = Math.max(LEAST_BUFFERS, Math.floor(ROOM_BYTES / Math.max(RUN_BYTES, sizeBytes)));
  }

  get freeCount(): number {
    return this.#free.length + this.count - this.#made;
  }

  take(): Buffer {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    this.#made += 1;
    return pageAligned(this.#sizeBytes);
  }

  give(buffer: Buffer): void {
    this.#free.push(buffer);
  }
}

/** A run is good until the one after the next is asked for: until then its consumer may be at it. */
export async function* readAhead(plan: ReadPlan, signal: AbortSignal): AsyncGenerator<ReadRun> {
  const room = new Room(plan.bufferBytes);
  const gather = (startBytes: number) =>
    plan.held(async (read) => {
      const gathered: Filled[] = [];
      let atBytes = startBytes;
      do {
        const buffer = room.take();
        const run = await read(atBytes, buffer);
        gathered.push({ run, buffer });
        atBytes += run.lengthBytes;
      } while (atBytes < plan.endBytes && plan.hadToWait() && room.freeCount > 0);
      return gathered;
    });
  const ready: Filled[] = [];
  let nextBytes = plan.startBytes;
  let gathering: Promise<Filled[]> | undefined;
  let before: Filled | undefined;
  try {
    for (;;) {
      // Where the lock is dear it is asked for when much can be read.
      const wantedCount = plan.hadToWait() ? room.count / 4 : 1;
      const isWorthIt = ready.length === 0 || room.freeCount >= wantedCount;
      if (gathering === undefined && nextBytes < plan.endBytes && isWorthIt) {
        gathering = gather(nextBytes);
        gathering.catch(() => undefined);
      }
      const filled = ready.shift();
      if (filled !== undefined) {
        yield filled.run;
        if (before !== undefined) room.give(before.buffer);
        before = filled;
      } else if (gathering !== undefined) {
        ready.push(...(await gathering));
        if (signal.aborted) throw new SnapError('interrupted', 'interrupted');
        gathering = undefined;
        const last = ready.at(-1)?.run;
        nextBytes = last === undefined ? plan.endBytes : last.offsetBytes + last.lengthBytes;
      } else {
        return;
      }
    }
  } finally {
    await gathering?.catch(() => undefined);
  }
}
