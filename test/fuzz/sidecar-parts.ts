/**
 * The binary structures of a sidecar as a fuzzer sees them: named pieces of files with named fields, from the one layout
 * that core has, and how each is given a check that holds again.
 */
import { xxh64 } from '../../core/base/xxh64.ts';
import { ENTRY, FLUSH_RECORD, regions, STATE, STORE_HEADER } from '../../core/store/layout.ts';
import { CLUSTER_BYTES, IMAGE_BYTES, NAMES } from '../damage/scene.ts';

/** The contents of files by their short names, as in `test/damage/scene.ts`. */
export type Files = Map<string, Buffer>;

export interface Field {
  readonly at: number;
  readonly bytes: number;
}

export interface Part {
  readonly file: string;
  readonly at: number;
  readonly sizeBytes: number;
  readonly fields: Readonly<Record<string, Field>>;
  /** What the check of its last eight bytes is of, beside the bytes before it; absent where there is no check. */
  readonly checked?: (files: Files) => Buffer;
}

export const SHAPE = regions({ sizeBytes: IMAGE_BYTES, clusterSizeBytes: CLUSTER_BYTES });
export const CLUSTER_COUNT = Math.ceil(IMAGE_BYTES / CLUSTER_BYTES);

/** As many as any store of the scenes has. */
const SLOT_COUNT = 4;

const nothing = () => Buffer.alloc(0);

/** The index and the store's UUID, which an entry's check covers but the entry does not hold. */
function entryContext(store: string, clusterIndex: number): (files: Files) => Buffer {
  return (files) => {
    const { at, bytes } = STORE_HEADER.fields.storeUuid;
    const context = Buffer.alloc(8 + bytes);
    context.writeUInt32LE(clusterIndex, 0);
    files.get(store)?.copy(context, 8, at, at + bytes);
    return context;
  };
}

function storeParts(file: string): [string, Part][] {
  const [recordA, recordB] = FLUSH_RECORD.offsetsBytes;
  const record = { file, sizeBytes: FLUSH_RECORD.sizeBytes, fields: FLUSH_RECORD.fields, checked: nothing };
  const bits = Object.fromEntries(
    Array.from({ length: SHAPE.bitmapSizeBytes }, (_, at) => [`byte${at}`, { at, bytes: 1 }]),
  );
  const parts: [string, Part][] = [
    [`${file}.header`, { ...record, at: 0, sizeBytes: STORE_HEADER.sizeBytes, fields: STORE_HEADER.fields }],
    [`${file}.recordA`, { ...record, at: recordA }],
    [`${file}.recordB`, { ...record, at: recordB }],
    [`${file}.bitmap`, { file, at: SHAPE.bitmapOffsetBytes, sizeBytes: SHAPE.bitmapSizeBytes, fields: bits }],
  ];
  for (let index = 0; index < CLUSTER_COUNT; index += 1) {
    const at = SHAPE.tableOffsetBytes + index * ENTRY.sizeBytes;
    const checked = entryContext(file, index);
    parts.push([`${file}.entry${index}`, { ...record, at, ...ENTRY, checked }]);
  }
  const ends = { first: { at: 0, bytes: 8 }, last: { at: CLUSTER_BYTES - 8, bytes: 8 } };
  for (let slot = 0; slot < SLOT_COUNT; slot += 1) {
    const at = SHAPE.dataOffsetBytes + slot * CLUSTER_BYTES;
    parts.push([`${file}.slot${slot}`, { file, at, sizeBytes: CLUSTER_BYTES, fields: ends }]);
  }
  return parts;
}

/** Every part by its name: `state`, `a.header`, `b.recordA`, `c.entry7`, `a.bitmap`, `b.slot0`. */
export const PARTS: ReadonlyMap<string, Part> = new Map<string, Part>([
  ['state', { file: 'state', at: 0, sizeBytes: STATE.sizeBytes, fields: STATE.fields, checked: nothing }],
  ...NAMES.flatMap(storeParts),
]);

/** Makes the check of a part hold, whatever its other bytes are. */
export function mendCheck(files: Files, part: Part): void {
  const bytes = Buffer.from(files.get(part.file) ?? '');
  if (part.checked === undefined || bytes.length < part.at + part.sizeBytes) return;
  const checkAt = part.at + part.sizeBytes - 8;
  const covered = Buffer.concat([bytes.subarray(part.at, checkAt), part.checked(files)]);
  bytes.writeBigUInt64LE(xxh64(covered), checkAt);
  files.set(part.file, bytes);
}

const CHECK_DIGITS = /(?<="check": "xxh64:)[0-9a-f]{16}(?="\n\}\n$)/;

/** The text of a catalog with a check that holds, where it ends as catalogs do. */
export function mendCatalog(text: string): string {
  const zeros = text.replace(CHECK_DIGITS, '0'.repeat(16));
  const check = xxh64(Buffer.from(zeros)).toString(16).padStart(16, '0');
  return zeros.replace(CHECK_DIGITS, check);
}
