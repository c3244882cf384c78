/** The text of `catalog.json`, and the checks that stand between a file and our belief in it. */
import { SnapError } from '../base/errors.ts';
import { isRecordedTime } from '../base/time.ts';
import { isUuid } from '../base/uuid.ts';
import { digestText, xxh64 } from '../base/xxh64.ts';
import type { Catalog, Ending, Leftover, SnapshotRecord, Spill } from './catalog.ts';
import { MAX_CATALOG_BYTES, MAX_SNAPSHOT_COUNT } from './catalog.ts';
import type { Figure } from './figure.ts';
import {
  FORMAT_VERSION,
  isClusterSize,
  MAX_CLUSTER_BYTES,
  MAX_CLUSTER_COUNT,
  MAX_SEQUENCE,
} from './layout.ts';
import { MAX_PART_INDEX, type Part, partUuid } from './part.ts';

const FORMAT_NAME = 'imgsnap catalog';
const NO_CHECK = 'xxh64:0000000000000000';
const CHECK_PATTERN = /"check": "(xxh64:[0-9a-f]{16})"\n\}\n$/;
/** No shorter than what the pattern matches. */
const TAIL_LENGTH = 64;
const NAME_PATTERN = /^[A-Za-z0-9][A-Za-z0-9_.:+-]{0,127}$/;
const INSIDE_STORE_PATTERN = /^[^/\0]+\.cow$/;
const DIGEST_PATTERN = /^xxh64:[0-9a-f]{16}$/;

function figureJson(figure: Figure): object {
  const hex = (half: number) => half.toString(16).padStart(8, '0');
  return { batch: figure.batch, count: figure.count, xor: hex(figure.xorHigh) + hex(figure.xorLow) };
}

function recordJson(record: SnapshotRecord): object {
  const { ending } = record;
  return {
    name: record.name,
    uuid: record.uuid,
    number: record.number,
    created: record.created,
    size: record.sizeBytes,
    candidates: record.hasCandidates,
    trust: record.trust,
    ending: ending && { reason: ending.reason, time: ending.time, cluster: ending.clusterIndex },
    hidden: record.hidden || undefined,
    maxSize: record.maxSizeBytes,
    onFull: record.onFull,
    transient: record.transient,
    label: record.label,
    digest: record.digest,
    store: record.storePath,
    clone: record.isClone,
    spill: record.spill && { maxFile: record.spill.maxFileBytes, paths: record.spill.paths },
    part: record.part && { of: record.part.ofUuid, index: record.part.index },
    sealed: record.sealed && figureJson(record.sealed),
  };
}

export function encodeCatalog(catalog: Catalog): Buffer {
  const text = `${JSON.stringify(
    {
      format: FORMAT_NAME,
      version: FORMAT_VERSION,
      uuid: catalog.sidecarUuid,
      generation: catalog.generation,
      clusterSize: catalog.clusterSizeBytes,
      nextNumber: catalog.nextNumber,
      snapshots: catalog.snapshots.map(recordJson),
      leftovers: catalog.leftovers?.length ? catalog.leftovers : undefined,
      check: NO_CHECK,
    },
    null,
    2,
  )}\n`;
  const check = digestText(xxh64(Buffer.from(text)));
  return Buffer.from(text.replace(CHECK_PATTERN, (end) => end.replace(NO_CHECK, check)));
}

type Json = Readonly<Record<string, unknown>>;

/** Picks typed members out of untrusted JSON; every refusal names the member. */
class Members {
  readonly #json: Json;
  readonly #where: string;
  constructor(value: unknown, where: string) {
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw new TypeError(`${where}: no object`);
    this.#json = value as Json;
    this.#where = where;
  }

  #wrong(name: string): TypeError {
    return new TypeError(`${this.#where}.${name}`);
  }

  has(name: string): boolean {
    return this.#json[name] !== undefined;
  }

  text(name: string, accept: (text: string) => boolean): string {
    const value = this.#json[name];
    if (typeof value !== 'string' || !accept(value)) throw this.#wrong(name);
    return value;
  }

  number(name: string, most: number): number {
    const value = this.#json[name];
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0 || value > most)
      throw this.#wrong(name);
    return value;
  }

  flag(name: string): boolean {
    const value = this.#json[name] ?? false;
    if (typeof value !== 'boolean') throw this.#wrong(name);
    return value;
  }

  oneOf<T extends string>(name: string, values: readonly T[]): T {
    const value = values.find((each) => each === this.#json[name]);
    if (value === undefined) throw this.#wrong(name);
    return value;
  }

  list(name: string): readonly unknown[] {
    const value = this.#json[name];
    if (!Array.isArray(value)) throw this.#wrong(name);
    return value;
  }

  object(name: string): Members {
    return new Members(this.#json[name], `${this.#where}.${name}`);
  }
}

function parseFigure(members: Members): Figure {
  const xor = members.text('xor', (text) => /^[0-9a-f]{16}$/.test(text));
  return {
    batch: members.number('batch', MAX_SEQUENCE),
    count: members.number('count', MAX_CLUSTER_COUNT),
    xorHigh: Number.parseInt(xor.slice(0, 8), 16),
    xorLow: Number.parseInt(xor.slice(8), 16),
  };
}

function parseEnding(members: Members): Ending {
  return {
    reason: members.text('reason', isOneLine),
    time: members.text('time', isRecordedTime),
    clusterIndex: members.has('cluster') ? members.number('cluster', MAX_CLUSTER_COUNT) : undefined,
  };
}

function parseSpill(members: Members): Spill {
  const paths = members.list('paths').map((each) => {
    if (typeof each !== 'string' || !each.startsWith('/') || each.includes('\0'))
      throw new TypeError('spill.paths');
    return each;
  });
  if (paths.length > MAX_PART_INDEX) throw new TypeError('spill.paths');
  const maxFileBytes = members.has('maxFile')
    ? members.number('maxFile', Number.MAX_SAFE_INTEGER)
    : undefined;
  return { maxFileBytes, paths };
}

function parseLeftover(value: unknown): Leftover {
  const members = new Members(value, 'leftovers');
  const path = members.text('path', (text) => text.startsWith('/') && isStorePath(text));
  return { uuid: members.text('uuid', isUuid), path };
}

function parsePart(members: Members): Part {
  return { ofUuid: members.text('of', isUuid), index: members.number('index', MAX_PART_INDEX) };
}

/**
 * An absolute path, or the name of a store in the sidecar: nothing that climbs, no NUL, and no other file of it, since
 * with its snapshot the file is removed, which must never be `state` or the catalog.
 */
function isStorePath(text: string): boolean {
  return text.startsWith('/') ? !text.includes('\0') : INSIDE_STORE_PATTERN.test(text);
}

/** What may be printed to a terminal. */
function isOneLine(text: string): boolean {
  return !/\p{Cc}/u.test(text);
}

function parseRecord(value: unknown, where: string): SnapshotRecord {
  const members = new Members(value, where);
  return {
    name: members.text('name', (text) => NAME_PATTERN.test(text)),
    uuid: members.text('uuid', isUuid),
    number: members.number('number', MAX_SEQUENCE),
    created: members.text('created', isRecordedTime),
    sizeBytes: members.number('size', Number.MAX_SAFE_INTEGER),
    hasCandidates: members.flag('candidates') || undefined,
    trust: members.oneOf('trust', ['valid', 'modified', 'invalid']),
    ending: members.has('ending') ? parseEnding(members.object('ending')) : undefined,
    hidden: members.flag('hidden'),
    maxSizeBytes: members.has('maxSize') ? members.number('maxSize', Number.MAX_SAFE_INTEGER) : undefined,
    onFull: members.oneOf('onFull', ['invalidate', 'refuse']),
    transient: members.has('transient') ? members.text('transient', isUuid) : undefined,
    label: members.has('label') ? members.text('label', () => true) : undefined,
    digest: members.has('digest') ? members.text('digest', (text) => DIGEST_PATTERN.test(text)) : undefined,
    storePath: members.text('store', isStorePath),
    isClone: members.flag('clone') || undefined,
    spill: members.has('spill') ? parseSpill(members.object('spill')) : undefined,
    part: members.has('part') ? parsePart(members.object('part')) : undefined,
    sealed: members.has('sealed') ? parseFigure(members.object('sealed')) : undefined,
  };
}

/** What must hold between the records: an order, no two of one kind, one store that receives. */
function checkTogether(catalog: Catalog): void {
  const seen = new Set<string>();
  const once = (key: string) => {
    if (seen.has(key)) throw new TypeError(`${key} stands twice`);
    seen.add(key);
  };
  let previousNumber = -1;
  for (const record of catalog.snapshots) {
    once(`uuid ${record.uuid}`);
    once(`store ${record.storePath}`);
    if (!record.hidden) once(`name ${record.name}`);
    if (record.part !== undefined) checkPart(record, record.part);
    const isInOrder = record.part !== undefined || record.number > previousNumber;
    if (!isInOrder || record.number >= catalog.nextNumber) throw new TypeError('number');
    if (record.part === undefined) previousNumber = record.number;
    const newest = record === catalog.snapshots.at(-1);
    if (newest !== (record.sealed === undefined)) throw new TypeError(`snapshot ${record.name}: sealed`);
    if (record.sizeBytes > catalog.clusterSizeBytes * MAX_CLUSTER_COUNT)
      throw new TypeError(`snapshot ${record.name}: size`);
  }
}

/** A part is what nobody reads as a snapshot; its UUID tells which one it is. */
function checkPart(record: SnapshotRecord, part: Part): void {
  const isPart = record.hidden && record.trust === 'invalid' && record.storePath.startsWith('/');
  if (!isPart || part.index === 0 || record.uuid !== partUuid(part))
    throw new TypeError(`snapshot ${record.name}: part`);
}

function parseCatalog(members: Members): Catalog {
  const records = members.list('snapshots');
  if (records.length > MAX_SNAPSHOT_COUNT) throw new TypeError('too many snapshots');
  const catalog: Catalog = {
    sidecarUuid: members.text('uuid', isUuid),
    generation: members.number('generation', MAX_SEQUENCE),
    clusterSizeBytes: members.number('clusterSize', MAX_CLUSTER_BYTES),
    nextNumber: members.number('nextNumber', MAX_SEQUENCE),
    snapshots: records.map((value, index) => parseRecord(value, `snapshots[${index}]`)),
    leftovers: members.has('leftovers') ? members.list('leftovers').map(parseLeftover) : undefined,
  };
  if (!isClusterSize(catalog.clusterSizeBytes)) throw new TypeError('clusterSize');
  checkTogether(catalog);
  return catalog;
}

function damaged(path: string, what: string, cause?: unknown): SnapError {
  return new SnapError('damage', `${path}: ${what}`, {
    path,
    cause,
    hint: 'restore the whole sidecar from a backup; the image itself is as it was last written',
  });
}

/** The text, with its check proven: nothing else is parsed, which may take long and much memory for what is no catalog. */
function checkedText(bytes: Buffer, path: string): string {
  if (bytes.length > MAX_CATALOG_BYTES) throw damaged(path, 'the catalog is larger than any of ours');
  const text = bytes.toString('utf8');
  const check = CHECK_PATTERN.exec(text.slice(-TAIL_LENGTH))?.[1];
  if (check === undefined) throw damaged(path, 'the catalog is torn or overwritten');
  const end = text.slice(-TAIL_LENGTH).replace(CHECK_PATTERN, (found) => found.replace(check, NO_CHECK));
  if (check !== digestText(xxh64(Buffer.from(text.slice(0, -TAIL_LENGTH) + end)))) {
    throw damaged(path, 'the catalog does not match its check');
  }
  return text;
}

/**
 * The catalog in `bytes`.
 * @throws `damage` naming what is wrong; `newer-version`
 */
export function decodeCatalog(bytes: Buffer, path: string): Catalog {
  const text = checkedText(bytes, path);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    // What the parser says quotes the file, which may be anything.
    throw damaged(path, 'the catalog is torn or overwritten');
  }
  try {
    const members = new Members(json, 'catalog');
    members.oneOf('format', [FORMAT_NAME]);
    if (members.number('version', MAX_SEQUENCE) > FORMAT_VERSION) {
      throw new SnapError('newer-version', `${path}: made by a newer imgsnap`, {
        path,
        hint: 'use that version',
      });
    }
    return parseCatalog(members);
  } catch (error) {
    if (error instanceof TypeError) throw damaged(path, `the catalog is absurd (${error.message})`, error);
    throw error;
  }
}
