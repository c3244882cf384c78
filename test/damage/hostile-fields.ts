/**
 * Every field of every binary structure with every value that somebody could mean harm by, and the structure's check
 * made right again, so that the value itself is judged. The fields come from the layout: one that is added there is
 * tried here.
 */
import assert from 'node:assert/strict';
import { xxh64 } from '../../core/base/xxh64.ts';
import { ENTRY, FLUSH_RECORD, STATE, STORE_HEADER } from '../../core/store/layout.ts';
import type { MemoryHost } from '../sim/memory-host.ts';
import { noise } from '../support/image.ts';
import { contentOf, setContent } from './copy-machine.ts';
import type { Mutation } from './examination.ts';
import { CLUSTER_BYTES, IMAGE_BYTES, NAMES, type Scene, shapeOf } from './scene.ts';

interface Field {
  readonly at: number;
  readonly bytes: number;
}

/** One structure somewhere in a file of the sidecar. */
interface Place {
  readonly what: string;
  readonly path: string;
  readonly offsetBytes: number;
  readonly sizeBytes: number;
  readonly fields: Readonly<Record<string, Field>>;
  /** What the check covers behind the structure's own bytes. */
  readonly alsoCovered: Buffer;
}

/** The numbers at which something changes its form: words, safe integers, signs, the limits of the format. */
const BORDERS = [8n, 16n, 26n, 32n, 48n, 50n, 53n, 63n, 64n].flatMap((bits) => [
  2n ** bits - 1n,
  2n ** bits,
  2n ** bits + 1n,
]);

function numberValues(present: Buffer, seed: number): Buffer[] {
  const old = Buffer.concat([present, Buffer.alloc(8)]).readBigUInt64LE(0);
  const random = Buffer.concat([noise(seed, present.length), Buffer.alloc(8)]).readBigUInt64LE(0);
  const most = 2n ** BigInt(8 * present.length) - 1n;
  const wanted = [0n, 1n, 2n, 3n, 4096n, old - 1n, old + 1n, old ^ 2n, old * 2n, random, most - 1n, most];
  const values = new Set([...wanted, ...BORDERS].filter((value) => value >= 0n && value <= most));
  values.delete(old);
  return [...values].map((value) => {
    const bytes = Buffer.alloc(16);
    bytes.writeBigUInt64LE(value, 0);
    return bytes.subarray(0, present.length);
  });
}

/** Identities: none, all, nearly this one, any, and those of others that are there. */
function identityValues(present: Buffer, seed: number, others: readonly Buffer[]): Buffer[] {
  const nearly = Buffer.from(present);
  nearly[5] = (nearly[5] ?? 0) ^ 4;
  const length = present.length;
  const values = [Buffer.alloc(length), Buffer.alloc(length, 0xff), nearly, noise(seed, length), ...others];
  return values.filter((value) => value.length === length && !value.equals(present));
}

const uuidOf = (hex: string) => Buffer.from(hex.replaceAll('-', ''), 'hex');

/** All structures of a sidecar. Of entries, those that are set and the first that is not. */
export async function placesOf(scene: Scene): Promise<Place[]> {
  const pathOf = (name: string) => scene.paths.get(name) ?? assert.fail(`no file of ${name}`);
  const state = { ...STATE, what: 'state', path: pathOf('state'), offsetBytes: 0 };
  const places: Place[] = [{ ...state, alsoCovered: Buffer.alloc(0) }];
  for (const name of NAMES) {
    const path = pathOf(name);
    const bytes = await contentOf(scene.host, path);
    const plain = { path, alsoCovered: Buffer.alloc(0) };
    places.push({ ...STORE_HEADER, ...plain, what: `${name}: header` });
    for (const offsetBytes of FLUSH_RECORD.offsetsBytes) {
      places.push({ ...FLUSH_RECORD, ...plain, what: `${name}: record at ${offsetBytes}`, offsetBytes });
    }
    const { storeUuid } = STORE_HEADER.fields;
    const uuid = bytes.subarray(storeUuid.at, storeUuid.at + storeUuid.bytes);
    const { tableOffsetBytes } = shapeOf(scene, name);
    let unset = 0;
    for (let cluster = 0; cluster * CLUSTER_BYTES < IMAGE_BYTES; cluster += 1) {
      const offsetBytes = tableOffsetBytes + cluster * ENTRY.sizeBytes;
      const isSet = bytes.readBigUInt64LE(offsetBytes + ENTRY.fields.check.at) !== 0n;
      if (!isSet) unset += 1;
      if (!isSet && unset > 1) continue;
      const index = Buffer.alloc(8);
      index.writeUInt32LE(cluster);
      const covered = { path, alsoCovered: Buffer.concat([index, uuid]) };
      places.push({ ...ENTRY, ...covered, what: `${name}: entry of cluster ${cluster}`, offsetBytes });
    }
  }
  return places;
}

/** Puts a value into a field, and the check right unless that is the field. */
function put(place: Place, name: string, value: Buffer): Mutation['spoil'] {
  return async (host: MemoryHost) => {
    const content = await contentOf(host, place.path);
    const structure = content.subarray(place.offsetBytes, place.offsetBytes + place.sizeBytes);
    const { check } = place.fields;
    assert.ok(check !== undefined);
    value.copy(structure, place.fields[name]?.at ?? assert.fail(name));
    if (name !== 'check') {
      const covered = Buffer.concat([structure.subarray(0, check.at), place.alsoCovered]);
      structure.writeBigUInt64LE(xxh64(covered), check.at);
    }
    await setContent(host, place.path, content);
  };
}

/** Each field of a place with each of its values. */
export async function fieldMutations(scene: Scene, place: Place, seed: number): Promise<Mutation[]> {
  const content = await contentOf(scene.host, place.path);
  const catalog: { uuid: string; snapshots: { uuid: string }[] } = JSON.parse(
    (await contentOf(scene.host, scene.paths.get('catalog.json') ?? '')).toString(),
  );
  const uuids = [catalog.uuid, ...catalog.snapshots.map(({ uuid }) => uuid)].map(uuidOf);
  const magics = [STORE_HEADER.magicText, STATE.magicText, 'imgsnapZ'].map((text) => Buffer.from(text));
  return Object.entries(place.fields).flatMap(([name, { at, bytes }]) => {
    const present = content.subarray(place.offsetBytes + at, place.offsetBytes + at + bytes);
    const isNumber = bytes <= 8 && name !== 'magic';
    const values = isNumber
      ? numberValues(present, seed + at)
      : identityValues(present, seed + at, [...uuids, ...magics]);
    return values.map((value) => ({
      what: `${place.what}: ${name} ${isNumber ? `0x${Buffer.from(value).reverse().toString('hex')}` : value.toString('hex')}`,
      spoil: put(place, name, value),
    }));
  });
}
