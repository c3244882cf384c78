/**
 * A reader and a writer of dm-snapshot's exception stores that share nothing with core: what our code gives is read by
 * this one, and what this one makes, by our code.
 */
import assert from 'node:assert/strict';

const SECTOR_BYTES = 512;
const ENTRY_BYTES = 16;

export interface ParsedStore {
  readonly chunkBytes: number;
  /** From the origin's chunk to the store's. */
  readonly chunks: ReadonlyMap<number, number>;
  /** As `dmsetup status` counts them, in sectors. */
  readonly allocated: number;
  readonly metadata: number;
}

/** Reads all entries; every number in them must be right. */
export function parseStore(store: Buffer): ParsedStore {
  const [magic, valid, version, sectors] = [0, 4, 8, 12].map((at) => store.readUInt32LE(at));
  assert.deepEqual([magic, valid, version], [0x70416e53, 1, 1]);
  const chunkBytes = (sectors ?? 0) * SECTOR_BYTES;
  assert.ok(
    store.subarray(16, chunkBytes).every((byte) => byte === 0),
    'the header chunk has more than a header',
  );
  assert.equal(store.length % chunkBytes, 0, 'chunks are whole');
  const inArea = chunkBytes / ENTRY_BYTES;
  const chunks = new Map<number, number>();
  const taken = new Set<number>();
  let area = 0;
  for (let ended = false; !ended; area += 1) {
    const at = (1 + area * (inArea + 1)) * chunkBytes;
    assert.ok(at + chunkBytes <= store.length, 'an area is missing');
    for (let index = 0; index < inArea && !ended; index += 1) {
      const old = Number(store.readBigUInt64LE(at + index * ENTRY_BYTES));
      const to = Number(store.readBigUInt64LE(at + index * ENTRY_BYTES + 8));
      if (to === 0) {
        const rest = store.subarray(at + index * ENTRY_BYTES, at + chunkBytes);
        assert.ok(
          rest.every((byte) => byte === 0),
          'something stands behind the end of the list',
        );
        ended = true;
        break;
      }
      assert.ok(!chunks.has(old) && !taken.has(to), 'a chunk is there twice');
      assert.ok(
        to >= 2 && (to - 1) % (inArea + 1) !== 0 && (to + 1) * chunkBytes <= store.length,
        'no data chunk',
      );
      chunks.set(old, to);
      taken.add(to);
    }
  }
  const metadata = (1 + area) * (sectors ?? 0);
  return { chunkBytes, chunks, metadata, allocated: metadata + chunks.size * (sectors ?? 0) };
}

/** What the snapshot target reads. */
export function overlay(origin: Buffer, store: Buffer, sizeBytes: number): Buffer {
  const { chunkBytes, chunks } = parseStore(store);
  const device = Buffer.from(origin.subarray(0, sizeBytes));
  for (const [old, to] of chunks)
    store.copy(device, old * chunkBytes, to * chunkBytes, (to + 1) * chunkBytes);
  return device;
}

/** What the origin holds after snapshot-merge: whole chunks are copied back, as far as the origin goes. */
export function merged(origin: Buffer, store: Buffer): Buffer {
  return overlay(origin, store, origin.length);
}

/** A store with these exceptions, in this order, as the kernel would lay it out. */
export function makeStore(
  chunkBytes: number,
  exceptions: readonly { readonly old: number; readonly data: Buffer }[],
): Buffer {
  const inArea = chunkBytes / ENTRY_BYTES;
  const areas = Math.floor(exceptions.length / inArea) + 1;
  const store = Buffer.alloc((1 + areas + exceptions.length) * chunkBytes);
  for (const [at, word] of [0x70416e53, 1, 1, chunkBytes / SECTOR_BYTES].entries())
    store.writeUInt32LE(word, at * 4);
  for (const [index, { old, data }] of exceptions.entries()) {
    const area = Math.floor(index / inArea);
    const to = 2 + area + index;
    const at = (1 + area * (inArea + 1)) * chunkBytes + (index % inArea) * ENTRY_BYTES;
    store.writeBigUInt64LE(BigInt(old), at);
    store.writeBigUInt64LE(BigInt(to), at + 8);
    data.copy(store, to * chunkBytes);
  }
  return store;
}
