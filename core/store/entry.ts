/**
 * An entry of the indirect table (dm-snapshot: an exception): where the old content of one cluster stands, its
 * hash, and which batch wrote it. A check over all of that with the cluster's index and the store's UUID makes
 * the entry prove itself, and the hash proves the slot: neither can be taken for another's, nor be half-written
 * and believed (invariant 3).
 */
import { writeU64 } from '../base/bytes.ts';
import { uuidBytes } from '../base/uuid.ts';
import { xxh64 } from '../base/xxh64.ts';
import { ENTRY, ENTRY_FLAG, MAX_SEQUENCE } from './layout.ts';

export interface Entry {
  /** Where the content stands, counted in clusters from the data region; -1 for a zero cluster, which has none. */
  readonly slotIndex: number;
  readonly handedOver: boolean;
  /** XXH64 of the cluster's bytes, a short last cluster's only as far as it goes. */
  readonly hash: bigint;
  readonly batch: number;
}

const F = ENTRY.fields;
const KNOWN_FLAGS = ENTRY_FLAG.present | ENTRY_FLAG.zero | ENTRY_FLAG.handedOver;

/**
 * Verifying decodes one entry for each cluster, before anything of that is compiled: the calls of a view are the
 * engine's own, those of a Buffer put their numbers together from bytes, and copying 24 bytes takes longer than the hash.
 */
function viewOf(bytes: Buffer): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

export class EntryCodec {
  // The check covers the entry up to its check field, the cluster's index, and the store's UUID.
  readonly #covered = Buffer.alloc(F.check.at + 8 + 16);
  readonly #coveredView = viewOf(this.#covered);
  /** The table that was looked at last, whose entries are mostly asked for one after the other. */
  #viewed: Buffer = this.#covered;
  #view = this.#coveredView;

  constructor(storeUuid: string) {
    uuidBytes(storeUuid).copy(this.#covered, F.check.at + 8);
  }

  #viewOf(table: Buffer): DataView {
    if (this.#viewed !== table) {
      this.#viewed = table;
      this.#view = viewOf(table);
    }
    return this.#view;
  }

  #check(table: DataView, offsetBytes: number, clusterIndex: number): bigint {
    const covered = this.#coveredView;
    for (let at = 0; at < F.check.at; at += 4)
      covered.setUint32(at, table.getUint32(offsetBytes + at, true), true);
    covered.setUint32(F.check.at, clusterIndex, true);
    covered.setUint32(F.check.at + 4, clusterIndex / 0x1_0000_0000, true);
    return xxh64(this.#covered);
  }

  encode(entry: Entry, clusterIndex: number, bytes: Buffer, offsetBytes: number): void {
    const zero = entry.slotIndex < 0;
    bytes.writeUIntLE(zero ? 0 : entry.slotIndex, offsetBytes + F.slot.at, F.slot.bytes);
    bytes[offsetBytes + F.reserved.at] = 0;
    bytes[offsetBytes + F.flags.at] =
      ENTRY_FLAG.present | (zero ? ENTRY_FLAG.zero : 0) | (entry.handedOver ? ENTRY_FLAG.handedOver : 0);
    const table = this.#viewOf(bytes);
    table.setBigUint64(offsetBytes + F.hash.at, entry.hash, true);
    writeU64(bytes, entry.batch, offsetBytes + F.batch.at);
    table.setBigUint64(offsetBytes + F.check.at, this.#check(table, offsetBytes, clusterIndex), true);
  }

  /**
   * Where the cluster's content stands, as `Entry.slotIndex` has it; undefined where the bytes do not prove themselves to be
   * this cluster's entry in this store.
   */
  provenSlot(bytes: Buffer, offsetBytes: number, clusterIndex: number): number | undefined {
    const table = this.#viewOf(bytes);
    if (table.getBigUint64(offsetBytes + F.check.at, true) !== this.#check(table, offsetBytes, clusterIndex))
      return undefined;
    const flags = table.getUint8(offsetBytes + F.flags.at);
    const batch = readBatch(table, offsetBytes);
    if ((flags & ENTRY_FLAG.present) === 0 || (flags & ~KNOWN_FLAGS) !== 0) return undefined;
    if (batch === 0 || batch > MAX_SEQUENCE) return undefined;
    if ((flags & ENTRY_FLAG.zero) !== 0) return -1;
    return (
      table.getUint16(offsetBytes + F.slot.at + 4, true) * 0x1_0000_0000 +
      table.getUint32(offsetBytes + F.slot.at, true)
    );
  }

  /** The hashes of `count` entries that have proven themselves. */
  hashes(bytes: Buffer, offsetBytes: number, count: number): BigUint64Array {
    const table = this.#viewOf(bytes);
    const hashes = new BigUint64Array(count);
    for (let index = 0; index < count; index += 1)
      hashes[index] = table.getBigUint64(offsetBytes + index * ENTRY.sizeBytes + F.hash.at, true);
    return hashes;
  }

  /** The entry, or undefined where the bytes do not prove themselves to be this cluster's in this store. */
  decode(bytes: Buffer, offsetBytes: number, clusterIndex: number): Entry | undefined {
    const slotIndex = this.provenSlot(bytes, offsetBytes, clusterIndex);
    if (slotIndex === undefined) return undefined;
    const table = this.#viewOf(bytes);
    return {
      slotIndex,
      handedOver: (table.getUint8(offsetBytes + F.flags.at) & ENTRY_FLAG.handedOver) !== 0,
      hash: table.getBigUint64(offsetBytes + F.hash.at, true),
      batch: readBatch(table, offsetBytes),
    };
  }
}

function readBatch(table: DataView, offsetBytes: number): number {
  const high = table.getUint32(offsetBytes + F.batch.at + 4, true);
  return high * 0x1_0000_0000 + table.getUint32(offsetBytes + F.batch.at, true);
}
