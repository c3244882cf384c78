/**
 * Does each operation twice, with core on a simulated machine and with the model, and compares: every byte of every
 * snapshot and of the image, which snapshots there are, and which clusters were copied, after every step.
 */
import assert from 'node:assert/strict';
import * as path from 'node:path';
import { getBit } from '../../core/base/bitmap.ts';
import { SnapError } from '../../core/base/errors.ts';
import { closeState } from '../../core/snapshot/closing.ts';
import { collectSnapshots } from '../../core/snapshot/collect.ts';
import { changedOutside, trustNow } from '../../core/snapshot/outside-change.ts';
import { readSnapshot } from '../../core/snapshot/read.ts';
import { Volume } from '../../core/snapshot/volume.ts';
import { type WriteResult, writeImage, zeroSource } from '../../core/snapshot/write.ts';
import { clusterCount, regions } from '../../core/store/layout.ts';
import { MemoryHost } from '../sim/memory-host.ts';
import type { Operation } from '../sim/session.ts';
import { KilledError, systemError } from '../sim/system-error.ts';
import { type TestContext, testContext } from '../support/context.ts';
import {
  CollectingSink,
  candidatesBy,
  create,
  IMAGE,
  limitOf,
  makeImage,
  noise,
  rawImage,
  read,
  sourceOf,
  withFile,
} from '../support/image.ts';
import {
  type CopyKind,
  imageWith,
  Model,
  type ModelSnapshot,
  type ModelTrust,
  type ModelWrite,
  type WritePlan,
} from './model.ts';
import type {
  CollectOp,
  CreateOp,
  Op,
  OutsideOp,
  Place,
  ReadDuringOp,
  RemoveOp,
  Setup,
  SimpleOp,
  Trouble,
  WriteOp,
} from './operations.ts';

/** Sizes stay small enough for two thousand sequences. */
const MOST_CLUSTERS = 40;

/** What there is, as core sees it. */
interface Observed {
  readonly number: number;
  readonly name: string;
  readonly trust: ModelTrust;
  readonly hidden: boolean;
  readonly sizeBytes: number;
  readonly copied: Set<number>;
}

/** How an operation of core ended. */
interface Ending<T> {
  readonly value: T | undefined;
  readonly error: unknown;
  /** The trouble came: nothing exact can be expected, only what always holds. */
  readonly troubled: boolean;
  readonly context: TestContext;
}

const CHANGES: ReadonlySet<string> = new Set([
  'create',
  'write',
  'truncate',
  'syncData',
  'syncAll',
  'makeDirectory',
  'remove',
  'rename',
  'syncDirectory',
]);
const GROWS: ReadonlySet<string> = new Set(['create', 'write', 'makeDirectory', 'rename']);

export class World {
  /** One line for each step, for the message of a failure. */
  readonly lines: string[] = [];
  readonly #host: MemoryHost;
  readonly #model: Model;
  readonly #setup: Setup;
  /** By snapshot, clusters of batches that did not end: a repair after a boot may keep those that prove themselves. */
  readonly #maybeCopied = new Map<number, ReadonlyMap<number, CopyKind>>();
  #bootedInTrouble = false;
  #outsideUnrecorded: 'while closed' | 'while open' | undefined;
  /** Snapshots that are being read. */
  readonly #inUse = new Set<ModelSnapshot>();

  private constructor(setup: Setup) {
    this.#setup = setup;
    this.#host = new MemoryHost(setup.seed + 1);
    this.#model = new Model(initialImage(setup));
    this.lines.push(
      `image of ${setup.sizeBytes} bytes, clusters of ${setup.clusterSizeBytes}, seed ${setup.seed}`,
    );
  }

  static async make(setup: Setup): Promise<World> {
    const world = new World(setup);
    await makeImage(world.#host, world.#model.image);
    return world;
  }

  async step(op: Op, salt: number): Promise<void> {
    if (this.#bootedInTrouble) await this.#settleAfterBoot();
    if (op.kind === 'read-during') await this.#readDuring(op);
    else await this.#do(op);
    await this.#verify(salt);
  }

  /** Repairs what was in flight at the boot, so that it is known which copies of it count. */
  async #settleAfterBoot(): Promise<void> {
    await this.#changeNothing();
    const observed = await this.#observe();
    for (const { number, copied } of this.#model.snapshots) {
      const seen = observed.find((it) => it.number === number);
      for (const [index, kind] of this.#maybeCopied.get(number) ?? []) {
        if (seen?.copied.has(index) && !copied.has(index)) copied.set(index, kind);
      }
    }
    this.#bootedInTrouble = false;
    this.#maybeCopied.clear();
  }

  /** Beside what an earlier command left: the one that was to repair that may have ended before it had. */
  #mayHave(number: number, copies: Iterable<readonly [number, CopyKind]>): void {
    this.#maybeCopied.set(number, new Map([...(this.#maybeCopied.get(number) ?? []), ...copies]));
  }

  /** A command that takes the lock, finishes what is in flight, and does nothing else. */
  async #changeNothing(closes = false): Promise<void> {
    const session = this.#host.session();
    const volume = await Volume.open(testContext(session), IMAGE, 'write');
    await volume.exclusive(async (hold) => {
      if (closes && hold !== undefined) await closeState(hold);
    });
    await volume.close();
    session.kill();
    this.#outsideUnrecorded = undefined;
  }

  #do(op: SimpleOp): Promise<void> {
    switch (op.kind) {
      case 'create':
        return this.#create(op);
      case 'write':
        return this.#write(op);
      case 'remove':
        return this.#remove(op);
      case 'collect':
        return this.#collect(op);
      case 'outside':
        return this.#outside(op);
      case 'reboot':
        return this.#reboot();
    }
  }

  #say(line: string): void {
    this.lines.push(line);
  }

  /** Says how the step of the last line ended. */
  #ended({ error, troubled, context }: Ending<unknown>): void {
    const outcome = error === undefined ? '' : ` -> ${String(error)}`;
    const warned = context.warnings.map(({ message }) => ` [${message}]`).join('');
    this.lines[this.lines.length - 1] += `${troubled ? ' (trouble came)' : ''}${outcome}${warned}`;
  }

  /** Runs a part of core as a process of its own, which may meet trouble. */
  async #run<T>(
    trouble: Trouble | undefined,
    work: (context: TestContext) => Promise<T>,
  ): Promise<Ending<T>> {
    const session = this.#host.session();
    const context = testContext(session);
    let troubled = false;
    let left = trouble?.after ?? 0;
    const meet = (operation: Operation): void => {
      if (trouble === undefined) return;
      if (trouble.how === 'kill') {
        left -= 1;
        if (left >= 0) return;
        troubled = true;
        session.kill();
        return;
      }
      if (!(trouble.how === 'EIO' ? CHANGES : GROWS).has(operation.kind)) return;
      left -= 2;
      if (left >= 0 || (troubled && !trouble.lasting)) return;
      troubled = true;
      throw systemError(trouble.how);
    };
    if (trouble !== undefined) session.files.onOperation = meet;
    let ending: Ending<T>;
    try {
      const value = await work(context);
      ending = { value, error: undefined, troubled, context };
    } catch (error) {
      const isAnswer = error instanceof SnapError || (troubled && error instanceof KilledError);
      if (!isAnswer) throw error;
      ending = { value: undefined, error, troubled, context };
    }
    if (!troubled) assert.equal(session.files.openCount, 0, 'files are left open');
    session.kill();
    return ending;
  }

  async #create(given: CreateOp): Promise<void> {
    const nothingElse = {
      limit: undefined,
      transient: false,
      clustersInFile: undefined,
      candidateSeed: undefined,
    };
    const op = given.clone ? { ...given, ...nothingElse } : given;
    const { clusterSizeBytes } = this.#model.snapshots.length === 0 ? op : this.#model;
    const limit = op.limit && {
      maxSizeBytes: limitOf(op.limit.clusters, clusterSizeBytes),
      onFull: op.limit.onFull,
    };
    const { candidateSeed, transient } = op;
    const isCandidate = candidateRule(candidateSeed);
    const candidates = candidateSeed === undefined ? undefined : candidatesBy(isCandidate);
    const limitText = limit ? ` --max-size ${limit.maxSizeBytes} --on-full ${limit.onFull}` : '';
    const candidateText = candidateSeed === undefined ? '' : ` --candidates (seed ${candidateSeed})`;
    this.#say(
      `create ${op.name ?? '(default name)'}${transient ? ' --transient' : ''}${op.clone ? ' --clone' : ''} --cluster-size ${clusterSizeBytes}${limitText}${op.clustersInFile ? `, ${op.clustersInFile} a file` : ''}${candidateText}${troubleText(op.trouble)}`,
    );
    const spilling = op.clustersInFile && {
      spillPaths: Array.from({ length: 60 }, () => path.dirname(IMAGE)),
      maxStoreFileBytes:
        regions({
          sizeBytes: this.#model.image.length,
          clusterSizeBytes,
          hasCandidates: candidates !== undefined,
        }).dataOffsetBytes +
        op.clustersInFile * clusterSizeBytes,
    };
    const taken = this.#model.visible.some(({ name }) => name === op.name);
    const ending = await this.#run(op.trouble, (context) =>
      create(context, op.name, {
        clusterSizeBytes,
        transient,
        clone: op.clone,
        ...limit,
        ...spilling,
        candidates,
      }),
    );
    this.#ended(ending);
    let name = ending.value?.name;
    if (taken) assert.equal(name, undefined, 'a name was given twice');
    if (ending.troubled && name === undefined) {
      const observed = await this.#observe();
      const created = observed.slice(this.#model.snapshots.length);
      assert.ok(
        created.length <= 1 && (created.length === 0 || !taken),
        'a troubled creation makes one or none',
      );
      name = created[0]?.name;
    } else {
      assert.equal(codeOf(ending.error), taken ? 'exists' : undefined);
    }
    if (op.name !== undefined && name !== undefined) assert.equal(name, op.name);
    if (name === undefined) return;
    assert.match(name, op.name === undefined ? /^\d{8}T\d{6}Z(-\d+)?$/ : /^[a-f]$/);
    const number = (await this.#observe()).at(-1)?.number ?? 0;
    assert.ok(number > (this.#model.snapshots.at(-1)?.number ?? 0), 'numbers rise');
    this.#model.create(name, limit, clusterSizeBytes, { number, transient, clone: op.clone, isCandidate });
  }

  async #write(op: WriteOp): Promise<void> {
    const modelWrite = this.#resolveWrite(op);
    const { offsetBytes, data } = modelWrite;
    const options = [op.mode === 'plain' ? '' : op.mode, op.extend ? 'extend' : '', op.sync ? '' : 'no-sync'];
    const text = options
      .filter((it) => it !== '')
      .map((it) => ` --${it}`)
      .join('');
    const fill = op.mode === 'zero-source' ? 'zeros' : op.fill;
    this.#say(
      `write ${data.length} bytes (${fill}, seed ${op.seed}) at ${offsetBytes}${text}${troubleText(op.trouble)}`,
    );
    const plan = this.#model.planWrite(modelWrite);
    const source = () =>
      op.mode === 'zero-source' ? zeroSource(data.length) : sourceOf(data, op.pieceBytes);
    const ending = await this.#run(op.trouble, (context) =>
      writeImage(context, IMAGE, { ...modelWrite, sync: op.sync }, source()),
    );
    this.#ended({ ...ending, error: ending.error ?? ending.value?.failure });
    if (ending.troubled) await this.#afterTroubledWrite(plan, ending, op.trouble?.how);
    else this.#afterWrite(plan, ending);
  }

  #afterWrite(plan: WritePlan, ending: Ending<WriteResult>): void {
    const { value, error, context } = ending;
    assert.equal(error, undefined);
    assert.ok(value !== undefined);
    const { failure, summary } = value;
    assert.equal(codeOf(failure), plan.failure, String(failure));
    assert.equal(summary.bytesWritten, bytesIn(plan), 'bytesWritten');
    assert.equal(summary.clustersCopied, plan.missing.length, 'clustersCopied');
    assert.equal(summary.bytesCopied, plan.bytesCopied, 'bytesCopied');
    assert.equal(summary.snapshot, plan.receiver && `${IMAGE}@${plan.receiver}`, 'snapshot');
    const losses = context.warnings.filter(({ loss, message }) => loss && message.includes('limit'));
    assert.equal(losses.length, plan.ended.length, 'one warning of loss for each snapshot that ended');
    this.#model.write(plan);
  }

  /** Whatever happened: acknowledged is there, outside is untouched, inside is old or new, byte by byte. */
  async #afterTroubledWrite(
    plan: WritePlan,
    { value }: Ending<WriteResult>,
    how: Trouble['how'] | undefined,
  ): Promise<void> {
    const before = this.#model.image;
    const after = imageWith(before, plan.extents);
    const actual = await rawImage(this.#host);
    const acknowledged = value !== undefined && value.failure === undefined;
    if (acknowledged) assert.ok(actual.equals(after), 'an acknowledged write is not in the image');
    assertOldOrNew(before, after, actual);
    const observed = await this.#observe();
    observed.forEach(({ name, trust }, index) => {
      const snapshot = this.#model.snapshots[index];
      if (snapshot === undefined || snapshot.trust === 'invalid' || trust !== 'invalid') return;
      // Hidden, it has no policy any more.
      const bySpace = how === 'ENOSPC' && (snapshot.hidden || snapshot.limit?.onFull !== 'refuse');
      assert.ok(plan.ended.includes(snapshot) || bySpace, `${name} ended for no reason`);
      snapshot.trust = 'invalid';
    });
    const newest = this.#model.snapshots.at(-1);
    if (newest !== undefined) {
      const maybe = new Map(plan.missing.map((index) => [index, this.#model.kindOfCopy(index)]));
      this.#mayHave(newest.number, maybe);
      for (const index of observed.at(-1)?.copied ?? []) {
        if (newest.copied.has(index)) continue;
        const kind = maybe.get(index);
        assert.ok(kind !== undefined, `cluster ${index} was copied for nothing`);
        newest.copied.set(index, kind);
      }
    }
    this.#model.image = actual;
  }

  async #remove(op: RemoveOp): Promise<void> {
    const { visible } = this.#model;
    if (visible.length === 0) return;
    const targets = new Set(op.picks.map((pick) => visible[pick % visible.length]?.name ?? ''));
    const goes = visible.filter(({ name }) => targets.has(name));
    const trouble = withoutClones(goes) ? op.trouble : undefined;
    this.#say(`remove ${[...targets].join(' ')}${troubleText(trouble)}`);
    const ending = await this.#run(trouble, (context) =>
      collectSnapshots(context, IMAGE, { names: [...targets], dryRun: false }),
    );
    this.#ended(ending);
    if (!ending.troubled) assert.equal(ending.error, undefined);
    await this.#afterRemoval(goes, ending);
  }

  async #collect(op: CollectOp): Promise<void> {
    const rules = op.keepLast === undefined ? 'without rules' : `--keep-last ${op.keepLast}`;
    const { snapshots } = this.#model;
    const valid = snapshots.filter(({ trust, hidden }) => trust !== 'invalid' && !hidden);
    const kept = new Set(op.keepLast === undefined ? valid : valid.slice(-op.keepLast));
    const goes = snapshots.filter((it) => !kept.has(it));
    const trouble = withoutClones(goes) ? op.trouble : undefined;
    this.#say(`collect ${rules}${op.dryRun ? ' --dry-run' : ''}${troubleText(trouble)}`);
    const ending = await this.#run(trouble, (context) =>
      collectSnapshots(context, IMAGE, { rules: { keepLast: op.keepLast }, dryRun: op.dryRun }),
    );
    this.#ended(ending);
    if (ending.value !== undefined) {
      const names = ending.value.kept.map(({ name }) => name);
      assert.deepEqual(
        names,
        [...kept].map(({ name }) => name),
        'what is kept',
      );
    }
    if (!op.dryRun) await this.#afterRemoval(goes, ending);
  }

  /** Takes the given ones, oldest first, out of the model; after trouble those that are really gone. */
  async #afterRemoval(goes: readonly ModelSnapshot[], ending: Ending<unknown>): Promise<void> {
    if (!ending.troubled) {
      for (const snapshot of goes) this.#removeOrHide(snapshot);
      if (!withoutClones(goes)) await this.#takeOver(goes);
      return;
    }
    const observed = await this.#observe();
    for (const snapshot of goes) {
      const here = observed.find(({ number }) => number === snapshot.number);
      if (here === undefined) this.#model.remove(snapshot);
      else snapshot.hidden ||= here.hidden;
    }
    const handed = goes
      .flatMap(({ copied }) => [...copied.keys()])
      .map((index) => [index, 'handed-over'] as const);
    for (const { number } of this.#model.snapshots) this.#mayHave(number, handed);
    // What was handed over before it ended is there for good.
    this.#model.snapshots.forEach((snapshot, index) => {
      for (const cluster of observed[index]?.copied ?? []) {
        if (!snapshot.copied.has(cluster)) snapshot.copied.set(cluster, 'handed-over');
      }
    });
  }

  /** What was handed over of clones. It is right if the snapshots are, which is looked at next. */
  async #takeOver(goes: readonly ModelSnapshot[]): Promise<void> {
    const { snapshots, clusterSizeBytes } = this.#model;
    const most = Math.max(...goes.map(({ clone, frozen }) => (clone ? frozen.length / clusterSizeBytes : 0)));
    const observed = await this.#observe();
    snapshots.forEach(({ copied, needed }, at) => {
      for (const index of observed[at]?.copied ?? []) {
        if (copied.has(index)) continue;
        assert.ok(needed.has(index) && index < most, `cluster ${index} was handed over for nothing`);
        copied.set(index, 'handed-over');
      }
    });
  }

  #removeOrHide(snapshot: ModelSnapshot): void {
    if (this.#inUse.has(snapshot) || this.#model.keepsLonger(snapshot)) snapshot.hidden = true;
    else this.#model.remove(snapshot);
  }

  /** Past core: what was in flight is finished first, since between a kill and that nobody could tell. */
  async #outside(op: OutsideOp): Promise<void> {
    const closes = op.seed % 2 === 0;
    await this.#changeNothing(closes);
    const present = this.#model.image;
    const offsetBytes = Math.min(present.length, this.#offset(op.at));
    const lengthBytes = Math.min(this.#length(op.length), present.length - offsetBytes);
    let image = present;
    if (op.how === 'write') image = imageWith(present, [{ offsetBytes, data: noise(op.seed, lengthBytes) }]);
    if (op.how === 'resize') {
      image = Buffer.alloc(this.#offset(op.at));
      present.copy(image);
    }
    this.#say(`outside: ${op.how} at ${offsetBytes} of ${present.length}, ${image.length} bytes afterwards`);
    await withFile(this.#host, 'update', async (file) => {
      await file.truncate(image.length);
      await file.write(image.subarray(offsetBytes), offsetBytes);
    });
    this.#model.changeOutside(image);
    this.#outsideUnrecorded = closes ? 'while closed' : 'while open';
  }

  async #reboot(): Promise<void> {
    // After a boot, an open `state` says nothing about the origin's time: who did not look by then never knows.
    if (this.#outsideUnrecorded === 'while open') await this.#changeNothing();
    this.#say('reboot');
    this.#host.reboot();
    this.#model.reboot();
    this.#bootedInTrouble = this.#maybeCopied.size > 0;
  }

  async #readDuring(op: ReadDuringOp): Promise<void> {
    const { visible } = this.#model;
    const target = visible[op.pick % Math.max(1, visible.length)];
    if (target === undefined || target.trust !== 'valid') return;
    this.#say(`read ${target.name} while …`);
    const sink = new CollectingSink(async (count) => {
      const nested = op.during[count - 1];
      if (nested !== undefined) await this.#do(nested);
    });
    this.#inUse.add(target);
    const options = { offsetBytes: 0, allowModifiedOrigin: false, digest: false };
    const ending = await this.#run(undefined, (context) =>
      readSnapshot(context, { image: IMAGE, name: target.name }, options, sink),
    );
    this.#inUse.delete(target);
    this.#say('… done');
    this.#ended(ending);
    const trust: ModelTrust = target.trust;
    if (ending.error === undefined)
      assert.ok(sink.bytes().equals(target.frozen), `${target.name} reads wrongly`);
    else assert.equal(codeOf(ending.error), trust, 'a read ends early only if the snapshot does');
  }

  #offset({ clusters, skewBytes }: Place): number {
    const size = this.#model.clusterSizeBytes;
    const count = Math.min(MOST_CLUSTERS, Math.ceil(this.#model.image.length / size) + 1);
    const offsetBytes = (clusters % (count + 1)) * size + skewBytes;
    return Math.max(0, Math.min(offsetBytes, Math.max(this.#setup.sizeBytes, 200_000) * 2));
  }

  #length({ clusters, skewBytes }: Place): number {
    const lengthBytes = clusters * Math.min(this.#model.clusterSizeBytes, 65_536) + skewBytes;
    return Math.max(0, Math.min(lengthBytes, Math.max(200_000, this.#setup.sizeBytes)));
  }

  #resolveWrite(op: WriteOp): ModelWrite {
    const offsetBytes = this.#offset(op.at);
    const data = Buffer.alloc(this.#length(op.length));
    const isZero = op.fill === 'zeros' || op.mode === 'zero-source';
    if (!isZero) noise(op.seed, data.length).copy(data);
    if (op.fill === 'present' && !isZero) this.#model.image.subarray(offsetBytes).copy(data);
    if (op.fill === 'mixed' && !isZero) {
      this.#model.image.subarray(offsetBytes).copy(data);
      const period = this.#model.clusterSizeBytes * 3;
      for (let at = op.seed % period; at < data.length; at += period) data[at] = (data[at] ?? 0) ^ 0x5a;
    }
    return { offsetBytes, data, extend: op.extend, delta: op.mode === 'delta' };
  }

  /** What core says there is, without changing anything. */
  async #observe(): Promise<Observed[]> {
    const session = this.#host.session();
    const volume = await Volume.open(testContext(session), IMAGE, 'look');
    const observed = await volume.shared(async (hold) => {
      if (hold === undefined) return [];
      const seen: Observed[] = [];
      const changed = await changedOutside(hold);
      const { clusterSizeBytes } = hold.catalog;
      for (const record of hold.catalog.snapshots) {
        const count = clusterCount({ sizeBytes: record.sizeBytes, clusterSizeBytes });
        const bits = Buffer.alloc(Math.ceil(count / 8));
        await hold.readBits(record, bits, 0);
        const copied = new Set<number>();
        for (let index = 0; index < count; index += 1) if (getBit(bits, index)) copied.add(index);
        const { number, name, hidden, sizeBytes } = record;
        // What a part has its snapshot has; one that outlived it stands for what the next older is yet to be given.
        if (record.part !== undefined) {
          const owner = seen.find((it) => it.number === number) ?? seen.at(-1);
          for (const index of copied) owner?.copied.add(index);
          continue;
        }
        seen.push({ number, name, hidden, sizeBytes, copied, trust: trustNow(hold, record, changed) });
      }
      return seen;
    });
    await volume.close();
    session.kill();
    return observed;
  }

  /** What is surely copied: until the repair after a boot, the rest may be seen or not. */
  #withoutMaybes({ number, copied }: Observed): Set<number> {
    if (!this.#bootedInTrouble) return copied;
    const model = this.#model.snapshots.find((it) => it.number === number);
    const maybe = this.#maybeCopied.get(number);
    return new Set([...copied].filter((index) => model?.copied.has(index) || !maybe?.has(index)));
  }

  async #verify(salt: number): Promise<void> {
    const { snapshots, image } = this.#model;
    const found = await this.#observe();
    const observed = found.map((it) => ({ ...it, copied: this.#withoutMaybes(it) }));
    const summaryOf = (it: Observed) =>
      `${it.number} ${it.name}${it.hidden ? ' hidden' : ''} ${it.trust} ${it.sizeBytes} bytes, copied ${ascending(it.copied)}`;
    assert.deepEqual(
      observed.map(summaryOf),
      snapshots.map((it) =>
        summaryOf({ ...it, sizeBytes: it.frozen.length, copied: new Set(it.copied.keys()) }),
      ),
    );
    assert.ok((await rawImage(this.#host)).equals(image), 'the image is not what was written');
    const session = this.#host.session();
    const context = testContext(session);
    assert.ok((await read(context)).equals(image), 'the image is not read as it is');
    for (const snapshot of this.#model.visible) await this.#verifySnapshot(context, snapshot);
    await this.#verifyPart(context, salt);
    assert.deepEqual(context.warnings, []);
    assert.equal(session.files.openCount, 0, 'files are left open');
    session.kill();
  }

  async #verifySnapshot(context: TestContext, snapshot: ModelSnapshot): Promise<void> {
    const { name, frozen, trust } = snapshot;
    if (trust !== 'valid') {
      await assert.rejects(read(context, name), { code: trust }, `${name} is ${trust}`);
      if (trust === 'invalid') return;
      // An earlier digest may contradict what is there now.
      const reading = read(context, name, {
        allowModifiedOrigin: true,
        lengthBytes: Math.max(0, frozen.length - 1),
      });
      assert.equal((await reading).length, Math.max(0, frozen.length - 1));
      return;
    }
    const whole = await read(context, name);
    assert.equal(firstDifference(whole, frozen), undefined, `${name} differs from what was frozen`);
  }

  /** A sub-range of one of the snapshots. */
  async #verifyPart(context: TestContext, salt: number): Promise<void> {
    const valid = this.#model.visible.filter(({ trust }) => trust === 'valid');
    const snapshot = valid[salt % Math.max(1, valid.length)];
    if (snapshot === undefined) return;
    const { name, frozen } = snapshot;
    const ends = [salt % (frozen.length + 1), (salt * 31 + 7) % (frozen.length + 1)];
    const [from, to] = [Math.min(...ends), Math.max(...ends)];
    const part = await read(context, name, { offsetBytes: from, lengthBytes: to - from });
    assert.ok(part.equals(frozen.subarray(from, to)), `${name} differs from ${from} to ${to}`);
  }
}

/** While one of a clone's removal is interrupted, there is a snapshot more, of which the model knows nothing. */
function withoutClones(snapshots: readonly ModelSnapshot[]): boolean {
  return !snapshots.some(({ clone }) => clone);
}

/** None, some or nearly all, in runs of different lengths. */
function candidateRule(seed: number | undefined): (index: number) => boolean {
  if (seed === undefined) return () => true;
  const runLength = 1 + (seed % 3);
  return (index) => (Math.floor(index / runLength) * 2654435761 + seed * 40503) % 7 < seed % 8;
}

/** A third of the clusters are zero. */
function initialImage({ sizeBytes, seed }: Setup): Buffer {
  const image = noise(seed, sizeBytes);
  for (let index = 0; index * 4096 < sizeBytes; index += 1) {
    if ((index * 2654435761 + seed) % 3 === 0) image.subarray(index * 4096, (index + 1) * 4096).fill(0);
  }
  return image;
}

function firstDifference(a: Buffer, b: Buffer): string | undefined {
  if (a.equals(b)) return undefined;
  const at = a.findIndex((byte, index) => byte !== b[index]);
  return `${a.length} and ${b.length} bytes, first different at ${at < 0 ? a.length : at}`;
}

function assertOldOrNew(before: Buffer, after: Buffer, actual: Buffer): void {
  assert.ok(
    actual.length >= before.length && actual.length <= after.length,
    'a size that was never asked for',
  );
  for (let at = 0; at < actual.length; at += 1) {
    if (actual[at] !== after[at] && actual[at] !== (before[at] ?? 0)) {
      assert.fail(`byte ${at} of the image is neither old nor new`);
    }
  }
}

function bytesIn(plan: WritePlan): number {
  return plan.extents.reduce((sum, { data }) => sum + data.length, 0);
}

function codeOf(error: unknown): string | undefined {
  return error instanceof SnapError ? error.code : undefined;
}

function ascending(indexes: ReadonlySet<number>): string {
  return [...indexes].sort((a, b) => a - b).join(' ');
}

function troubleText(trouble: Trouble | undefined): string {
  if (trouble === undefined) return '';
  return ` (${trouble.how}${trouble.lasting ? ', lasting,' : ''} after ${trouble.after} operations)`;
}
