/**
 * A snapshot that cannot be kept is ended durably before the origin changes (invariants 4 and 5): power is lost at every
 * call of a write that ends snapshots, by their limit or on a full disk. Whatever is left then reads right or is seen to
 * have ended, and whoever need not end does not.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hasCode } from '../../core/base/errors.ts';
import { CrashVolume } from '../sim/crash-volume.ts';
import { MemoryFileSystem } from '../sim/memory-file-system.ts';
import { MemoryHost, mulberry32 } from '../sim/memory-host.ts';
import type { Operation } from '../sim/session.ts';
import { systemError } from '../sim/system-error.ts';
import { chooseSeed } from '../support/commands.ts';
import { testContext } from '../support/context.ts';
import { create, limitOf, makeImage, noise, rawImage, read, withFile, write } from '../support/image.ts';
import { randomFrom } from './choose.ts';

const CLUSTER_BYTES = 4096;
const CRASHES_AT_CALL = 2;
const WRITTEN = { offsetBytes: 2 * CLUSTER_BYTES + 9, data: noise(9, 2 * CLUSTER_BYTES) };

interface Ending {
  readonly what: string;
  /** Oldest first; the limits are in clusters. */
  readonly snapshots: readonly { readonly name: string; readonly limit?: number }[];
  /** What is written before it ends. */
  readonly copiesBefore: number;
  readonly ends: readonly string[];
  /** Whether the disk is full there. */
  readonly isFull: (operation: Operation, timesBefore: number) => boolean;
}

const never = () => false;
const slots = ({ kind, path, lengthBytes = 0 }: Operation) =>
  kind === 'write' && path.endsWith('.cow') && lengthBytes >= CLUSTER_BYTES;
/** Once, as where space is taken when it is flushed; repair must be able to go on. */
const firstFlush = ({ kind, path }: Operation, timesBefore: number) =>
  kind === 'syncData' && path.endsWith('.cow') && timesBefore === 0;

const ENDINGS: readonly Ending[] = [
  { what: 'its limit', snapshots: [{ name: 'a', limit: 1 }], copiesBefore: 1, ends: ['a'], isFull: never },
  {
    what: 'the limit of the newest, copying goes on for the older',
    snapshots: [{ name: 'a' }, { name: 'b', limit: 1 }],
    copiesBefore: 1,
    ends: ['b'],
    isFull: never,
  },
  {
    what: 'the limits of both',
    snapshots: [
      { name: 'a', limit: 2 },
      { name: 'b', limit: 1 },
    ],
    copiesBefore: 1,
    ends: ['a', 'b'],
    isFull: never,
  },
  {
    what: 'a full disk',
    snapshots: [{ name: 'a' }, { name: 'b' }],
    copiesBefore: 1,
    ends: ['a', 'b'],
    isFull: slots,
  },
  {
    what: 'a full disk, told late',
    snapshots: [{ name: 'a' }],
    copiesBefore: 0,
    ends: ['a'],
    isFull: firstFlush,
  },
];

interface Scene {
  readonly volume: CrashVolume;
  readonly host: MemoryHost;
  readonly image: Buffer;
  readonly frozen: ReadonlyMap<string, Buffer>;
}

async function makeScene({ snapshots, copiesBefore }: Ending): Promise<Scene> {
  const volume = new CrashVolume();
  const host = new MemoryHost(1, new MemoryFileSystem(volume));
  await makeImage(host, noise(1, 6 * CLUSTER_BYTES));
  await withFile(host, 'update', (file) => file.syncAll());
  await host.files.syncDirectory('/');
  const frozen = new Map<string, Buffer>();
  for (const { name, limit } of snapshots) {
    frozen.set(name, await rawImage(host));
    const maxSizeBytes = limit === undefined ? undefined : limitOf(limit, CLUSTER_BYTES);
    await create(testContext(host), name, { clusterSizeBytes: CLUSTER_BYTES, maxSizeBytes });
  }
  await write(testContext(host), 0, noise(2, copiesBefore * CLUSTER_BYTES));
  return { volume, host, image: await rawImage(host), frozen };
}

class Crashes {
  readonly #scene: Scene;
  readonly #ending: Ending;
  readonly #random: () => number;
  /** Of those that must end: how often one was right yet, and had ended, with an origin that has changed and one that has not. */
  readonly seen = { right: 0, endedBefore: 0, endedAfter: 0 };

  constructor(scene: Scene, ending: Ending, random: () => number) {
    this.#scene = scene;
    this.#ending = ending;
    this.#random = random;
  }

  async lose(): Promise<void> {
    for (let count = 0; count < CRASHES_AT_CALL; count += 1) {
      const seed = this.#random();
      const volume = this.#scene.volume.afterCrash(mulberry32(seed));
      const host = new MemoryHost(seed, new MemoryFileSystem(volume));
      await this.#check(host).catch((error: unknown) => {
        throw new Error(`crash ${seed}: ${String(error)}`, { cause: error });
      });
    }
  }

  async #check(host: MemoryHost): Promise<void> {
    const changed = !(await rawImage(host)).equals(this.#scene.image);
    const ended = await this.#endedIn(host);
    for (const name of this.#ending.ends) {
      if (!ended.has(name)) this.seen.right += 1;
      else if (changed) this.seen.endedAfter += 1;
      else this.seen.endedBefore += 1;
    }
    // The next user's write makes it whole, and changes nothing of that.
    const { failure } = await write(testContext(host), 0, noise(7, 10));
    assert.equal(failure, undefined);
    assert.deepEqual(await this.#endedIn(host), ended, 'other ones have ended after repair');
  }

  /** Reads all; those that have not ended must read right. */
  async #endedIn(host: MemoryHost): Promise<Set<string>> {
    const ended = new Set<string>();
    for (const [name, frozen] of this.#scene.frozen) {
      try {
        assert.ok((await read(testContext(host.session()), name)).equals(frozen), `${name} reads wrong`);
      } catch (error) {
        if (!hasCode(error, 'invalid')) throw error;
        assert.ok(this.#ending.ends.includes(name), `${name} ended without need`);
        ended.add(name);
      }
    }
    return ended;
  }
}

for (const ending of ENDINGS) {
  test(`the end by ${ending.what} is durable before the origin changes`, async (t) => {
    const scene = await makeScene(ending);
    const crashes = new Crashes(scene, ending, randomFrom(chooseSeed(t)));
    let timesFull = 0;
    const session = scene.host.session(async (operation) => {
      if (operation.kind === 'tryLock' || operation.kind === 'unlock') return;
      await crashes.lose();
      if (!ending.isFull(operation, timesFull)) return;
      timesFull += 1;
      throw systemError('ENOSPC');
    });
    const context = testContext(session);
    const { failure } = await write(context, WRITTEN.offsetBytes, WRITTEN.data);
    assert.equal(failure, undefined);
    assert.equal(context.warnings.filter(({ loss }) => loss).length, ending.ends.length);
    await crashes.lose();
    const { right, endedBefore, endedAfter } = crashes.seen;
    t.diagnostic(`not ended: ${right}; ended, origin not changed: ${endedBefore}, changed: ${endedAfter}`);
    assert.ok(right > 0 && endedBefore > 0 && endedAfter > 0);
    for (const name of ending.ends) {
      await assert.rejects(read(testContext(scene.host), name), { code: 'invalid' });
    }
  });
}
