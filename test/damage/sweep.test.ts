/** Every file of a sidecar spoilt in every small way: no wrong byte is ever passed off as right, and nothing else breaks. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ENTRY, FLUSH_RECORD, STATE, STORE_HEADER } from '../../core/store/layout.ts';
import type { MemoryHost } from '../sim/memory-host.ts';
import { noise } from '../support/image.ts';
import { contentOf, setContent } from './copy-machine.ts';
import { ALL_BITS, checkUnspoilt, type Mutation, SEED, sweep } from './examination.ts';
import { KINDS, makeScene, NAMES, type Scene, shapeOf } from './scene.ts';

const FOREIGN_SEED = 6;
const HUGE_BYTES = 2 ** 40;

async function change(host: MemoryHost, path: string, alter: (bytes: Buffer) => Buffer): Promise<void> {
  await setContent(host, path, alter(await contentOf(host, path)));
}

function flip(name: string, path: string, at: number, bit: number): Mutation {
  return {
    what: `${name}: bit ${bit} of byte ${at}`,
    spoil: async (host) => {
      const file = await host.files.open(path, 'update');
      const byte = Buffer.alloc(1);
      await file.read(byte, at);
      byte[0] = (byte[0] ?? 0) ^ (1 << bit);
      await file.write(byte, at);
      await file.close();
    },
  };
}

/** One bit of every byte of a range, or of every `stride`th. */
function flips(
  name: string,
  path: string,
  range: readonly [at: number, bytes: number],
  stride = 1,
): Mutation[] {
  const found: Mutation[] = [];
  const [start, bytes] = range;
  for (let at = start; at < start + bytes; at += ALL_BITS ? 1 : stride) {
    for (let bit = 0; bit < 8; bit += 1) {
      if (ALL_BITS || bit === (Math.floor(at / stride) * 5 + SEED) % 8) found.push(flip(name, path, at, bit));
    }
  }
  return found;
}

/** Where nothing else hides what is wrong, it is looked for most closely. Odd, so that all bits get their turn. */
function sparseness({ kind }: Scene): number {
  return kind === 'without digests' ? 3 : 18;
}

function pathOf(scene: Scene, name: string): string {
  const path = scene.paths.get(name);
  assert.ok(path !== undefined, `no file of ${name}`);
  return path;
}

function sizeOf(scene: Scene, name: string): number {
  return scene.history.at(-1)?.get(name)?.length ?? 0;
}

function storeFlips(scene: Scene, name: string): Mutation[] {
  const sparse = sparseness(scene);
  const path = pathOf(scene, name);
  const shape = shapeOf(scene, name);
  const { candidateOffsetBytes, neededOffsetBytes, tableOffsetBytes } = shape;
  const written = candidateOffsetBytes < tableOffsetBytes ? [candidateOffsetBytes, neededOffsetBytes] : [];
  const tableBytes = 12 * ENTRY.sizeBytes;
  return [
    ...flips(name, path, [0, 120], 5 * sparse),
    ...flips(name, path, [120, STORE_HEADER.sizeBytes - 120], 64 * sparse),
    ...FLUSH_RECORD.offsetsBytes.flatMap((at) => flips(name, path, [at, FLUSH_RECORD.sizeBytes], 5 * sparse)),
    ...[shape.bitmapOffsetBytes, ...written].flatMap((at) =>
      [0, 1, 2, 3, 4, 5, 6, 7].flatMap((bit) =>
        Array.from({ length: shape.bitmapSizeBytes + 1 }, (_, byte) => flip(name, path, at + byte, bit)),
      ),
    ),
    ...flips(name, path, [shape.tableOffsetBytes, tableBytes], 5 * sparse),
    ...flips(name, path, [shape.dataOffsetBytes, sizeOf(scene, name) - shape.dataOffsetBytes], 1021 * sparse),
  ];
}

/** What happens to a whole file, or a good part of it. */
function roughly(scene: Scene, name: string): Mutation[] {
  const path = pathOf(scene, name);
  const sizeBytes = sizeOf(scene, name);
  const found: Mutation[] = [];
  const add = (what: string, spoil: Mutation['spoil']) => found.push({ what: `${name}: ${what}`, spoil });
  for (let at = 0; at < sizeBytes; at += 512) {
    // Slots, and pages where nothing was ever written, are all alike.
    if (at > 512 && at % 4096 > 512 && sparseness(scene) > 1) continue;
    add(`zeros at ${at}`, (host) =>
      change(host, path, (bytes) => bytes.fill(0, at, Math.min(at + 512, bytes.length))),
    );
  }
  for (const at of [0, 1, 100, 511, 512, 4096, 8192, 16384, 20480, 20600, 24576, 28672, sizeBytes - 1]) {
    if (at >= 0 && at < sizeBytes)
      add(`cut at ${at}`, (host) => change(host, path, (bytes) => bytes.subarray(0, at)));
  }
  for (const more of [1, 100, 4096, 8192]) {
    const longer = (bytes: Buffer) => Buffer.concat([bytes, noise(more, more)]);
    add(`${more} bytes behind it`, (host) => change(host, path, longer));
  }
  add('removed', (host) => host.files.remove(path));
  add('a directory', async (host) => {
    await host.files.remove(path);
    await host.files.makeDirectory(path, 0o755);
  });
  add('a link that leads nowhere', async (host) => {
    await host.files.remove(path);
    host.files.makeSymlink('/nowhere', path);
  });
  for (const keep of [true, false]) {
    add(keep ? 'huge behind its end' : 'huge and empty', async (host) => {
      const file = await host.files.open(path, 'update');
      if (!keep) await file.truncate(0);
      await file.truncate(HUGE_BYTES);
      await file.close();
    });
  }
  scene.history.forEach((copies, step) => {
    const older = copies.get(name);
    if (older !== undefined) add(`as it was after step ${step}`, (host) => setContent(host, path, older));
  });
  return found;
}

/** Files that changed places, and files of another image's sidecar with the same snapshots. */
function strangers(scene: Scene, foreign: Scene): Mutation[] {
  const found: Mutation[] = [];
  const names = ['state', 'catalog.json', ...NAMES];
  for (const name of names) {
    const path = pathOf(scene, name);
    for (const other of names) {
      const bytes = foreign.history.at(-1)?.get(other);
      assert.ok(bytes !== undefined);
      found.push({ what: `${name}: foreign ${other}`, spoil: (host) => setContent(host, path, bytes) });
      if (other <= name) continue;
      const otherPath = pathOf(scene, other);
      const swap = async (host: MemoryHost) => {
        await host.files.rename(path, '/aside');
        await host.files.rename(otherPath, path);
        await host.files.rename('/aside', otherPath);
      };
      found.push({ what: `${name} and ${other} swapped`, spoil: swap });
      const double = async (host: MemoryHost) => setContent(host, path, await contentOf(host, otherPath));
      found.push({ what: `${name}: a copy of ${other}`, spoil: double });
    }
  }
  return found;
}

for (const kind of [...KINDS, 'with candidates'] as const) {
  const scene = await makeScene(SEED, kind);
  const which = kind;

  test(`a sidecar that nobody spoilt, ${which}: all is right`, () => checkUnspoilt(scene));

  for (const name of NAMES) {
    test(`a bit of store ${name} flipped, ${which}`, () => sweep(scene, storeFlips(scene, name)));
  }

  test(`a bit of state flipped, ${which}`, () =>
    sweep(scene, flips('state', pathOf(scene, 'state'), [0, STATE.sizeBytes], 7 * sparseness(scene))));

  test(`a bit of the catalog flipped, ${which}`, () => {
    const range = [0, sizeOf(scene, 'catalog.json')] as const;
    return sweep(scene, flips('catalog.json', pathOf(scene, 'catalog.json'), range, 11 * sparseness(scene)));
  });

  for (const name of ['state', 'catalog.json', 'reserve', ...NAMES]) {
    test(`${name} zeroed in part, cut, grown, replaced or older, ${which}`, () =>
      sweep(scene, roughly(scene, name)));
  }

  test(`files that changed places or are of another image, ${which}`, async () =>
    sweep(scene, strangers(scene, await makeScene(FOREIGN_SEED, kind))));
}
