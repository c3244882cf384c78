/**
 * The bytes of every structure on disk, as they stand in the sidecars of format version 1 that are out there. Whoever
 * changes one of these constants changes the format: that takes a new version number, or breaks every sidecar there is.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Catalog } from '../../core/store/catalog.ts';
import { decodeCatalog, encodeCatalog } from '../../core/store/catalog-codec.ts';
import { type Entry, EntryCodec } from '../../core/store/entry.ts';
import {
  decodeFlushRecord,
  encodeFlushRecord,
  type FlushRecord,
  recordOffsetBytes,
} from '../../core/store/flush-record.ts';
import { ENTRY } from '../../core/store/layout.ts';
import { partUuid } from '../../core/store/part.ts';
import { decodeState, encodeState, type State } from '../../core/store/state.ts';
import { decodeStoreHeader, encodeStoreHeader } from '../../core/store/store-header.ts';

const SIDECAR_UUID = '01020304-0506-4708-890a-0b0c0d0e0f10';
const STORE_UUID = 'a1a2a3a4-a5a6-47a8-89aa-abacadaeafb0';
const FIGURE = { batch: 0x1122334455, count: 0x010203, xorLow: 0xdeadbeef, xorHigh: 0x89abcdef };

/** Sixteen bytes a line, led by their offset; lines of zeros are left out. */
function dump(bytes: Buffer): string[] {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const row = bytes.subarray(at, at + 16);
    if (row.some((byte) => byte !== 0)) lines.push(`${String(at).padStart(3)} ${row.toString('hex')}`);
  }
  return lines;
}

const NO_CANDIDATES = { hasCandidates: false, candidateHash: 0n, neededHash: 0n };

test("a store's header", () => {
  const identity = {
    sidecarUuid: SIDECAR_UUID,
    storeUuid: STORE_UUID,
    snapshotNumber: 0x0102030405,
    sizeBytes: 10 * 65536 + 1,
    clusterSizeBytes: 65536,
    part: undefined,
  };
  const bytes = encodeStoreHeader(identity);
  assert.equal(bytes.length, 512);
  assert.deepEqual(dump(bytes), [
    '  0 696d67736e6170530100000000000000',
    ' 16 00000000000001000102030405064708',
    ' 32 890a0b0c0d0e0f10a1a2a3a4a5a647a8',
    ' 48 89aaabacadaeafb00504030201000000',
    ' 64 01000a00000000000b00000000000000',
    ' 80 00400000000000000050000000000000',
    ' 96 00000100000000000000000000000000',
    '496 00000000000000004a1a29f734276b77',
  ]);
  assert.deepEqual(decodeStoreHeader(bytes, 'a store'), { ...identity, ...NO_CANDIDATES });
});

test('the header of a store with candidates', () => {
  const header = {
    sidecarUuid: SIDECAR_UUID,
    storeUuid: STORE_UUID,
    snapshotNumber: 0x0102030405,
    sizeBytes: 10 * 65536 + 1,
    clusterSizeBytes: 65536,
    hasCandidates: true,
    candidateHash: 0x1112131415161718n,
    neededHash: 0x2122232425262728n,
    part: undefined,
  };
  const bytes = encodeStoreHeader(header);
  assert.deepEqual(dump(bytes), [
    '  0 696d67736e6170530100000002000000',
    ' 16 00000000000001000102030405064708',
    ' 32 890a0b0c0d0e0f10a1a2a3a4a5a647a8',
    ' 48 89aaabacadaeafb00504030201000000',
    ' 64 01000a00000000000b00000000000000',
    ' 80 00400000000000000070000000000000',
    ' 96 00000100000000001817161514131211',
    '112 28272625242322210000000000000000',
    '496 000000000000000042aae81331ce7d9f',
  ]);
  assert.deepEqual(decodeStoreHeader(bytes, 'a store'), header);
});

test('the header of a part, and its UUID', () => {
  const part = { ofUuid: STORE_UUID, index: 0x0102 };
  assert.equal(partUuid(part), '071ad4d4-53a7-42bc-8277-fc2a75becff8');
  const identity = {
    sidecarUuid: SIDECAR_UUID,
    storeUuid: partUuid(part),
    snapshotNumber: 5,
    sizeBytes: 65536,
    clusterSizeBytes: 65536,
    part,
  };
  const bytes = encodeStoreHeader(identity);
  assert.deepEqual(dump(bytes).slice(-2), [
    '480 a1a2a3a4a5a647a889aaabacadaeafb0',
    '496 02010000000000002044af5a64f9d762',
  ]);
  assert.deepEqual(decodeStoreHeader(bytes, 'a part'), { ...identity, ...NO_CANDIDATES });
});

test('a flush record', () => {
  const record: FlushRecord = {
    sequence: 0x0607080910,
    known: { ...FIGURE, batch: 7 },
    made: FIGURE,
    ownSlotCount: 0x0a0b,
    zeroCount: 0x0d0e,
  };
  const bytes = encodeFlushRecord(record, STORE_UUID);
  assert.equal(bytes.length, 128);
  assert.deepEqual(dump(bytes), [
    '  0 10090807060000000700000000000000',
    ' 16 0302010000000000efbeaddeefcdab89',
    ' 32 55443322110000000302010000000000',
    ' 48 efbeaddeefcdab890b0a000000000000',
    ' 64 0e0d000000000000a1a2a3a4a5a647a8',
    ' 80 89aaabacadaeafb00000000000000000',
    '112 00000000000000007a0bee937f52a783',
  ]);
  assert.deepEqual(decodeFlushRecord(bytes, STORE_UUID), record);
  assert.deepEqual([recordOffsetBytes(2), recordOffsetBytes(3)], [4096, 8192]);
});

test('entries of the indirect table', () => {
  const codec = new EntryCodec(STORE_UUID);
  const check = (entry: Entry, clusterIndex: number, hex: string) => {
    const bytes = Buffer.alloc(ENTRY.sizeBytes);
    codec.encode(entry, clusterIndex, bytes, 0);
    assert.equal(bytes.toString('hex'), hex);
    assert.deepEqual(codec.decode(bytes, 0, clusterIndex), entry);
    assert.equal(codec.decode(bytes, 0, clusterIndex + 1), undefined);
  };
  const copied = { slotIndex: 0x030201, handedOver: false, hash: 0x8877665544332211n, batch: 0x0a090807 };
  check(copied, 5, '010203000000000111223344556677880708090a0000000048f7459fa76df741');
  check(
    { ...copied, slotIndex: -1, handedOver: true },
    2 ** 26 - 1,
    '000000000000000711223344556677880708090a000000000b96b765c8c6b22c',
  );
});

test('`state`', () => {
  const state: State = {
    sidecarUuid: SIDECAR_UUID,
    bootId: Buffer.from('00112233445566778899aabbccddeeff', 'hex'),
    phase: 'open',
    bitsDirty: false,
    generation: 0x0102,
    batch: 0x0304,
    repairs: 0x0506,
    originSizeBytes: 0x070809,
    originTimeNs: 1_795_158_251_123_456_789n,
    mark: {
      batch: 0x0a0b,
      storeUuid: STORE_UUID,
      firstCluster: 0x0c0d,
      lastCluster: 0x0e0f,
      writesOrigin: true,
    },
    figureSequence: 0,
    figureStoreUuid: STORE_UUID,
    figure: FIGURE,
  };
  const bytes = encodeState(state);
  assert.equal(bytes.length, 512);
  assert.deepEqual(dump(bytes), [
    '  0 696d67736e617054010000000f000000',
    ' 16 0102030405064708890a0b0c0d0e0f10',
    ' 32 00112233445566778899aabbccddeeff',
    ' 48 02010000000000000403000000000000',
    ' 64 06050000000000000908070000000000',
    ' 80 153bd311ebaee9180b0a000000000000',
    ' 96 a1a2a3a4a5a647a889aaabacadaeafb0',
    '112 0d0c0000000000000f0e000000000000',
    '128 a1a2a3a4a5a647a889aaabacadaeafb0',
    '144 55443322110000000302010000000000',
    '160 efbeaddeefcdab890000000000000000',
    '496 0000000000000000603f2c30459b2952',
  ]);
  assert.deepEqual(decodeState(bytes, 'state'), state);
  const opening: State = { ...state, phase: 'opening', mark: undefined };
  assert.deepEqual(dump(encodeState(opening)), [
    '  0 696d67736e6170540100000001000000',
    ' 16 0102030405064708890a0b0c0d0e0f10',
    ' 32 00112233445566778899aabbccddeeff',
    ' 48 02010000000000000403000000000000',
    ' 64 06050000000000000908070000000000',
    ' 80 153bd311ebaee9180000000000000000',
    '128 a1a2a3a4a5a647a889aaabacadaeafb0',
    '144 55443322110000000302010000000000',
    '160 efbeaddeefcdab890000000000000000',
    '496 00000000000000006c8adb0a440b8982',
  ]);
  assert.deepEqual(decodeState(encodeState(opening), 'state'), opening);
  const closed: State = { ...state, phase: 'closed', originTimeNs: -1n, mark: undefined };
  assert.deepEqual(dump(encodeState(closed)), [
    '  0 696d67736e6170540100000000000000',
    ' 16 0102030405064708890a0b0c0d0e0f10',
    ' 32 00112233445566778899aabbccddeeff',
    ' 48 02010000000000000403000000000000',
    ' 64 06050000000000000908070000000000',
    ' 80 ffffffffffffffff0000000000000000',
    '128 a1a2a3a4a5a647a889aaabacadaeafb0',
    '144 55443322110000000302010000000000',
    '160 efbeaddeefcdab890000000000000000',
    '496 00000000000000008360a55ae6b4c396',
  ]);
  assert.deepEqual(decodeState(encodeState(closed), 'state'), closed);
});

test('the catalog', () => {
  const plain = {
    hasCandidates: undefined,
    ending: undefined,
    maxSizeBytes: undefined,
    label: undefined,
    digest: undefined,
    sealed: undefined,
    spill: undefined,
    part: undefined,
    transient: undefined,
    isClone: undefined,
  };
  const catalog: Catalog = {
    sidecarUuid: SIDECAR_UUID,
    generation: 12,
    clusterSizeBytes: 4096,
    nextNumber: 9,
    leftovers: undefined,
    snapshots: [
      {
        ...plain,
        name: 'before:upgrade',
        uuid: STORE_UUID,
        number: 3,
        created: '2026-01-02T03:04:05.25Z',
        sizeBytes: 41060,
        trust: 'invalid',
        ending: { reason: 'its store was full', time: '2026-11-20T07:17:31Z', clusterIndex: 10 },
        hidden: true,
        maxSizeBytes: 1048576,
        onFull: 'refuse',
        label: 'a "label" – ä',
        digest: 'xxh64:0123456789abcdef',
        storePath: '/mnt/spare/before.cow',
        sealed: FIGURE,
      },
      {
        ...plain,
        name: '20261120T071731Z',
        uuid: 'b1b2b3b4-b5b6-47b8-89ba-bbbcbdbebfc0',
        number: 8,
        created: '2026-11-20T07:17:31Z',
        sizeBytes: 56248,
        hasCandidates: true,
        trust: 'valid',
        hidden: false,
        onFull: 'invalidate',
        storePath: '20261120T071731Z-b1b2b3b4.cow',
      },
    ],
  };
  const text = `{
  "format": "imgsnap catalog",
  "version": 1,
  "uuid": "01020304-0506-4708-890a-0b0c0d0e0f10",
  "generation": 12,
  "clusterSize": 4096,
  "nextNumber": 9,
  "snapshots": [
    {
      "name": "before:upgrade",
      "uuid": "a1a2a3a4-a5a6-47a8-89aa-abacadaeafb0",
      "number": 3,
      "created": "2026-01-02T03:04:05.25Z",
      "size": 41060,
      "trust": "invalid",
      "ending": {
        "reason": "its store was full",
        "time": "2026-11-20T07:17:31Z",
        "cluster": 10
      },
      "hidden": true,
      "maxSize": 1048576,
      "onFull": "refuse",
      "label": "a \\"label\\" – ä",
      "digest": "xxh64:0123456789abcdef",
      "store": "/mnt/spare/before.cow",
      "sealed": {
        "batch": 73588229205,
        "count": 66051,
        "xor": "89abcdefdeadbeef"
      }
    },
    {
      "name": "20261120T071731Z",
      "uuid": "b1b2b3b4-b5b6-47b8-89ba-bbbcbdbebfc0",
      "number": 8,
      "created": "2026-11-20T07:17:31Z",
      "size": 56248,
      "candidates": true,
      "trust": "valid",
      "onFull": "invalidate",
      "store": "20261120T071731Z-b1b2b3b4.cow"
    }
  ],
  "check": "xxh64:a182c59299abebfd"
}
`;
  assert.equal(encodeCatalog(catalog).toString(), text);
  assert.deepEqual(decodeCatalog(Buffer.from(text), 'catalog.json'), catalog);
});
