/**
 * Every key of `catalog.json` with every value that somebody could mean harm by, and the check made right again. What
 * there is to spoil is found by walking the catalog itself.
 */
import assert from 'node:assert/strict';
import { digestText, xxh64 } from '../../core/base/xxh64.ts';
import type { MemoryHost } from '../sim/memory-host.ts';
import { contentOf, setContent } from './copy-machine.ts';
import type { Mutation } from './examination.ts';
import { type Scene, SIDECAR } from './scene.ts';

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
type JsonObject = { [key: string]: Json };

const NO_CHECK = 'xxh64:0000000000000000';
/** Stands for text that no value in JavaScript becomes. */
const RAW = '@raw@';
const DEPTH = 20_000;
/** What JSON can say and a number cannot keep, or nobody expects. */
const RAW_TEXTS: readonly (readonly [what: string, text: string])[] = [
  ['2^53+1', '9007199254740993'],
  ['2^64-1', '18446744073709551615'],
  ['1e999', '1e999'],
  ['-0', '-0'],
  ['1.0', '1.0'],
  ['deep nesting', `${'['.repeat(DEPTH)}${']'.repeat(DEPTH)}`],
  ['deep objects', `${'{"a":'.repeat(DEPTH)}1${'}'.repeat(DEPTH)}`],
  ['__proto__', '{"__proto__":{"length":3},"constructor":1}'],
];
const ANYWHERE: readonly Json[] = [
  null,
  true,
  false,
  0,
  1,
  -1,
  0.5,
  2 ** 26,
  2 ** 31,
  2 ** 32,
  2 ** 50 - 1,
  2 ** 50,
  2 ** 50 + 1,
  2 ** 53 - 1,
  1e300,
  '',
  '0',
  ' ',
  'x',
  'x'.repeat(1 << 16),
  '\u0000',
  'line\nline\u001b[2J',
  '\ud800',
  'valid',
  'invalid',
  'modified',
  'refuse',
  'xxh64:0000000000000000',
  '0000000000000000',
  '00000000-0000-0000-0000-000000000000',
  '2026-02-30T00:00:00Z',
  '0001-01-01T00:00:00Z',
  [],
  {},
  [[]],
];
/** What a store's path may lead to: out of the sidecar, to what is not a store, to files of the sidecar itself. */
const STORE_PATHS: readonly string[] = [
  '.',
  '..',
  '../precious',
  './state',
  'state',
  'catalog.json',
  'catalog.json.tmp',
  'reserve',
  'directory.cow',
  'link.cow',
  'loop.cow',
  'x/y.cow',
  'nothing.cow',
  'a\u0000b.cow',
  `${'x'.repeat(300)}.cow`,
  '/',
  '/precious',
  '/disk.img',
  `${SIDECAR}`,
  `${SIDECAR}/state`,
  '/other.img.snap/state',
  `/${'x/'.repeat(5000)}y`,
  '/disk.img.snap/../precious',
];

interface Path {
  readonly holder: JsonObject;
  readonly key: string;
  readonly what: string;
}

const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Every member, with where it stands. */
function members(value: Json, what: string): Path[] {
  if (Array.isArray(value)) return value.flatMap((item, index) => members(item, `${what}[${index}]`));
  if (!isObject(value)) return [];
  return Object.entries(value).flatMap(([key, item]) => [
    { holder: value, key, what: `${what}.${key}` },
    ...members(item, `${what}.${key}`),
  ]);
}

/** The text as we write it, with the check that belongs to it. */
export function sealed(catalog: Json, raw = ''): Buffer {
  if (isObject(catalog) && catalog.check !== undefined) catalog.check = NO_CHECK;
  const text = `${JSON.stringify(catalog, null, 2).replace(`"${RAW}"`, raw)}\n`;
  const at = text.lastIndexOf(NO_CHECK);
  if (at < 0) return Buffer.from(text);
  const check = digestText(xxh64(Buffer.from(text)));
  return Buffer.from(text.slice(0, at) + check + text.slice(at + NO_CHECK.length));
}

const catalogPath = `${SIDECAR}/catalog.json`;

/** A catalog that has every member that there is. */
async function fullCatalog(scene: Scene): Promise<JsonObject> {
  const catalog: Json = JSON.parse((await contentOf(scene.host, catalogPath)).toString());
  assert.ok(isObject(catalog) && Array.isArray(catalog.snapshots));
  const [first, second] = catalog.snapshots;
  assert.ok(isObject(first) && isObject(second));
  Object.assign(first, { label: 'a remark', maxSize: 2 ** 40, hidden: false });
  second.ending = { reason: 'none', time: '2026-11-20T07:17:31Z', cluster: 1 };
  const { check, ...rest } = catalog;
  return { ...rest, check: check ?? null };
}

/** Does one thing to a copy of the catalog, and to the sidecar what its values lead to. */
function change(
  base: JsonObject,
  what: string,
  alter: (catalog: JsonObject) => void,
  raw?: string,
): Mutation {
  let bytes: Buffer | undefined;
  const altered = () => {
    const catalog = structuredClone(base);
    alter(catalog);
    return sealed(catalog, raw);
  };
  return {
    what: `catalog: ${what}`,
    mayFailWith: 'no-space',
    spoil: async (host: MemoryHost) => {
      bytes ??= altered();
      await setContent(host, catalogPath, bytes);
      await host.files.makeDirectory(`${SIDECAR}/directory.cow`, 0o755);
      host.files.makeSymlink('/precious', `${SIDECAR}/link.cow`);
      host.files.makeSymlink('loop.cow', `${SIDECAR}/loop.cow`);
    },
  };
}

/** Finds in a copy what was found in the original. */
function inCopy(base: JsonObject, catalog: JsonObject, { what }: Path): Path {
  const index = members(base, '').findIndex((each) => each.what === what);
  return members(catalog, '')[index] ?? assert.fail(what);
}

function shown(value: Json): string {
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 50)}… (${text.length})` : text;
}

/** Each member with each value, without it, twice, and with the values of its neighbours. */
export async function memberMutations(scene: Scene): Promise<Mutation[]> {
  const base = await fullCatalog(scene);
  const all = members(base, '');
  return all.flatMap((path) => {
    const present = path.holder[path.key] ?? null;
    const neighbours = all
      .filter(({ key }) => key === path.key)
      .map(({ holder, key }) => holder[key] ?? null);
    const near = typeof present === 'number' ? [present - 1, present + 1, present * 2] : [];
    const paths = path.key === 'store' ? STORE_PATHS : [];
    const values = [...ANYWHERE, ...neighbours, ...near, ...paths];
    const set = (value: Json) => (catalog: JsonObject) => {
      const { holder, key } = inCopy(base, catalog, path);
      holder[key] = structuredClone(value);
    };
    const different = values.filter((value) => JSON.stringify(value) !== JSON.stringify(present));
    return [
      ...different.map((value) => change(base, `${path.what} = ${shown(value)}`, set(value))),
      ...RAW_TEXTS.map(([what, text]) => change(base, `${path.what} = ${what}`, set(RAW), text)),
      change(base, `without ${path.what}`, (catalog) => {
        const { holder, key } = inCopy(base, catalog, path);
        delete holder[key];
      }),
    ];
  });
}

/**
 * What happens to the whole of it: order, repetition, length, strangers. Not that one in the middle is left out: with the
 * check right that is a forgery, which no check without a key can tell from a removal.
 */
export async function wholeMutations(scene: Scene): Promise<Mutation[]> {
  const base = await fullCatalog(scene);
  const list = (catalog: JsonObject) => {
    const { snapshots } = catalog;
    assert.ok(Array.isArray(snapshots));
    return snapshots;
  };
  const made: Mutation[] = [];
  const add = (what: string, alter: (catalog: JsonObject) => void) => made.push(change(base, what, alter));
  add('as it is', () => undefined);
  add('reversed', (catalog) => list(catalog).reverse());
  add('a snapshot twice', (catalog) => list(catalog).push(structuredClone(list(catalog)[0] ?? null)));
  add('the newest twice', (catalog) => list(catalog).push(structuredClone(list(catalog)[2] ?? null)));
  add('two sealed only', (catalog) => list(catalog).pop());
  add('without the oldest', (catalog) => list(catalog).shift());
  add('none', (catalog) => list(catalog).splice(0));
  add('unknown members', (catalog) => Object.assign(catalog, { zz: 1, toString: 'x' }));
  for (const [key, count] of [
    ['snapshots', 10_001],
    ['members', 20_000],
  ] as const) {
    add(`${count} ${key}`, (catalog) => {
      const first = list(catalog)[0];
      assert.ok(isObject(first));
      if (key === 'members') for (let at = 0; at < count; at += 1) first[`m${at}`] = at;
      else catalog.snapshots = Array.from({ length: count }, () => first);
    });
  }
  const rewrite = (what: string, text: (sound: string) => string) =>
    made.push({
      what: `catalog: ${what}`,
      spoil: (host) => setContent(host, catalogPath, Buffer.from(text(sealed(base).toString()))),
    });
  rewrite('17 MiB of blanks behind it', (sound) => sound + ' '.repeat(17 << 20));
  rewrite('8 MiB of open brackets', () => '['.repeat(8 << 20));
  rewrite('nothing but its check', () => `{\n  "check": "${NO_CHECK}"\n}\n`);
  rewrite('a list', (sound) => `[${sound}]`);
  rewrite('null', () => 'null\n');
  rewrite('a number', () => '1');
  rewrite('a byte order mark', (sound) => `\ufeff${sound}`);
  rewrite('two of them', (sound) => sound + sound);
  return made;
}
