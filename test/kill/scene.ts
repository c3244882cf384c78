/**
 * An image on the real file system beside the model of it, and the looks at it that tell whether all is as it must be:
 * the raw bytes, every snapshot read by core, `snap-verify` as a process, and what lies about.
 */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { digestText, Xxh64Digest } from '../../core/base/xxh64.ts';
import { NodeHost } from '../../core/io/node-host.ts';
import { createSnapshot } from '../../core/snapshot/create.ts';
import { type ListedSnapshot, listImage } from '../../core/snapshot/list.ts';
import { readSnapshot } from '../../core/snapshot/read.ts';
import { verifySnapshots } from '../../core/snapshot/verify.ts';
import { writeImage } from '../../core/snapshot/write.ts';
import { decodeState, isSettled } from '../../core/store/state.ts';
import type { Workplace } from '../support/commands.ts';
import { testContext } from '../support/context.ts';
import { assertSame, type Done, type Found, Model, type Written } from './model.ts';

/** What must hold of the snapshots' trust: all are trusted, or somebody has changed the image outside. */
export type Trust = 'trusted' | 'may be marked';

export class Scene {
  readonly work: Workplace;
  readonly image: string;
  readonly model: Model;
  readonly clusterSizeBytes: number;
  readonly firstSizeBytes: number;
  readonly #host = new NodeHost();
  #names = 0;

  constructor(work: Workplace, image: string, content: Buffer, clusterSizeBytes: number) {
    this.work = work;
    this.image = image;
    this.clusterSizeBytes = clusterSizeBytes;
    this.firstSizeBytes = content.length;
    this.model = new Model(content);
    this.remove();
    mkdirSync(work.path('out'), { recursive: true });
    writeFileSync(work.path(image), content);
  }

  /** A name that no snapshot had yet. */
  newName(): string {
    this.#names += 1;
    return `s${this.#names}`;
  }

  get path(): string {
    return this.work.path(this.image);
  }

  get sidecar(): string {
    return `${this.path}.snap`;
  }

  remove(): void {
    for (const name of readdirSync(this.work.directory)) {
      if (name.startsWith(this.image)) rmSync(this.work.path(name), { recursive: true });
    }
  }

  /** Takes a snapshot undisturbed, and changes something after it, so that the removal of others has to hand over. */
  async addSnapshot(write: Written): Promise<void> {
    const context = testContext(this.#host);
    const name = this.newName();
    const first = this.model.names.length === 0 ? { clusterSizeBytes: this.clusterSizeBytes } : {};
    await createSnapshot(context, { image: this.path, name }, { ...first, onFull: 'invalidate' });
    await this.check([{ effect: { creates: name }, outcome: 'finished' }]);
    const options = { offsetBytes: write.offsetBytes, extend: false, delta: false, sync: true };
    let doneBytes = 0;
    const source = {
      read: async (target: Buffer) => {
        const bytes = write.data.copy(target, 0, doneBytes);
        doneBytes += bytes;
        return bytes;
      },
    };
    const { failure } = await writeImage(context, this.path, options, source);
    assert.equal(failure, undefined);
    await this.check([{ effect: { write }, outcome: 'finished' }]);
  }

  /** Whether the next command that changes something has something to repair. */
  async repairDue(): Promise<boolean> {
    const path = `${this.sidecar}/state`;
    if (!readdirSync(this.work.directory).includes(basename(this.sidecar))) return false;
    return !isSettled(decodeState(readFileSync(path), path), await this.#host.bootId());
  }

  async list(): Promise<readonly ListedSnapshot[]> {
    return (await listImage(testContext(this.#host), this.path)).snapshots;
  }

  /** Reads a snapshot, in two parts: a complete read would record its digest, which is left to commands. */
  async #read({ name, sizeBytes }: ListedSnapshot): Promise<Buffer> {
    const chunks: Buffer[] = [];
    const sink = { write: async (chunk: Buffer) => void chunks.push(Buffer.from(chunk)) };
    const cut = Math.floor(sizeBytes / 2);
    for (const [offsetBytes, lengthBytes] of [
      [0, cut],
      [cut, sizeBytes - cut],
    ] as const) {
      const options = { offsetBytes, lengthBytes, allowModifiedOrigin: false, digest: false };
      await readSnapshot(testContext(this.#host), { image: this.path, name }, options, sink);
    }
    return Buffer.concat(chunks);
  }

  async look(trust: Trust): Promise<Found> {
    const snapshots = new Map<string, Buffer | undefined>();
    for (const listed of await this.list()) {
      const { name, state, reason, digest } = listed;
      const isTrusted = state === 'active' || state === 'idle';
      assert.ok(isTrusted || trust === 'may be marked', `snapshot ${name} is ${state}: ${reason}`);
      assert.notEqual(state, 'invalid', `snapshot ${name}: ${reason}`);
      const bytes = isTrusted ? await this.#read(listed) : undefined;
      snapshots.set(name, bytes);
      if (bytes !== undefined && digest !== undefined)
        assert.equal(digest, digestOf(bytes), `digest of ${name}`);
    }
    return { image: readFileSync(this.path), snapshots };
  }

  /** After commands that ran at the same time: everything is as it may be, whoever looks, and nothing is remarked on. */
  async check(done: readonly Done[], trust: Trust = 'trusted'): Promise<void> {
    // First as a process would see it, before anything is read here.
    await this.verify(trust);
    this.model.learn(done, await this.look(trust));
    assertSame(readFileSync(this.path), this.model.image, 'the image, read again');
  }

  /** What `snap-verify` does; the command itself is run now and then, since a process takes ten times as long. */
  async verify(trust: Trust): Promise<void> {
    const { damaged, untrusted, findings } = await verifySnapshots(testContext(this.#host), this.path, []);
    const remarks = findings.filter(({ kind }) => trust === 'trusted' || kind !== 'modified');
    assert.deepEqual(remarks, [], 'findings of a verification');
    assert.ok(!damaged && (!untrusted || trust === 'may be marked'));
  }

  async verifyByCommand(): Promise<void> {
    const { stdout, stderr } = await this.work.ok('snap-verify', [this.image]);
    assert.match(stdout, / 0 findings; /);
    assert.equal(stderr, '');
  }

  /** Files in the directory and the sidecar that nothing names. Its `out` is not looked into. */
  async strangers(): Promise<string[]> {
    const listed = await this.list();
    const own = new Set(listed.flatMap(({ files }) => files.map((file) => basename(file))));
    const beside = readdirSync(this.work.directory).filter((name) => name.startsWith(`${this.image}.`));
    const inside = beside.includes(`${this.image}.snap`) ? readdirSync(this.sidecar) : [];
    return [
      ...beside.filter((name) => name !== `${this.image}.snap`),
      ...inside.filter((name) => !['catalog.json', 'state', 'reserve'].includes(name) && !own.has(name)),
    ];
  }

  /** What killed readers left in `out`. */
  unfinishedOutputs(): string[] {
    return readdirSync(this.work.path('out')).filter((name) => !name.startsWith('copy'));
  }

  /** A command that could end in order left nothing to do for others. */
  async checkTidy(): Promise<void> {
    assert.deepEqual([...(await this.strangers()), ...this.unfinishedOutputs()], [], 'left by a command');
    assert.equal(await this.repairDue(), false, 'repair is due after a command that ended in order');
  }

  /** `snap-gc IMAGE` leaves nothing that does not belong there, nothing to repair, and all snapshots as they are. */
  async checkClean(): Promise<void> {
    await this.work.ok('snap-gc', ['-q', this.image]);
    assert.deepEqual(await this.strangers(), [], 'left after snap-gc');
    assert.equal(await this.repairDue(), false, 'repair is due after snap-gc');
    await this.check([]);
    await this.verifyByCommand();
  }
}

function digestOf(bytes: Buffer): string {
  const digest = new Xxh64Digest();
  digest.update(bytes);
  return digestText(digest.value());
}
