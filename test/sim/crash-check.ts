/**
 * After a crash: everything that must hold, looked at as a user would, before repair, after it, and once more. Throws
 * an Error that says what is wrong.
 */
import assert from 'node:assert/strict';
import { hasCode } from '../../core/base/errors.ts';
import { collectSnapshots } from '../../core/snapshot/collect.ts';
import { listImage } from '../../core/snapshot/list.ts';
import { readSnapshot } from '../../core/snapshot/read.ts';
import { verifySnapshots } from '../../core/snapshot/verify.ts';
import { Volume } from '../../core/snapshot/volume.ts';
import { writeImage } from '../../core/snapshot/write.ts';
import { readStoreIdentity } from '../../core/store/store-file.ts';
import { testContext } from '../support/context.ts';
import { sourceOf } from '../support/image.ts';
import type { Random } from './crash-content.ts';
import type { Expectation, Found } from './crash-expectation.ts';
import { CrashVolume } from './crash-volume.ts';
import { MemoryFileSystem } from './memory-file-system.ts';
import { MemoryHost, mulberry32 } from './memory-host.ts';
import { isChange, type Operation, type OperationHook } from './session.ts';
import { systemError } from './system-error.ts';

export const IMAGE = '/vm/disk.img';
/** Where a snapshot's further files are made. */
export const SPILL_DIRECTORY = '/more';
const SIDECAR = `${IMAGE}.snap`;
/** Of the disk, that the next user makes: somewhat more than it mostly takes. */
const MOST_CHANGES = 40;

export async function rawImage(host: MemoryHost): Promise<Buffer> {
  const file = await host.files.open(IMAGE, 'read');
  const bytes = Buffer.alloc((await file.stat()).sizeBytes);
  await file.read(bytes, 0);
  await file.close();
  return bytes;
}

function refuseChanges(operation: Operation): void {
  if (isChange(operation)) throw systemError('EROFS');
}

export async function readAll(host: MemoryHost, name: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  const sink = { write: async (chunk: Buffer) => void chunks.push(Buffer.from(chunk)) };
  const options = { offsetBytes: 0, allowModifiedOrigin: false, digest: false };
  await readSnapshot(testContext(host), { image: IMAGE, name }, options, sink);
  return Buffer.concat(chunks);
}

/**
 * Every snapshot that must exist does, is trusted, and reads right; no other does. Returns what was found.
 * @param how whether the reads may record digests, or nothing may be changed by looking
 */
export async function checkSnapshots(
  machine: MemoryHost,
  expected: Expectation,
  how: 'look' | 'record',
): Promise<Found> {
  const host = machine.session(how === 'look' ? refuseChanges : undefined);
  const { snapshots } = await listImage(testContext(host), IMAGE);
  const names = new Set(snapshots.map(({ name }) => name));
  for (const [name, { certain }] of expected.snapshots) {
    assert.ok(names.has(name) || !certain, `snapshot ${name} is lost`);
  }
  const ended = new Set<string>();
  for (const { name, state, reason } of snapshots) {
    const snapshot = expected.snapshots.get(name);
    assert.ok(snapshot !== undefined, `snapshot ${name} came back`);
    if (state === 'invalid' || state === 'modified') {
      assert.ok(snapshot.mayEnd, `snapshot ${name} is ${state}: ${reason}`);
      ended.add(name);
      continue;
    }
    assert.ok(!snapshot.ended, `snapshot ${name} is trusted again`);
    assert.ok((await readAll(host, name)).equals(snapshot.bytes), `snapshot ${name} reads wrong`);
  }
  return { names, ended };
}

async function dump(host: MemoryHost): Promise<string> {
  const parts: string[] = [];
  for (const name of await host.files.list(SIDECAR)) {
    const file = await host.files.open(`${SIDECAR}/${name}`, 'read');
    const bytes = Buffer.alloc((await file.stat()).sizeBytes);
    await file.read(bytes, 0);
    await file.close();
    parts.push(name, bytes.toString('latin1'));
  }
  return parts.join('\n');
}

async function takeExclusively(host: MemoryHost): Promise<void> {
  const volume = await Volume.open(testContext(host), IMAGE, 'change');
  await volume.exclusive(async () => undefined);
  await volume.close();
}

/** One that was being made when the power was lost may be anything, and is nobody's then. */
async function isWholeStore(host: MemoryHost, filePath: string): Promise<boolean> {
  const file = await host.files.open(filePath, 'read');
  try {
    await readStoreIdentity(file);
    return true;
  } catch (error) {
    if (hasCode(error, 'damage', 'newer-version')) return false;
    throw error;
  } finally {
    await file.close();
  }
}

/** Only what belongs there is left after collecting. */
async function checkClean(host: MemoryHost): Promise<void> {
  await collectSnapshots(testContext(host), IMAGE, { dryRun: false });
  const beside = await host.files.list('/vm');
  assert.deepEqual(
    beside.filter((name) => name !== 'disk.img' && name !== 'disk.img.snap'),
    [],
    'an unfinished sidecar stays',
  );
  if (!beside.includes('disk.img.snap')) return;
  const { snapshots } = await listImage(testContext(host), IMAGE);
  const stores = new Set(
    snapshots.flatMap(({ files }) => files.map((file) => file.slice(SIDECAR.length + 1))),
  );
  const other = (await host.files.list(SIDECAR)).filter(
    (name) => !stores.has(name) && !['catalog.json', 'state', 'reserve'].includes(name),
  );
  assert.deepEqual(other, [], 'garbage stays');
  const named = new Set(snapshots.flatMap(({ files }) => files));
  const spills =
    (await host.files.stat(SPILL_DIRECTORY)) === undefined ? [] : await host.files.list(SPILL_DIRECTORY);
  for (const name of spills) {
    const filePath = `${SPILL_DIRECTORY}/${name}`;
    if (!named.has(filePath)) assert.ok(!(await isWholeStore(host, filePath)), `${filePath} stays`);
  }
}

/**
 * @param expected what is known; a copy is taken
 * @param again where it is given, the power is lost once more, while the next user repairs, writes and collects
 */
export async function checkAfterCrash(
  host: MemoryHost,
  expected: Expectation,
  again?: Random,
): Promise<void> {
  const wrong = expected.wrongAfterCrash(await rawImage(host));
  assert.equal(wrong, undefined, wrong);
  // From here on what is there is known, and on the disk.
  const known = expected.learnAfterCrash(await rawImage(host));
  known.settle(await checkSnapshots(host, known, 'look'));
  const loss = again && new SecondLoss(host, known, again);
  const session = host.session(loss?.hook);
  try {
    await checkNextWrite(session, known);
    const found = await checkSnapshots(host, known, 'record');
    if (found.names.size > 0) await checkRepaired(host, found.ended);
    // Collecting removes those that have ended.
    for (const name of found.ended) uncertain(known, name);
    await checkClean(session);
  } catch (error) {
    // Core must not take it for an error of the disk.
    throw loss?.failure ?? error;
  }
  if (loss?.failure !== undefined) throw loss.failure;
  await checkSnapshots(host, known, 'record');
}

function uncertain(known: Expectation, name: string): void {
  const snapshot = known.snapshots.get(name);
  if (snapshot !== undefined) snapshot.certain = false;
}

async function checkRepaired(host: MemoryHost, ended: ReadonlySet<string>): Promise<void> {
  const before = await dump(host);
  await takeExclusively(host.session());
  assert.ok(before === (await dump(host)), 'a second recovery changes something');
  const verification = await verifySnapshots(testContext(host.session()), IMAGE, []);
  const findings = verification.findings.filter(({ name }) => name === undefined || !ended.has(name));
  assert.deepEqual(findings, [], 'verification finds something');
}

/** As the next user: a write makes the sidecar whole, and is done. */
async function checkNextWrite(session: MemoryHost, known: Expectation): Promise<void> {
  const data = Buffer.from('the next write');
  const offsetBytes = Math.max(0, Math.floor(known.image.length / 2) - 3);
  const endBytes = offsetBytes + data.length;
  known.mayEndByWrite(false);
  known.touch({ startBytes: Math.min(offsetBytes, known.image.length), endBytes });
  const options = { offsetBytes, extend: true, delta: false, sync: true };
  const { failure } = await writeImage(testContext(session), IMAGE, options, sourceOf(data));
  assert.equal(failure, undefined, `the next write fails: ${failure?.message}`);
  known.write(offsetBytes, data);
  assert.ok(known.image.equals(await rawImage(session)), 'the next write is not there');
  known.flush();
}

/** The power is lost again before some change of the disk, and what is left then is looked at. */
class SecondLoss {
  failure: Error | undefined;
  readonly #volume: CrashVolume;
  readonly #known: Expectation;
  readonly #random: Random;
  #changesLeft: number;

  constructor(host: MemoryHost, known: Expectation, random: Random) {
    const { volume } = host.files;
    assert.ok(volume instanceof CrashVolume);
    this.#volume = volume;
    this.#known = known;
    this.#random = random;
    this.#changesLeft = 1 + (random() % MOST_CHANGES);
  }

  readonly hook: OperationHook = async (operation) => {
    if (this.failure !== undefined) throw this.failure;
    if (!isChange(operation)) return;
    this.#changesLeft -= 1;
    if (this.#changesLeft !== 0) return;
    const seed = this.#random();
    const host = new MemoryHost(seed, new MemoryFileSystem(this.#volume.afterCrash(mulberry32(seed))));
    try {
      await checkAfterCrash(host, this.#known);
    } catch (error) {
      const where = `${operation.kind} of ${operation.path}`;
      this.failure = new Error(`power lost again before ${where}: ${String(error)}`, { cause: error });
      throw this.failure;
    }
  };
}
