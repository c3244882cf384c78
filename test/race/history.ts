/**
 * What is known of a race from outside: when each batch of a writer was begun and acknowledged, and when each snapshot
 * was. From that follows what a snapshot may hold, without knowing how the processes met. Times are a count of what
 * the observer saw; they are in the order of real time.
 */
import assert from 'node:assert/strict';
import type { Stamp } from './units.ts';

/** What one batch of a writer covers; it is in a snapshot as a whole, or not at all. */
export interface Batch extends Stamp {
  readonly firstUnit: number;
  readonly count: number;
  /** Before its first byte was given to the writer. */
  readonly begun: number;
  /** After the writer had ended with success. */
  ended: number;
}

export interface Frozen {
  readonly what: string;
  /** Before its creation was started, and after that had succeeded. */
  readonly begun: number;
  readonly ended: number;
}

const keyOf = ({ writer, round }: Stamp) => `${writer}/${round}`;

function tell(batch: Batch): string {
  const last = batch.firstUnit + batch.count - 1;
  return `${keyOf(batch)} (units ${batch.firstUnit} to ${last}, begun ${batch.begun}, ended ${batch.ended})`;
}

export class History {
  readonly #batches = new Map<string, Batch>();
  /** The batches that cover each unit. */
  readonly #covering: Batch[][];
  #time = 0;

  constructor(units: number) {
    const first: Batch = { writer: 0, round: 0, firstUnit: 0, count: units, begun: 0, ended: 0 };
    this.#batches.set(keyOf(first), first);
    this.#covering = Array.from({ length: units }, () => [first]);
  }

  now(): number {
    this.#time += 1;
    return this.#time;
  }

  /** To be called before the first byte of the batch is given away. */
  begin(stamp: Stamp, firstUnit: number, count: number): Batch {
    const batch: Batch = { ...stamp, firstUnit, count, begun: this.now(), ended: Number.POSITIVE_INFINITY };
    this.#batches.set(keyOf(batch), batch);
    for (let unit = firstUnit; unit < firstUnit + count; unit += 1) this.#covering[unit]?.push(batch);
    return batch;
  }

  #batchOf(stamp: Stamp, unit: number, what: string): Batch {
    const batch = this.#batches.get(keyOf(stamp));
    assert.ok(batch, `${what}: nobody wrote ${keyOf(stamp)}`);
    const covers = unit >= batch.firstUnit && unit < batch.firstUnit + batch.count;
    assert.ok(covers, `${what}: unit ${unit} is of ${tell(batch)}, which does not cover it`);
    return batch;
  }

  /** Fails unless a snapshot that was frozen between two times can hold these stamps. */
  judge(stamps: readonly Stamp[], { what, begun, ended }: Frozen): void {
    const seen = new Map<Batch, number>();
    const held = stamps.map((stamp, unit) => this.#batchOf(stamp, unit, what));
    for (const [unit, batch] of held.entries()) {
      seen.set(batch, unit);
      assert.ok(batch.begun < ended, `${what}: unit ${unit} is of ${tell(batch)}, begun after ${ended}`);
      const lost = this.#covering[unit]?.find((it) => it.begun > batch.ended && it.ended < begun);
      if (lost !== undefined)
        assert.fail(`${what}: unit ${unit} is of ${tell(batch)} and lacks ${tell(lost)}`);
    }
    for (const [batch, unit] of seen) this.#judgeWhole(batch, { unit, held, what });
  }

  /** Where one unit of a batch is, no other may be older than the batch. */
  #judgeWhole(batch: Batch, seen: { unit: number; held: readonly Batch[]; what: string }): void {
    for (let unit = batch.firstUnit; unit < batch.firstUnit + batch.count; unit += 1) {
      const other = seen.held[unit];
      if (other !== undefined && other.ended < batch.begun) {
        assert.fail(
          `${seen.what}: has unit ${seen.unit} of ${tell(batch)}, but unit ${unit} is still of ${tell(other)}`,
        );
      }
    }
  }

  /** Fails where a unit of the later snapshot is older than in the earlier one. */
  judgeOrder(earlier: readonly Stamp[], later: readonly Stamp[], what: string): void {
    for (const [unit, stamp] of earlier.entries()) {
      const [before, after] = [stamp, later[unit] ?? stamp].map((it) => this.#batchOf(it, unit, what));
      if (before === undefined || after === undefined || after.ended >= before.begun) continue;
      assert.fail(`${what}: unit ${unit} went back from ${tell(before)} to ${tell(after)}`);
    }
  }
}
