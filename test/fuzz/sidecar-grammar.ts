/** Edits of a sidecar by chance: fields by the layout, members by the catalog's JSON, with the values that decoders fear. */
import type { Scene } from '../damage/scene.ts';
import { type Chance, mutateList } from './chance.ts';
import { type Edit, type JsonPath, jsonAt, wholeFiles } from './sidecar-edits.ts';
import { PARTS, SHAPE } from './sidecar-parts.ts';

const U64_VALUES = [
  ...[0n, 1n, 2n, 3n, 7n, 10n, 11n, 12n, 4095n, 4096n, 4097n, 8192n, 65_536n, 2n ** 24n, 2n ** 26n],
  ...[2n ** 26n + 1n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 47n, 2n ** 50n - 1n, 2n ** 50n],
  ...[2n ** 50n + 1n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n],
];

const JSON_VALUES: readonly unknown[] = [
  ...[null, true, false, 0, -1, -0, 0.5, 1, 2, 3, 11, 4095, 4096, 8192, 5000, 65_536, 2 ** 24, 2 ** 26],
  ...[2 ** 26 + 1, 2 ** 31, 2 ** 32, 2 ** 50 - 1, 2 ** 50, 2 ** 50 + 1, 2 ** 53 - 1, 2 ** 53, 1e308],
  ...[
    '',
    ' ',
    '.',
    '..',
    '/',
    'a',
    'b',
    'c',
    'd',
    'z'.repeat(128),
    'z'.repeat(129),
    '\0',
    'a/b',
    '../precious',
  ],
  ...['/precious', '/disk.img', '/disk.img.snap', '/disk.img.snap/state', 'state', 'catalog.json', 'reserve'],
  ...[
    '__proto__',
    'constructor',
    'toString',
    '\ud800',
    '\u2028',
    'ä',
    'valid',
    'modified',
    'invalid',
    'refuse',
  ],
  ...[
    'invalidate',
    '2026-11-20T07:17:31Z',
    '2026-02-30T00:00:00Z',
    '9999-12-31T23:59:59.9Z',
    'xxh64:',
    'never',
  ],
  ...[
    'xxh64:0000000000000000',
    '00000000-0000-0000-0000-000000000000',
    '0000000000000000',
    'imgsnap catalog',
  ],
  ...[
    [],
    {},
    [[]],
    [null],
    { reason: 'full', time: '2026-11-20T07:17:31Z' },
    { batch: 0, count: 0, xor: '0' },
  ],
  { batch: 0, count: 0, xor: '0000000000000000' },
];

/** Members that are often absent: to be put where they do not stand. */
const OPTIONAL = ['hidden', 'ending', 'maxSize', 'label', 'digest', 'sealed', '__proto__'];
const FILES = ['state', 'catalog.json', 'reserve', 'a', 'b', 'c'];
const MOST_BYTES = 1 << 18;

/** A value for a field of so many bytes: extreme, near the old one, or any. */
function fieldHex(chance: Chance, old: Buffer): string {
  const bytes = Buffer.from(old);
  const at = chance.below(bytes.length);
  switch (chance.below(6)) {
    case 0:
    case 5: {
      const value = Buffer.alloc(Math.max(8, bytes.length));
      value.writeBigUInt64LE(chance.pick(U64_VALUES));
      return value.toString('hex', 0, bytes.length);
    }
    case 1:
      bytes[at] = (bytes[at] ?? 0) ^ (1 << chance.below(8));
      return bytes.toString('hex');
    case 2:
      bytes[0] = (bytes[0] ?? 0) + chance.pick([-2, -1, 1, 2, 8]);
      return bytes.toString('hex');
    case 3:
      return bytes.fill(chance.pick([0, 0xff])).toString('hex');
    default:
      return chance.bytes(bytes.length).toString('hex');
  }
}

/** `entry` for `b.entry7`. */
const kindOfPart = (name: string) => name.replace(/^\w\.|[AB]$|\d+$/g, '');
const KINDS_OF_PARTS = [...new Set([...PARTS.keys()].map(kindOfPart))];

/** Every way into a JSON value. */
function pathsOf(node: unknown, path: JsonPath = []): JsonPath[] {
  if (typeof node !== 'object' || node === null) return [path];
  return [
    path,
    ...Object.keys(node).flatMap((key) => pathsOf(jsonAt(node, [key]), [...path, keyOf(node, key)])),
  ];
}

const keyOf = (holder: object, key: string) => (Array.isArray(holder) ? Number(key) : key);

export class EditGrammar {
  readonly #scene: Scene;
  readonly #paths: readonly JsonPath[];

  constructor(scene: Scene) {
    this.#scene = scene;
    const catalog = wholeFiles(scene).get('catalog.json')?.toString() ?? '';
    this.#paths = pathsOf(JSON.parse(catalog)).filter((path) => path.length > 0);
  }

  make(chance: Chance): Edit {
    const what = chance.below(16);
    const file = chance.pick(FILES);
    if (what < 7) return this.#field(chance);
    if (what < 11) return this.#json(chance);
    if (what === 11) {
      const at = chance.once(2) ? chance.below(600) : chance.below(SHAPE.dataOffsetBytes + 50_000);
      return { do: 'bytes', file, at, hex: chance.bytes(1 + chance.below(8)).toString('hex') };
    }
    if (what === 12) return this.#text(chance);
    if (what === 13) return { do: 'older', file, step: chance.below(this.#scene.history.length) };
    if (what === 14) {
      const sizes = [
        0, 1, 100, 511, 512, 4096, 4224, 8192, 8319, 8320, 16_384, 16_386, 20_480, 20_500, 28_672,
      ];
      const sizeBytes = chance.once(3) ? chance.below(MOST_BYTES) : chance.pick(sizes);
      return { do: 'size', file, sizeBytes };
    }
    return chance.once(2) ? { do: 'swap', file, other: chance.pick(FILES) } : { do: 'remove', file };
  }

  change(edits: readonly Edit[], chance: Chance): Edit[] {
    return mutateList(
      edits,
      chance,
      () => this.make(chance),
      (edit) => this.#changeOne(edit, chance),
    );
  }

  #changeOne(edit: Edit, chance: Chance): Edit {
    if ('mend' in edit && chance.once(4)) return { ...edit, mend: !edit.mend };
    if (edit.do === 'field') return { ...edit, hex: fieldHex(chance, Buffer.from(edit.hex, 'hex')) };
    if (edit.do === 'json')
      return { do: 'json', path: edit.path, mend: edit.mend, ...this.#newValue(chance) };
    if (edit.do === 'size')
      return { ...edit, sizeBytes: Math.max(0, edit.sizeBytes + chance.below(65) - 32) };
    return this.make(chance);
  }

  #field(chance: Chance): Edit {
    // Every kind as often as the others, though there are many entries and one state.
    const kind = chance.pick(KINDS_OF_PARTS);
    const [name, part] = chance.pick([...PARTS].filter(([each]) => kindOfPart(each) === kind));
    const [field, { at, bytes }] = chance.pick(Object.entries(part.fields));
    // What stands in another one of its kind is right, but not here.
    const others = [...PARTS].filter(([each]) => kindOfPart(each) === kind).map(([, each]) => each);
    const from = chance.once(6) ? chance.pick(others) : part;
    const source = wholeFiles(this.#scene).get(from.file) ?? Buffer.alloc(0);
    const old = Buffer.alloc(bytes);
    source.subarray(from.at + at, from.at + at + bytes).copy(old);
    const hex = from === part ? fieldHex(chance, old) : old.toString('hex');
    return { do: 'field', part: name, field, hex, mend: !chance.once(3) };
  }

  #json(chance: Chance): Edit {
    let path = chance.pick(this.#paths);
    if (chance.once(4)) path = ['snapshots', chance.below(3), chance.pick(OPTIONAL)];
    else if (chance.once(12)) path = ['snapshots', chance.below(6)];
    return { do: 'json', path, mend: !chance.once(4), ...this.#newValue(chance) };
  }

  #newValue(chance: Chance): { value?: unknown; from?: JsonPath } {
    if (chance.once(8)) return {};
    return chance.once(3) ? { from: chance.pick(this.#paths) } : { value: chance.pick(JSON_VALUES) };
  }

  #text(chance: Chance): Edit {
    const length = wholeFiles(this.#scene).get('catalog.json')?.length ?? 0;
    const text = chance.pick([
      '[',
      '{"a":',
      ' ',
      '\n',
      '"',
      '\\u0000',
      ',',
      '0',
      '1e999',
      '\ufeff',
      '}',
      'xxh64:',
    ]);
    const times = chance.once(4) ? chance.pick([100, 10_000]) : 1 + chance.below(3);
    return {
      do: 'text',
      at: chance.below(length + 1),
      drop: chance.below(20),
      text,
      times,
      mend: chance.once(2),
    };
  }
}
