/**
 * What an image and its snapshots are, as plain bytes, and what commands that were killed or that ended may have made of
 * them. What is found is either impossible, or becomes what is known from then on: nothing may change its mind later.
 */
import assert from 'node:assert/strict';

export interface Written {
  readonly offsetBytes: number;
  readonly data: Buffer;
}

/** All that a command may change. */
export interface Effect {
  readonly write?: Written;
  readonly creates?: string;
  readonly removes?: readonly string[];
}

/**
 * How a command ended. A finished one has its whole effect; a killed one any part of it; one that was interrupted, and
 * could go on until nothing was half-done, has each of its changes or not.
 */
export type Outcome = 'finished' | 'killed' | 'interrupted';

export interface Done {
  readonly effect: Effect;
  readonly outcome: Outcome;
}

export interface Found {
  readonly image: Buffer;
  /** In the order in which they are listed; without content where one is not trusted. */
  readonly snapshots: ReadonlyMap<string, Buffer | undefined>;
}

export class Model {
  image: Buffer;
  /** In the order of creation. */
  snapshots = new Map<string, Buffer>();

  constructor(image: Buffer) {
    this.image = image;
  }

  get names(): string[] {
    return [...this.snapshots.keys()];
  }

  /** Compares what is found with what may be, and learns it. `done` ran at the same time. */
  learn(done: readonly Done[], found: Found): void {
    this.#judgeImage(done, found.image);
    const removable = new Set(done.flatMap(({ effect }) => effect.removes ?? []));
    const removed = new Set(
      done.flatMap(({ effect, outcome }) => (outcome === 'finished' ? (effect.removes ?? []) : [])),
    );
    for (const name of this.snapshots.keys()) {
      assert.ok(found.snapshots.has(name) || removable.has(name), `snapshot ${name} is lost`);
    }
    for (const { effect, outcome } of done) {
      const { creates } = effect;
      const isThere = creates === undefined || found.snapshots.has(creates);
      assert.ok(isThere || outcome !== 'finished', `snapshot ${creates} was created and is not there`);
    }
    const learned = new Map<string, Buffer>();
    for (const [name, bytes] of found.snapshots) {
      assert.ok(!removed.has(name), `snapshot ${name} was removed and is there`);
      learned.set(name, this.#judgeSnapshot(name, bytes, done, found.image));
    }
    const inOrder = [...new Set([...this.names, ...learned.keys()])].filter((name) => learned.has(name));
    assert.deepEqual([...learned.keys()], inOrder, 'the order of creation');
    this.image = found.image;
    this.snapshots = learned;
  }

  #judgeSnapshot(name: string, bytes: Buffer | undefined, done: readonly Done[], image: Buffer): Buffer {
    const known = this.snapshots.get(name);
    const isNew = known === undefined && done.some(({ effect }) => effect.creates === name);
    assert.ok(known !== undefined || isNew, `snapshot ${name} came out of nowhere`);
    if (bytes === undefined) return known ?? image;
    if (known !== undefined) assertSame(bytes, known, `snapshot ${name}`);
    // A batch is whole for whoever takes the lock after it, even if its writer was killed within it.
    else if (!bytes.equals(image)) assertSame(bytes, this.image, `snapshot ${name}, just created`);
    return bytes;
  }

  #judgeImage(done: readonly Done[], found: Buffer): void {
    const writes = done.flatMap(({ effect: { write }, outcome }) => (write ? [{ write, outcome }] : []));
    const endOf = ({ write }: { write: Written }) => write.offsetBytes + write.data.length;
    const least = Math.max(
      this.image.length,
      ...writes.filter(({ outcome }) => outcome === 'finished').map(endOf),
    );
    const most = Math.max(this.image.length, ...writes.map(endOf));
    assert.ok(
      found.length >= least && found.length <= most,
      `the image has ${found.length} bytes, not ${least} to ${most}`,
    );
    const allowed = Buffer.alloc(found.length);
    this.image.copy(allowed);
    for (const { write, outcome } of writes) {
      const { offsetBytes, data } = write;
      const isThere = found.subarray(offsetBytes, offsetBytes + data.length).equals(data);
      if (outcome === 'killed') takeWhatIsThere(allowed, found, write);
      else if (outcome === 'finished' || isThere) data.copy(allowed, offsetBytes);
    }
    assertSame(found, allowed, 'the image');
  }
}

/** A killed write: each byte of its range is the old or the new one. */
function takeWhatIsThere(allowed: Buffer, found: Buffer, { offsetBytes, data }: Written): void {
  const end = Math.min(found.length, offsetBytes + data.length);
  for (let at = offsetBytes; at < end; at += 1) {
    const fresh = data[at - offsetBytes];
    if (fresh !== undefined && found[at] === fresh) allowed[at] = fresh;
  }
}

export function assertSame(found: Buffer, expected: Buffer, what: string): void {
  if (found.equals(expected)) return;
  let at = 0;
  while (at < found.length && found[at] === expected[at]) at += 1;
  let bytes = 0;
  for (let each = at; each < found.length; each += 1) if (found[each] !== expected[each]) bytes += 1;
  const sizes = found.length === expected.length ? '' : `, has ${found.length} bytes, not ${expected.length}`;
  throw new Error(`${what} is wrong from byte ${at} on (${bytes} bytes differ${sizes})`);
}
