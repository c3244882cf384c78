/**
 * The pure decoders: whatever the bytes are, they give an answer or say what is wrong; and an answer, written again,
 * reads as the same.
 */
import assert from 'node:assert/strict';
import { hasCode } from '../../core/base/errors.ts';
import { decodeCatalog, encodeCatalog } from '../../core/store/catalog-codec.ts';
import { type Entry, EntryCodec } from '../../core/store/entry.ts';
import { decodeFlushRecord, encodeFlushRecord } from '../../core/store/flush-record.ts';
import { ENTRY, FLUSH_RECORD, MAX_SEQUENCE, STATE, STORE_HEADER } from '../../core/store/layout.ts';
import { decodeState, encodeState } from '../../core/store/state.ts';
import { decodeStoreHeader, encodeStoreHeader } from '../../core/store/store-header.ts';
import type { Scene } from '../damage/scene.ts';
import { type Chance, shorter } from './chance.ts';
import { type Edit, editedFiles, isPlainDamage, wholeFiles } from './sidecar-edits.ts';
import { EditGrammar } from './sidecar-grammar.ts';
import { CLUSTER_COUNT, SHAPE } from './sidecar-parts.ts';
import { errorAnswer, type Target } from './target.ts';

export interface DecoderInput {
  readonly edits: readonly Edit[];
}

/** Every number is one that core may calculate with, and those that are counted on are far from the last of them. */
function assertSane(value: unknown, where: string): void {
  if (typeof value === 'number') {
    assert.ok(Number.isSafeInteger(value) && value >= -1, `${where}: ${value}`);
    const isCounter = /\.(?:batch|sequence|generation|repairs|number|nextNumber|figureSequence)$/.test(where);
    assert.ok(!isCounter || value <= MAX_SEQUENCE, `${where}: ${value}`);
  }
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
    answers.push(`${what}: ${errorAnswer(error)}`);
    return undefined;
  }
}

/** What one input is decoded with. */
interface Trial {
  readonly answers: string[];
  /** The file as it was, where nothing but the same bytes may pass a check; else undefined. */
  readonly whole: Buffer | undefined;
}

/** What passed its check is as it was, or was forged. */
function assertOwn(trial: Trial, bytes: Buffer, at: number, sizeBytes: number, what: string): void {
  if (trial.whole === undefined) return;
  const before = trial.whole.subarray(at, at + sizeBytes);
  assert.ok(before.equals(bytes.subarray(at, at + sizeBytes)), `${what}: damaged, and taken for whole`);
}

function decodeStore(bytes: Buffer, uuid: string, trial: Trial): void {
  const { answers } = trial;
  const headerBytes = bytes.subarray(0, STORE_HEADER.sizeBytes);
  const header = decoded('header', answers, () => decodeStoreHeader(headerBytes, '/store'));
  if (header !== undefined) {
    assert.deepEqual(decodeStoreHeader(encodeStoreHeader(header), '/store'), header);
    assertOwn(trial, bytes, 0, STORE_HEADER.sizeBytes, 'header');
  }
  for (const at of FLUSH_RECORD.offsetsBytes) {
    const piece = bytes.subarray(at, at + FLUSH_RECORD.sizeBytes);
    const record = decoded('record', answers, () => decodeFlushRecord(piece, uuid));
    if (record === undefined) continue;
    assert.deepEqual(decodeFlushRecord(encodeFlushRecord(record, uuid), uuid), record);
    assertOwn(trial, bytes, at, FLUSH_RECORD.sizeBytes, 'record');
  }
  if (bytes.length < SHAPE.dataOffsetBytes) return;
  const codec = new EntryCodec(uuid);
  for (let index = 0; index < CLUSTER_COUNT; index += 1) {
    const at = SHAPE.tableOffsetBytes + index * ENTRY.sizeBytes;
    const entry = decoded('entry', answers, () => codec.decode(bytes, at, index));
    if (entry === undefined) continue;
    assertSame(codec, entry, index);
    assertOwn(trial, bytes, at, ENTRY.sizeBytes, `entry ${index}`);
  }
}

function assertSame(codec: EntryCodec, entry: Entry, index: number): void {
  const again = Buffer.alloc(ENTRY.sizeBytes);
  codec.encode(entry, index, again, 0);
  assert.deepEqual(codec.decode(again, 0, index), entry);
}

function decodeFile(name: string, bytes: Buffer, uuid: string, trial: Trial): void {
  const { answers } = trial;
  if (name === 'catalog.json') {
    const catalog = decoded('catalog', answers, () => decodeCatalog(bytes, '/catalog.json'));
    if (catalog === undefined) return;
    assert.deepEqual(decodeCatalog(encodeCatalog(catalog), '/catalog.json'), catalog);
    assertOwn(trial, bytes, 0, Number.POSITIVE_INFINITY, 'catalog');
  } else if (name === 'state') {
    const state = decoded('state', answers, () => decodeState(bytes, '/state'));
    if (state === undefined) return;
    assert.deepEqual(decodeState(encodeState(state), '/state'), state);
    assertOwn(trial, bytes, 0, STATE.sizeBytes, 'state');
  } else decodeStore(bytes, uuid, trial);
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
        const before = whole.get(name);
        const trial = { answers, whole: isPlainDamage(edits) ? before : undefined };
        if (bytes !== before) decodeFile(name, bytes, uuids.get(name) ?? '', trial);
      }
      return answers;
    },
  };
}
