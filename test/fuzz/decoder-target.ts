/**
 * The pure decoders: whatever the bytes are, they give an answer or say what is wrong; and an answer, written again,
 * reads as the same.
 */
import assert from 'node:assert/strict';
import { hasCode } from '../../core/base/errors.ts';
import { decodeCatalog, encodeCatalog } from '../../core/store/catalog-codec.ts';
import { type Entry, EntryCodec } from '../../core/store/entry.ts';
import { decodeFlushRecord, encodeFlushRecord } from '../../core/store/flush-record.ts';
import { ENTRY, FLUSH_RECORD, STORE_HEADER } from '../../core/store/layout.ts';
import { decodeState, encodeState } from '../../core/store/state.ts';
import { decodeStoreHeader, encodeStoreHeader } from '../../core/store/store-header.ts';
import type { Scene } from '../damage/scene.ts';
import { type Chance, shorter } from './chance.ts';
import { type Edit, editedFiles, wholeFiles } from './sidecar-edits.ts';
import { EditGrammar } from './sidecar-grammar.ts';
import { CLUSTER_COUNT, SHAPE } from './sidecar-parts.ts';
import { answer, type Target } from './target.ts';

export interface DecoderInput {
  readonly edits: readonly Edit[];
}

/** Every number is one that core may calculate with. */
function assertSane(value: unknown, where: string): void {
  if (typeof value === 'number') assert.ok(Number.isSafeInteger(value) && value >= -1, `${where}: ${value}`);
  if (typeof value !== 'object' || value === null || Buffer.isBuffer(value)) return;
  for (const [key, member] of Object.entries(value)) assertSane(member, `${where}.${key}`);
}

/** The value, or undefined where it was refused as it should be. */
function decoded<T>(what: string, answers: string[], decode: () => T | undefined): T | undefined {
  try {
    const value = decode();
    answers.push(`${what}: ${value === undefined ? 'none' : 'some'}`);
    assertSane(value, what);
    return value;
  } catch (error) {
    if (!hasCode(error, 'damage', 'newer-version')) throw error;
    answers.push(answer(what, error.message));
    return undefined;
  }
}

function decodeStore(bytes: Buffer, uuid: string, answers: string[]): void {
  const header = decoded('header', answers, () =>
    decodeStoreHeader(bytes.subarray(0, STORE_HEADER.sizeBytes), '/store'),
  );
  if (header !== undefined) {
    assert.deepEqual(decodeStoreHeader(encodeStoreHeader(header), '/store'), header);
  }
  for (const at of FLUSH_RECORD.offsetsBytes) {
    const piece = bytes.subarray(at, at + FLUSH_RECORD.sizeBytes);
    const record = decoded('record', answers, () => decodeFlushRecord(piece, uuid));
    if (record !== undefined)
      assert.deepEqual(decodeFlushRecord(encodeFlushRecord(record, uuid), uuid), record);
  }
  if (bytes.length < SHAPE.dataOffsetBytes) return;
  const codec = new EntryCodec(uuid);
  for (let index = 0; index < CLUSTER_COUNT; index += 1) {
    const at = SHAPE.tableOffsetBytes + index * ENTRY.sizeBytes;
    const entry = decoded('entry', answers, () => codec.decode(bytes, at, index));
    if (entry !== undefined) assertSame(codec, entry, index);
  }
}

function assertSame(codec: EntryCodec, entry: Entry, index: number): void {
  const again = Buffer.alloc(ENTRY.sizeBytes);
  codec.encode(entry, index, again, 0);
  assert.deepEqual(codec.decode(again, 0, index), entry);
}

function decodeFile(name: string, bytes: Buffer, uuid: string, answers: string[]): void {
  if (name === 'catalog.json') {
    const catalog = decoded('catalog', answers, () => decodeCatalog(bytes, '/catalog.json'));
    if (catalog !== undefined)
      assert.deepEqual(decodeCatalog(encodeCatalog(catalog), '/catalog.json'), catalog);
  } else if (name === 'state') {
    const state = decoded('state', answers, () => decodeState(bytes, '/state'));
    if (state !== undefined) assert.deepEqual(decodeState(encodeState(state), '/state'), state);
  } else decodeStore(bytes, uuid, answers);
}

export function decoderTarget(scene: Scene): Target<DecoderInput> {
  const grammar = new EditGrammar(scene);
  const whole = wholeFiles(scene);
  const { snapshots } = decodeCatalog(whole.get('catalog.json') ?? Buffer.alloc(0), '/catalog.json');
  const uuids = new Map(snapshots.map(({ name, uuid }) => [name, uuid]));
  return {
    name: 'decoder',
    batch: 64,
    generate: (chance: Chance) => ({ edits: [grammar.make(chance)] }),
    mutate: ({ edits }, chance) => ({ edits: grammar.change(edits, chance) }),
    *smaller({ edits }) {
      for (const fewer of shorter(edits)) yield { edits: fewer };
    },
    async run({ edits }) {
      const answers: string[] = [];
      for (const [name, bytes] of editedFiles(scene, edits)) {
        if (bytes !== whole.get(name)) decodeFile(name, bytes, uuids.get(name) ?? '', answers);
      }
      return answers;
    },
  };
}
