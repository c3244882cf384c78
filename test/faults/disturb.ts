/** One operation with one call of it disturbed, and what must hold then: for the answer, and for all that was there. */
import assert from 'node:assert/strict';
import { inspect } from 'node:util';
import { hasCode, SnapError } from '../../core/base/errors.ts';
import { verifySnapshots } from '../../core/snapshot/verify.ts';
import { copyMachine } from '../damage/copy-machine.ts';
import type { MemoryHost } from '../sim/memory-host.ts';
import type { Operation, OperationKind } from '../sim/session.ts';
import { systemError } from '../sim/system-error.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { IMAGE, rawImage, read } from '../support/image.ts';
import { mustPass, whyHarmless } from './harmless.ts';
import { imageAfter, type Tried } from './operations.ts';
import { copyScene, type Scene, SEED } from './scenes.ts';

const CHANGES: readonly OperationKind[] = [
  'create',
  'write',
  'truncate',
  'makeDirectory',
  'removeDirectory',
  'remove',
  'rename',
  'setPermissions',
  'setOwner',
];
const FLUSHES: readonly OperationKind[] = ['syncData', 'syncAll', 'syncDirectory'];
const BY_NAME: readonly OperationKind[] = [
  'open',
  'create',
  'stat',
  'linkStat',
  'realPath',
  'list',
  'makeDirectory',
  'removeDirectory',
  'remove',
  'rename',
  'syncDirectory',
  'setPermissions',
  'setOwner',
  'isCoherent',
];

/** What each call may be answered with; EIO by all. */
const ANSWERS = {
  ENOSPC: [...CHANGES, ...FLUSHES, 'close'],
  EDQUOT: [...CHANGES, ...FLUSHES, 'close'],
  EFBIG: ['write', 'truncate'],
  EROFS: CHANGES,
  EACCES: BY_NAME,
  ENOLCK: ['tryLock'],
} satisfies Record<string, readonly OperationKind[]>;

export type Errno = keyof typeof ANSWERS | 'EIO';

const ERRNOS: readonly Errno[] = ['EIO', 'ENOSPC', 'EDQUOT', 'EFBIG', 'EROFS', 'EACCES', 'ENOLCK'];
/** What a failing disk does not disturb. */
const OF_THE_PROCESS: ReadonlySet<OperationKind> = new Set(['tryLock', 'unlock', 'close']);
const FULL: ReadonlySet<Errno> = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);
const WITH_REMEDY: ReadonlySet<Errno> = new Set([...FULL, 'EROFS', 'EACCES']);

/** The errnos that a call may be answered with, once or for good. */
export function errnosOf({ kind }: Operation, stays: boolean): readonly Errno[] {
  if (stays && OF_THE_PROCESS.has(kind)) return [];
  return ERRNOS.filter((errno) => canFail(kind, errno));
}

function canFail(kind: OperationKind, errno: Errno): boolean {
  const kinds: readonly OperationKind[] | undefined = errno === 'EIO' ? undefined : ANSWERS[errno];
  return kinds?.includes(kind) ?? true;
}

export interface Fault {
  /** Counted over the calls of the operation, from 0. */
  readonly at: number;
  readonly errno: Errno;
  /** All calls from there on fail that can be answered so. */
  readonly stays: boolean;
}

export interface Attempted {
  readonly value: unknown;
  readonly error: unknown;
  readonly context: TestContext;
  readonly calls: readonly Operation[];
}

export async function attempt(host: MemoryHost, tried: Tried, fault?: Fault): Promise<Attempted> {
  const calls: Operation[] = [];
  const session = host.session((operation) => {
    calls.push(operation);
    const at = calls.length - 1;
    if (fault === undefined || at < fault.at || (at > fault.at && !fault.stays)) return;
    if (at > fault.at && OF_THE_PROCESS.has(operation.kind)) return;
    if (canFail(operation.kind, fault.errno)) throw systemError(fault.errno);
  });
  const context = testContext(session);
  const result = await tried.work(context).then(
    (value) => ({ value, error: undefined }),
    (error: unknown) => ({ value: undefined, error }),
  );
  assert.equal(session.files.openCount, 0, 'files are left open');
  // The process ends.
  session.kill();
  return { ...result, context, calls };
}

/** The error has the right code, names the file and, of reads and writes, the offset, and says what to do about it. */
function checkError(error: unknown, { errno }: Fault, failed: Operation, isFirst: boolean): void {
  if (!(error instanceof SnapError)) throw error;
  const { message } = error;
  assert.equal(error.code, FULL.has(errno) ? 'no-space' : 'io', message);
  assert.equal(error.errno, errno, message);
  assert.ok(error.path?.startsWith('/') && message.includes(error.path), `names no path: ${message}`);
  if (WITH_REMEDY.has(errno)) assert.ok(error.hint, `no hint: ${message}`);
  if (!isFirst) return;
  assert.ok(message.includes(failed.path), `names another file: ${message}`);
  if (failed.kind === 'read' || failed.kind === 'write') {
    assert.equal(error.offsetBytes, failed.offsetBytes, message);
    assert.match(message, new RegExp(`at offset ${failed.offsetBytes}\\b`));
  }
}

/** Snapshots are as they were, but for those that the operation removes and those whose loss was told. */
async function checkSnapshots(host: MemoryHost, scene: Scene, tried: Tried, excused: boolean): Promise<void> {
  for (const [name, frozen] of scene.frozen) {
    try {
      assert.ok((await read(testContext(host), name)).equals(frozen), `${name} reads wrong`);
    } catch (error) {
      if (tried.removes.includes(name) && hasCode(error, 'not-found')) continue;
      if ((excused || scene.ended.includes(name)) && hasCode(error, 'invalid')) continue;
      if (tried.scene === 'touched' && hasCode(error, 'modified')) continue;
      throw error;
    }
    assert.ok(!scene.ended.includes(name), `${name} is read as valid`);
  }
  if (tried.creates === undefined) return;
  try {
    assert.ok((await read(testContext(host), tried.creates)).equals(scene.image), 'the new one reads wrong');
  } catch (error) {
    if (!hasCode(error, 'not-found')) throw error;
  }
}

/** Every byte is as it was, or as it was to become. */
async function checkImage(host: MemoryHost, scene: Scene, tried: Tried): Promise<void> {
  const wanted = imageAfter(scene, tried);
  const found = await rawImage(host);
  assert.ok(found.length >= scene.image.length && found.length <= wanted.length, 'the size of the image');
  const at = found.findIndex((byte, index) => byte !== wanted[index] && byte !== (scene.image[index] ?? 0));
  assert.equal(at, -1, 'a byte of the image is neither old nor new');
}

/** Whoever looks finds no damage, before anything is repaired. */
async function checkVerified(host: MemoryHost): Promise<void> {
  const { findings } = await verifySnapshots(testContext(host), IMAGE, []);
  const damage = findings.filter(({ kind }) => kind !== 'modified' && kind !== 'invalid');
  assert.deepEqual(damage, [], 'verification finds damage');
}

async function checkAgain(host: MemoryHost, scene: Scene, tried: Tried, wasTold: boolean) {
  const { error, context } = await attempt(host, tried);
  const done = tried.creates !== undefined || tried.removes.length > 0;
  if (error !== undefined && !(done && hasCode(error, 'exists', 'not-found'))) throw error;
  await checkSnapshots(host, scene, tried, wasTold || tellsLoss(context));
  if (tried.scene === 'touched') {
    for (const [name, frozen] of scene.frozen)
      assert.ok((await read(testContext(host), name)).equals(frozen));
  }
  assert.ok((await rawImage(host)).equals(imageAfter(scene, tried)), 'the image in the end');
}

/** Asked before the checks read everything, which records digests. */
async function checkAnswer(host: MemoryHost, tried: Tried, usual: unknown): Promise<void> {
  const copy = copyMachine(host, SEED);
  // Or the names that come from chance would come again.
  copy.randomBytes(97);
  const { value, error } = await attempt(copy, tried);
  if (error !== undefined) throw error;
  assert.deepEqual(value, usual, 'the second answer');
}

/** Verifying goes on where one store cannot be read; what it found says so then. */
function tellsOf(answer: unknown, { errno }: Fault): boolean {
  return inspect(answer, { depth: 5 }).includes(`(${errno})`);
}

function tellsLoss({ warnings }: TestContext): boolean {
  return warnings.some(({ loss }) => loss === true);
}

function checkWarnings(context: TestContext, scene: Scene, tried: Tried, fault: Fault): boolean {
  const told = tellsLoss(context);
  const mayTell =
    scene.atLimit ||
    tried.scene === 'touched' ||
    (FULL.has(fault.errno) && tried.written !== undefined && scene.mayEnd);
  assert.ok(!told || mayTell, 'a loss without need');
  return told;
}

/** @param usual the operation undisturbed */
export async function disturb(scene: Scene, tried: Tried, usual: Attempted, fault: Fault): Promise<void> {
  const failed = usual.calls[fault.at];
  assert.ok(failed, 'there is such a call');
  const host = copyScene(scene);
  const { value, error, context } = await attempt(host, tried, fault);
  const { at, stays } = fault;
  const met = { tried, calls: usual.calls, at, failed, full: FULL.has(fault.errno), stays };
  if (error !== undefined) {
    // What stays is met again where the first time did no harm (a store that cannot be read is missed by who needs it);
    // else it is what went wrong first that is told.
    const passes =
      (tried.looks && /\.(?:cow|clone)$/.test(failed.path)) || whyHarmless({ ...met, stays: false });
    const isFirst = !stays || !passes;
    checkError(error, fault, failed, isFirst);
    assert.ok(!mustPass(met), 'fails for what does not matter');
  } else if (!tellsOf(value, fault)) {
    assert.ok(whyHarmless(met), 'a failure without an error');
    if (tried.looks) assert.deepEqual(value, usual.value, 'another answer');
  }
  if (tried.looks) await checkAnswer(host, tried, usual.value);
  const told = checkWarnings(context, scene, tried, fault);
  await checkVerified(host);
  // Where nothing can be read any more, nobody can tell whether an end came to be.
  const unsure = scene.atLimit && stays && error !== undefined;
  await checkSnapshots(host, scene, tried, told || unsure);
  await checkImage(host, scene, tried);
  await tried.check?.(host, error);
  await checkAgain(host, scene, tried, told || unsure);
}
