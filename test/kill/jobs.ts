/** The commands that are killed, chosen by a seed: what each is given, may change, and must answer. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import type { CommandName } from '../support/commands.ts';
import type { ProcessResult } from '../support/process.ts';
import { assertSame, type Effect, type Written } from './model.ts';
import type { Scene } from './scene.ts';

export interface Job {
  readonly recipe: string;
  readonly command: CommandName;
  readonly args: readonly string[];
  readonly stdin?: Buffer;
  readonly effect: Effect;
  /** Looks at what it answered, as far as it came. */
  readonly judge?: (result: ProcessResult, finished: boolean) => void;
}

/** Where a job may be at work, so that two of them at once leave each other's alone. */
export interface Area {
  /** The part of the image, from 0 to 1, that may be written to. */
  readonly from: number;
  readonly to: number;
  /** Snapshots that may be named. */
  readonly names: readonly string[];
  /** Another command runs at the same time. */
  readonly shared: boolean;
}

/** A whole number from 0 to `limit` - 1. */
export type Below = (limit: number) => number;

export interface Recipe {
  readonly weight: number;
  /** Snapshots that must be there. */
  readonly needs?: number;
  /** Means what it says only if nobody else is at work. */
  readonly alone?: boolean;
  readonly make: (scene: Scene, below: Below, area: Area) => Omit<Job, 'recipe'>;
}

const MOST_IMAGE_GROWTH = 1.5;
const MOST_WRITTEN_CLUSTERS = 14;

/** Noise, one byte again and again, zeros: what is copied of it takes a slot, or does not. */
export function content(below: Below, lengthBytes: number): Buffer {
  const bytes = Buffer.alloc(lengthBytes, below(4) === 0 ? 0 : below(256));
  if (below(3) === 0) return bytes;
  for (let at = 0; at + 4 <= lengthBytes; at += 4) bytes.writeUInt32LE(below(2 ** 32), at);
  return bytes;
}

/** Somewhere in the area, some clusters. */
export function anyPlace(
  scene: Scene,
  below: Below,
  { from, to }: Area,
): { offsetBytes: number; lengthBytes: number } {
  const { length } = scene.model.image;
  const startBytes = Math.floor(length * from);
  const room = Math.floor(length * to) - startBytes;
  const offsetBytes = startBytes + below(room);
  const most = Math.min(startBytes + room - offsetBytes, MOST_WRITTEN_CLUSTERS * scene.clusterSizeBytes);
  return { offsetBytes, lengthBytes: 1 + below(most) };
}

function writing(image: string, write: Written, ...options: string[]): Omit<Job, 'recipe'> {
  const args = ['-q', image, '--offset', String(write.offsetBytes), ...options];
  return { command: 'snap-write', args, stdin: write.data, effect: { write } };
}

function plainWrite(...options: string[]): Recipe['make'] {
  return (scene, below, area) => {
    const { offsetBytes, lengthBytes } = anyPlace(scene, below, area);
    return writing(scene.image, { offsetBytes, data: content(below, lengthBytes) }, ...options);
  };
}

/** Some clusters of what is there already, some not. */
const deltaWrite: Recipe['make'] = (scene, below, area) => {
  const { offsetBytes, lengthBytes } = anyPlace(scene, below, area);
  const data = Buffer.from(scene.model.image.subarray(offsetBytes, offsetBytes + lengthBytes));
  for (let count = 1 + below(4); count > 0; count -= 1) {
    const at = below(lengthBytes);
    data.fill(below(256), at, Math.min(lengthBytes, at + 1 + below(scene.clusterSizeBytes)));
  }
  return writing(scene.image, { offsetBytes, data }, '--delta');
};

const zeroWrite: Recipe['make'] = (scene, below, area) => {
  const { offsetBytes, lengthBytes } = anyPlace(scene, below, area);
  const args = ['-q', scene.image, '--offset', String(offsetBytes), '--zero', String(lengthBytes)];
  return { command: 'snap-write', args, effect: { write: { offsetBytes, data: Buffer.alloc(lengthBytes) } } };
};

const extendingWrite: Recipe['make'] = (scene, below) => {
  const { length } = scene.model.image;
  const clusterBytes = scene.clusterSizeBytes;
  const mayGrow = length < MOST_IMAGE_GROWTH * scene.firstSizeBytes;
  const gap = below(3) === 0 && mayGrow ? below(2 * clusterBytes) : 0;
  const offsetBytes = gap > 0 ? length + gap : Math.max(0, length - below(3 * clusterBytes));
  const lengthBytes = mayGrow ? 1 + below(4 * clusterBytes) : length - offsetBytes;
  return writing(scene.image, { offsetBytes, data: content(below, lengthBytes) }, '--extend');
};

const create: Recipe['make'] = (scene, below) => {
  const name = scene.newName();
  const first = scene.model.names.length === 0 ? ['--cluster-size', String(scene.clusterSizeBytes)] : [];
  // Whatever is killed, the boot goes on.
  const transient = below(3) === 0 ? ['--transient'] : [];
  const args = ['-q', `${scene.image}@${name}`, ...first, ...transient];
  return { command: 'snap-create', args, effect: { creates: name } };
};

function remove(choose: (names: readonly string[], below: Below) => readonly string[]): Recipe['make'] {
  return (scene, below, { names }) => {
    const removes = choose(names, below);
    const args = ['-q', ...removes.map((name) => `${scene.image}@${name}`)];
    return { command: 'snap-gc', args, effect: { removes } };
  };
}

const keepLast: Recipe['make'] = (scene, below) => {
  const { names } = scene.model;
  const count = Math.max(1, names.length - 1 - below(2));
  const args = ['-q', scene.image, '--keep-last', String(count)];
  return { command: 'snap-gc', args, effect: { removes: names.slice(0, -count) } };
};

const collect: Recipe['make'] = ({ image }) => ({ command: 'snap-gc', args: ['-q', image], effect: {} });

const plan: Recipe['make'] = ({ image }, _, { names }) => ({
  command: 'snap-gc',
  args: [image, '--keep-last', '1', '--dry-run'],
  effect: {},
  judge: ({ stdout }, finished) => {
    for (const name of finished ? names : []) assert.match(stdout.toString(), new RegExp(`@${name}\\b`));
  },
});

const readToStdout: Recipe['make'] = (scene, below, { names }) => {
  const name = oneOf(names, below);
  const expected = scene.model.snapshots.get(name) ?? Buffer.alloc(0);
  return {
    command: 'snap-read',
    args: [`${scene.image}@${name}`],
    effect: {},
    judge: ({ stdout }, finished) =>
      assertSame(stdout, finished ? expected : expected.subarray(0, stdout.length), `${name} on stdout`),
  };
};

const readToFile: Recipe['make'] = (scene, below, { names }) => {
  const name = oneOf(names, below);
  // One that reads another snapshot beside it has a file of its own.
  const output = `out/copy of ${scene.image}@${name}`;
  const target = scene.work.path(output);
  const expected = scene.model.snapshots.get(name) ?? Buffer.alloc(0);
  const before = existsSync(target) ? readFileSync(target) : undefined;
  return {
    command: 'snap-read',
    args: ['-q', `${scene.image}@${name}`, '-o', output],
    effect: {},
    judge: (_, finished) => {
      const after = existsSync(target) ? readFileSync(target) : undefined;
      if (after !== undefined && (finished || before === undefined || !after.equals(before)))
        assertSame(after, expected, output);
      else assert.equal(after === undefined, before === undefined, output);
      assert.ok(!finished || after !== undefined, `${output} is not there`);
    },
  };
};

const verify: Recipe['make'] = ({ image }) => ({
  command: 'snap-verify',
  args: ['--json', image],
  effect: {},
  judge: ({ stdout }, finished) => {
    if (finished) assert.deepEqual(JSON.parse(stdout.toString()).findings, []);
  },
});

const list: Recipe['make'] = ({ image }, _, { names }) => ({
  command: 'snap-list',
  args: [image],
  effect: {},
  judge: ({ stdout }, finished) => {
    for (const name of finished ? names : []) assert.match(stdout.toString(), new RegExp(`@${name} `));
  },
});

function oneOf(names: readonly string[], below: Below): string {
  return names[below(names.length)] ?? '';
}

const middle = (names: readonly string[], below: Below) => [names[1 + below(names.length - 2)] ?? ''];

export const RECIPES: Readonly<Record<string, Recipe>> = {
  create: { weight: 12, make: create },
  write: { weight: 12, make: plainWrite() },
  'write --extend': { weight: 6, make: extendingWrite, alone: true },
  'write --delta': { weight: 6, make: deltaWrite },
  'write --zero': { weight: 5, make: zeroWrite },
  'write --no-sync': { weight: 8, make: plainWrite('--no-sync') },
  'gc oldest': { weight: 4, needs: 2, make: remove((names) => names.slice(0, 1)) },
  'gc middle': { weight: 12, needs: 3, make: remove(middle) },
  'gc newest': { weight: 8, needs: 2, make: remove((names) => names.slice(-1)) },
  'gc two': { weight: 3, needs: 3, make: remove((names) => names.slice(-2)) },
  'gc --keep-last': { weight: 4, needs: 3, make: keepLast, alone: true },
  gc: { weight: 6, make: collect },
  'gc --dry-run': { weight: 2, needs: 1, make: plan },
  read: { weight: 5, needs: 1, make: readToStdout },
  'read -o': { weight: 4, needs: 1, make: readToFile },
  verify: { weight: 3, make: verify },
  list: { weight: 2, make: list },
};

const MOST_SNAPSHOTS = 7;

/** Each as often as its weight says. */
function weighted<T extends { readonly weight: number }>(choices: readonly T[], below: Below): T {
  const tickets = choices.flatMap((choice) => Array.from({ length: choice.weight }, () => choice));
  const drawn = tickets[below(tickets.length)];
  assert.ok(drawn);
  return drawn;
}

/** A command by chance, one that can do something as things are. */
export function chooseJob(scene: Scene, below: Below, area: Area): Job {
  const count = area.names.length;
  const possible = Object.entries(RECIPES)
    .map(([recipe, it]) => ({ recipe, ...it }))
    .filter(
      ({ recipe, needs = 0, alone = false }) =>
        count >= needs &&
        !(area.shared && alone) &&
        !(recipe === 'create' && scene.model.names.length >= MOST_SNAPSHOTS),
    );
  const { recipe, make } = weighted(possible, below);
  return { recipe, ...make(scene, below, area) };
}
