/** Each call of each operation fails once, in each way: the answer is right, and nothing that was there is harmed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspect } from 'node:util';
import { hasCode, SnapError } from '../../core/base/errors.ts';
import { copyMachine } from '../damage/copy-machine.ts';
import type { MemoryHost } from '../sim/memory-host.ts';
import type { Operation, OperationKind } from '../sim/session.ts';
import { systemError } from '../sim/system-error.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { rawImage, read } from '../support/image.ts';
import { makeScene, type Scene, SEED, TRIED, type Tried } from './scenes.ts';

const ERRNOS = ['ENOSPC', 'EDQUOT', 'EIO', 'EROFS'] as const;
type Errno = (typeof ERRNOS)[number];
/** For by hand: each call from the n-th on fails. */
const FOR_GOOD = process.env.IMGSNAP_FAULTS_STAY === '1';
const MOST_SHOWN = 12;

const NEVER: ReadonlySet<OperationKind> = new Set(['tryLock', 'unlock', 'close']);
const CHANGES: ReadonlySet<OperationKind> = new Set([
  'create',
  'write',
  'truncate',
  'makeDirectory',
  'removeDirectory',
  'remove',
  'rename',
  'setPermissions',
  'setOwner',
]);
const FLUSHES: ReadonlySet<OperationKind> = new Set(['syncData', 'syncAll', 'syncDirectory']);

function canFail({ kind }: Operation, errno: Errno): boolean {
  if (NEVER.has(kind)) return false;
  if (errno === 'EIO') return true;
  // What it shares with ENOSPC is tried with that.
  if (errno === 'EDQUOT') return kind === 'write' || kind === 'create';
  return CHANGES.has(kind) || (errno !== 'EROFS' && FLUSHES.has(kind));
}

interface Fault {
  readonly at: number;
  readonly errno: Errno;
}

interface Attempted {
  readonly value: unknown;
  readonly error: unknown;
  readonly context: TestContext;
  readonly calls: readonly Operation[];
}

async function attempt(host: MemoryHost, tried: Tried, fault?: Fault): Promise<Attempted> {
  const calls: Operation[] = [];
  const session = host.session((operation) => {
    if (NEVER.has(operation.kind)) return;
    calls.push(operation);
    if (fault === undefined || calls.length - 1 < fault.at) return;
    if (calls.length - 1 > fault.at && !FOR_GOOD) return;
    if (canFail(operation, fault.errno)) throw systemError(fault.errno);
  });
  const context = testContext(session);
  const result = await tried.work(context).then(
    (value) => ({ value, error: undefined }),
    (error: unknown) => ({ value: undefined, error }),
  );
  assert.equal(session.files.openCount, 0, 'files are left open');
  return { ...result, context, calls };
}

function checkError(error: unknown, { errno }: Fault): void {
  if (!(error instanceof SnapError)) throw error;
  const expected = errno === 'ENOSPC' || errno === 'EDQUOT' ? 'no-space' : 'io';
  assert.equal(error.code, expected, `${error.message}`);
  assert.ok(
    error.path?.startsWith('/') && error.message.includes(error.path),
    `names no path: ${error.message}`,
  );
}

/** Snapshots are as they were, but for those that the operation removes and those whose loss was told. */
async function checkSnapshots(host: MemoryHost, scene: Scene, tried: Tried, excused: boolean): Promise<void> {
  for (const [name, frozen] of scene.frozen) {
    try {
      assert.ok((await read(testContext(host), name)).equals(frozen), `${name} reads wrong`);
    } catch (error) {
      if (tried.removes.includes(name) && hasCode(error, 'not-found')) continue;
      if (excused && hasCode(error, 'invalid')) continue;
      if (tried.scene === 'touched' && hasCode(error, 'modified')) continue;
      throw error;
    }
  }
  if (tried.creates === undefined) return;
  try {
    assert.ok((await read(testContext(host), tried.creates)).equals(scene.image), 'the new one reads wrong');
  } catch (error) {
    if (!hasCode(error, 'not-found')) throw error;
  }
}

function imageAfter(scene: Scene, { written }: Tried): Buffer {
  if (written === undefined) return scene.image;
  const endBytes = written.offsetBytes + written.data.length;
  const after = Buffer.alloc(Math.max(scene.image.length, endBytes));
  scene.image.copy(after);
  written.data.copy(after, written.offsetBytes);
  return after;
}

/** Every byte is as it was, or as it was to become. */
async function checkImage(host: MemoryHost, scene: Scene, tried: Tried): Promise<void> {
  const wanted = imageAfter(scene, tried);
  const found = await rawImage(host);
  assert.ok(found.length >= scene.image.length && found.length <= wanted.length, 'the size of the image');
  const at = found.findIndex((byte, index) => byte !== wanted[index] && byte !== (scene.image[index] ?? 0));
  assert.equal(at, -1, 'a byte of the image is neither old nor new');
}

async function checkAgain(host: MemoryHost, scene: Scene, tried: Tried, excused: boolean) {
  const { error } = await attempt(host, tried);
  const done = tried.creates !== undefined || tried.removes.length > 0;
  if (error !== undefined && !(done && hasCode(error, 'exists', 'not-found'))) throw error;
  await checkSnapshots(host, scene, tried, excused);
  if (tried.scene === 'touched') {
    for (const [name, frozen] of scene.frozen)
      assert.ok((await read(testContext(host), name)).equals(frozen));
  }
  assert.ok((await rawImage(host)).equals(imageAfter(scene, tried)), 'the image in the end');
}

/** Asked before the checks read everything, which records digests. */
async function checkAnswer(host: MemoryHost, tried: Tried, usual: unknown): Promise<void> {
  const { value, error } = await attempt(copyMachine(host, SEED), tried);
  if (error !== undefined) throw error;
  assert.deepEqual(value, usual, 'the second answer');
}

/** Verifying goes on where one store cannot be read; what it found says so then. */
function tellsOf(answer: unknown, { errno }: Fault): boolean {
  return inspect(answer, { depth: 5 }).includes(`(${errno})`);
}

async function disturb(scene: Scene, tried: Tried, usual: unknown, fault: Fault): Promise<void> {
  const host = copyMachine(scene.host, SEED);
  const { value, error, context } = await attempt(host, tried, fault);
  if (error !== undefined) checkError(error, fault);
  else if (tried.looks && !tellsOf(value, fault)) assert.deepEqual(value, usual, 'another answer');
  if (tried.looks) await checkAnswer(host, tried, usual);
  const full = fault.errno === 'ENOSPC' || fault.errno === 'EDQUOT';
  const told = context.warnings.some(({ loss }) => loss === true);
  const mayTell =
    tried.scene === 'touched' || (full && tried.written !== undefined && tried.scene !== 'refuse');
  assert.ok(!told || mayTell, 'a loss without need');
  await checkSnapshots(host, scene, tried, told);
  await checkImage(host, scene, tried);
  await checkAgain(host, scene, tried, told);
}

for (const tried of TRIED) {
  test(`${tried.what}: each call fails once`, async () => {
    const scene = await makeScene(tried.scene);
    const { value: usual, calls, error: unexpected } = await attempt(copyMachine(scene.host, SEED), tried);
    assert.equal(unexpected, undefined);
    const failures: string[] = [];
    let count = 0;
    for (const [at, operation] of calls.entries()) {
      for (const errno of ERRNOS.filter((each) => canFail(operation, each))) {
        count += 1;
        try {
          await disturb(scene, tried, usual, { at, errno });
        } catch (error) {
          const message = error instanceof Error ? error.message : String(error);
          failures.push(`${errno} at ${at} (${operation.kind} ${operation.path}): ${message}`);
        }
      }
    }
    const shown = failures.slice(0, MOST_SHOWN).join('\n');
    assert.equal(failures.length, 0, `seed ${SEED}: ${failures.length} of ${count}\n${shown}`);
  });
}
