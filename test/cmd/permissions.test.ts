/**
 * Whoever may not read an image must not read it from its snapshots: not from a store, not from a file that was just
 * made, not for the moment before it has its owner. Real processes, since modes, umasks and owners are only true there;
 * `test/snapshot/permissions.test.ts` has many more modes, in memory.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { type TestContext, test } from 'node:test';
import { type CommandName, eachOf, KIB, noise, Workplace, wordsOf, workplace } from '../support/commands.ts';
import { packagePath, runProcess } from '../support/process.ts';

const CLUSTER = 64 * KIB;
const SPY = packagePath('test/support/moments.cjs');

interface User {
  readonly uid: number;
  readonly gid: number;
  readonly groups?: readonly number[];
}

const ROOT: User = { uid: 0, gid: 0 };
/** Owns the images; their group is not the one that she makes files with. */
const ALICE: User = { uid: 5001, gid: 6000, groups: [6001] };
/** Of the image's group. */
const BOB: User = { uid: 5002, gid: 6000, groups: [6001] };
/** Of no group of the image. */
const CAROL: User = { uid: 5003, gid: 6000 };
const IMAGES = { uid: ALICE.uid, gid: 6001 };

interface Moment {
  readonly path: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** The words that run others as `user`. */
function wordsAs(user: User, umask: number, words: readonly string[]): string[] {
  const shell = ['sh', '-c', `umask ${umask.toString(8)}; exec "$@"`, 'sh', ...words];
  if (user === ROOT) return shell;
  const groups = user.groups ? `--groups=${user.groups}` : '--clear-groups';
  return ['setpriv', `--reuid=${user.uid}`, `--regid=${user.gid}`, groups, ...shell];
}

/** Whether commands can be run as other users; where not the test is skipped, and says so. */
function skipWithoutUsers(t: TestContext): boolean {
  const words = wordsAs(ALICE, 0, wordsOf('snap-list', ['--version']));
  const { status, stderr, error } = spawnSync(words[0] ?? '', words.slice(1), { encoding: 'utf8' });
  if (status === 0) return false;
  t.skip(`commands cannot be run as another user here: ${error?.message ?? stderr}`);
  return true;
}

/** A directory that everybody may use, as /tmp is, with an image of ALICE's. */
function openPlace(work: Workplace, name: string, mode: number): Workplace {
  chmodSync(work.directory, 0o755);
  const place = new Workplace(work.path(name));
  for (const path of [place.directory, place.path('elsewhere')]) {
    mkdirSync(path);
    chmodSync(path, 0o777);
  }
  place.image('disk.img', noise(name, 4 * CLUSTER));
  chownSync(place.path('disk.img'), IMAGES.uid, IMAGES.gid);
  chmodSync(place.path('disk.img'), mode);
  return place;
}

/** Every command that makes files, each as `user`; returns every state that any file was ever in. */
async function everyMoment(place: Workplace, user: User, umask: number): Promise<Moment[]> {
  const log = `${place.directory}.moments`;
  writeFileSync(log, '');
  chmodSync(log, 0o666);
  const env = {
    NODE_OPTIONS: `--require ${SPY}`,
    IMGSNAP_MOMENTS_BELOW: place.directory,
    IMGSNAP_MOMENTS_INTO: log,
  };
  const steps: readonly [CommandName, readonly string[]][] = [
    ['snap-create', ['-q', 'disk.img@one', '--store', 'elsewhere/one.cow']],
    ['snap-create', ['-q', 'disk.img@two']],
    ['snap-write', ['-q', 'disk.img']],
    ['snap-gc', ['-q', 'disk.img@two']],
    ['snap-read', ['-q', 'disk.img@one', '-o', 'out']],
  ];
  for (const [name, args] of steps) {
    const words = wordsAs(user, umask, wordsOf(name, args));
    const { status, stderr } = await runProcess(words, { cwd: place.directory, env, stdin: 'new data' });
    assert.equal(status, 0, `${name}: ${stderr}`);
  }
  const lines = readFileSync(log, 'utf8').split('\n').slice(0, -1);
  return lines
    .map((line): Moment => JSON.parse(line))
    .filter(({ path }) => !['disk.img', 'elsewhere'].includes(path));
}

/** Whether somebody has a right to the file that the image, with this mode, does not give him. */
function isTooOpen(moment: Moment, mode: number, user: User): boolean {
  const [group, others] = [(mode >> 3) & 7, mode & 7];
  // In a file of another group, that group's members are strangers to the image, and the image's group is a stranger.
  const both = group & others;
  const [groupMay, othersMay] = moment.gid === IMAGES.gid ? [group, others] : [both, both];
  const isDirectory = /\.snap(\.[0-9a-f]{16}\.tmp)?$/.test(moment.path);
  const enter = (bits: number) => (isDirectory && (bits & 4) !== 0 ? bits | 1 : bits);
  const tooMuch = moment.mode & ~(0o700 | (enter(groupMay) << 3) | enter(othersMay));
  return tooMuch !== 0 || ![IMAGES.uid, user.uid].includes(moment.uid);
}

function describe({ path, mode, uid, gid }: Moment): string {
  return `${path} is ${mode.toString(8)} of ${uid}:${gid}`;
}

/** What everything is in the end, by mode, owner and group. */
function present(place: Workplace, names: readonly string[]): Map<string, string> {
  const found = new Map<string, string>();
  for (const name of names) {
    const { mode, uid, gid } = lstatSync(place.path(name));
    found.set(name, `${(mode & 0o7777).toString(8)} ${uid}:${gid}`);
  }
  return found;
}

const CASES: readonly [user: User, mode: number, umask: number, files: number, output: number][] = [
  [ROOT, 0o640, 0, 0o640, 0o640],
  [ROOT, 0o4400, 0o077, 0o600, 0o400],
  [ALICE, 0o664, 0o027, 0o664, 0o664],
  [BOB, 0o660, 0, 0o660, 0o660],
  [CAROL, 0o646, 0, 0o644, 0o644],
];

test('no file is ever more open than the image, whatever the umask, and each ends with its mode', async (t) => {
  if (skipWithoutUsers(t)) return;
  const work = await workplace(t);
  await eachOf(CASES, async ([user, mode, umask, files, output]) => {
    const name = `${user.uid}-${mode.toString(8)}`;
    const place = openPlace(work, name, mode);
    const moments = await everyMoment(place, user, umask);
    assert.ok(moments.length > 20, `${moments.length} moments`);
    assert.deepEqual(moments.filter((moment) => isTooOpen(moment, mode, user)).map(describe), [], name);
    const owned = user === ROOT ? IMAGES : { uid: user.uid, gid: user === CAROL ? CAROL.gid : IMAGES.gid };
    const made = [
      ...readdirSync(place.path('disk.img.snap')).map((each) => `disk.img.snap/${each}`),
      'elsewhere/one.cow',
    ];
    const expected = (bits: number, uid: number) => `${bits.toString(8)} ${uid}:${owned.gid}`;
    for (const [path, is] of present(place, made)) assert.equal(is, expected(files, owned.uid), path);
    const enter = files | ((files & 0o444) >> 2);
    assert.equal(present(place, ['disk.img.snap']).get('disk.img.snap'), expected(enter, owned.uid), name);
    assert.equal(present(place, ['out']).get('out'), expected(output, user.uid), name);
  });
});
