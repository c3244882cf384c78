/**
 * A snapshot as the observer of a race knows it. Nobody can know what it must hold before it was read, since writers
 * were at work; so what is read first must be possible, and whatever is read later must be the same.
 */
import assert from 'node:assert/strict';
import type { History } from './history.ts';
import { checkTail, FIRST, imageBytes, parseUnit, renderUnit, type Stamp, UNIT_BYTES } from './units.ts';

export class Known {
  readonly name: string;
  readonly begun: number;
  /** When its creation had succeeded; until then nobody asks for it. */
  ended = Number.POSITIVE_INFINITY;
  /** Whether a removal of it has succeeded, and when. */
  goneAt = Number.POSITIVE_INFINITY;
  readonly #stamps: (Stamp | undefined)[];
  readonly #history: History;

  constructor(name: string, history: History, units: number) {
    this.name = name;
    this.begun = history.now();
    this.#history = history;
    this.#stamps = new Array(units).fill(undefined);
  }

  get alive(): boolean {
    return this.ended !== Number.POSITIVE_INFINITY && this.goneAt === Number.POSITIVE_INFINITY;
  }

  /** All its stamps, once all are known. */
  get stamps(): readonly Stamp[] | undefined {
    return this.#stamps.every((stamp) => stamp !== undefined) ? this.#stamps : undefined;
  }

  get sizeBytes(): number {
    return imageBytes(this.#stamps.length);
  }

  /** Fails unless these bytes are what was read there before; returns what makes the rest of them known. */
  compare(offsetBytes: number, bytes: Buffer, what: string): () => void {
    const endBytes = offsetBytes + bytes.length;
    const tailBytes = this.#stamps.length * UNIT_BYTES;
    const fresh = new Map<number, Stamp>();
    const firstUnit = Math.floor(offsetBytes / UNIT_BYTES);
    for (let unit = firstUnit; unit < this.#stamps.length && unit * UNIT_BYTES < endBytes; unit += 1) {
      const unitBytes = unit * UNIT_BYTES;
      const from = Math.max(offsetBytes, unitBytes);
      const piece = bytes.subarray(from - offsetBytes, unitBytes + UNIT_BYTES - offsetBytes);
      if (this.#stamps[unit] !== undefined) this.#compareUnit(unit, from - unitBytes, piece, what);
      else if (piece.length === UNIT_BYTES) fresh.set(unit, parseUnit(piece, unit, what));
    }
    if (offsetBytes <= tailBytes && endBytes === this.sizeBytes) {
      checkTail(bytes.subarray(tailBytes - offsetBytes), what);
    }
    return () => this.#learn(fresh, what);
  }

  #compareUnit(unit: number, from: number, piece: Buffer, what: string): void {
    const stamp = this.#stamps[unit] ?? FIRST;
    if (piece.equals(renderUnit(stamp, unit).subarray(from, from + piece.length))) return;
    const now = piece.length === UNIT_BYTES ? parseUnit(piece, unit, what) : undefined;
    assert.fail(
      `${what}: unit ${unit} was of ${stamp.writer}/${stamp.round}, and is of ${now?.writer}/${now?.round}`,
    );
  }

  #learn(fresh: ReadonlyMap<number, Stamp>, what: string): void {
    for (const [unit, stamp] of fresh) this.#stamps[unit] = stamp;
    const { stamps, begun, ended } = this;
    if (fresh.size > 0 && stamps !== undefined) this.#history.judge(stamps, { what, begun, ended });
  }
}
