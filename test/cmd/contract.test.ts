/** What all six commands have in common, as real processes: help, mistakes, errors, where output goes. */
import assert from 'node:assert/strict';
import { linkSync, mkdirSync, openSync, readFileSync, symlinkSync } from 'node:fs';
import { test } from 'node:test';
import {
  brokenPipe,
  COMMANDS,
  type CommandName,
  eachOf,
  holdLock,
  KIB,
  noise,
  type Workplace,
  withDescriptor,
  workplace,
} from '../support/commands.ts';
import { packagePath } from '../support/process.ts';

const OF_EVERY_COMMAND = ['json', 'quiet', '[no-]progress', 'wait', 'debug', 'help', 'version'];
const OPTIONS: Record<CommandName, readonly string[]> = {
  'snap-create': [
    'cluster-size',
    'store',
    'spill',
    'max-store-file',
    'max-size',
    'on-full',
    'clone',
    'transient',
    'label',
    'import-dm',
    'time',
    'candidates',
  ],
  'snap-write': ['offset', 'extend', 'delta', 'zero', 'extents', 'no-sync'],
  'snap-read': [
    'offset',
    'length',
    'output',
    'format',
    'chunk-size',
    'digest',
    'allow-modified-origin',
    'then-delete',
  ],
  'snap-verify': ['digest', 'check', 'origin'],
  'snap-gc': [
    ...['last', 'hourly', 'daily', 'weekly', 'monthly', 'yearly', 'within'].map((rule) => `keep-${rule}`),
    ...['hourly', 'daily', 'weekly', 'monthly', 'yearly'].map((rule) => `keep-within-${rule}`),
    ...['max-total', 'accept-origin', 'dry-run'],
  ],
  'snap-list': ['format'],
};

/** An image with two snapshots, which differ. */
async function withSnapshots(work: Workplace): Promise<void> {
  work.image('disk.img', noise('contract', 300 * KIB + 1));
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  await work.write('disk.img', 70_000, noise('change', 1000));
  await work.ok('snap-create', ['-q', 'disk.img@two']);
}

test('--help names every option, on stdout only, in 80 columns of ASCII', async (t) => {
  const work = await workplace(t);
  await eachOf(COMMANDS, async (name) => {
    const help = await work.ok(name, ['--help']);
    assert.equal(help.stderr, '');
    assert.match(help.stdout, new RegExp(`^Usage: ${name} `));
    assert.match(help.stdout, /^[\x20-\x7e\n]+\n$/);
    for (const line of help.stdout.split('\n')) assert.ok(line.length <= 80, line);
    const named = [...help.stdout.matchAll(/^ {2}(?:-[a-z], | {4})--([a-z[\]-]+)/gm)].map(([, each]) => each);
    assert.deepEqual(new Set(named), new Set([...OPTIONS[name], ...OF_EVERY_COMMAND]));
    // Whatever else is wrong with the line.
    const mistakes = ['a', '--json', '--wait=x', '--help', 'b', '--constructor'];
    assert.deepEqual(await work.ok(name, mistakes), help);
  });
});

test('--version is one line', async (t) => {
  const work = await workplace(t);
  const { version } = JSON.parse(readFileSync(packagePath('package.json'), 'utf8'));
  await eachOf(COMMANDS, async (name) => {
    const answer = await work.ok(name, ['--version', '--nope']);
    assert.deepEqual([answer.stdout, answer.stderr], [`imgsnap ${version}\n`, '']);
  });
});

const MISTAKES: readonly [readonly string[], RegExp][] = [
  [['disk.img', '--nope'], /unknown option "--nope"/],
  [['disk.img', '--constructor'], /unknown option "--constructor"/],
  [['disk.img', '--__proto__'], /unknown option "--__proto__"/],
  [['disk.img', '--toString=1'], /unknown option "--toString"/],
  [['disk.img', '--wait', '1', '--wait=2'], /--wait is given twice/],
  [['disk.img', '--wait', 'soon'], /--wait: "soon" is not a number of seconds/],
  [[''], /is empty/],
];

const OWN_MISTAKES: Record<CommandName, readonly [readonly string[], RegExp][]> = {
  'snap-create': [
    [[], /missing argument IMAGE/],
    [['disk.img', 'other.img'], /unexpected argument "other.img"/],
    [['disk.img@-x'], /is not a snapshot's name/],
    [['disk.img', '--cluster-size', '5000'], /power of two from 4K to 16M/],
    [['disk.img', '--on-full', 'shrug'], /--on-full: "shrug" is not possible/],
    [['disk.img', '--time', 'now'], /--time: "now"/],
    [['disk.img', '--import-dm', 'a', '--candidates', 'auto'], /--import-dm and --candidates/],
  ],
  'snap-write': [
    [[], /missing argument IMAGE/],
    [['disk.img', 'disk.img'], /unexpected argument/],
    [['disk.img@one'], /snapshots are read-only/],
    [['disk.img@gone'], /snapshots are read-only/],
    [['disk.img', '--offset', '1e3'], /--offset: "1e3" is not a size/],
    [['disk.img', '--offset=-1'], /--offset: "-1" is not a size/],
    [['disk.img', '--zero', '1', '--delta'], /--zero and --delta/],
  ],
  'snap-read': [
    [[], /missing argument IMAGE/],
    [['disk.img@one', 'disk.img@two'], /unexpected argument/],
    [['disk.img@one', '--length', '9000P'], /--length: "9000P" is too large/],
    [['disk.img@one', '-o', 'a', '--output=b'], /--output is given twice/],
    [['disk.img@one', '--format', 'rbd'], /--format: "rbd" is not possible/],
    [['disk.img', '--format', 'dm'], /--format dm takes a snapshot, disk.img@NAME/],
    [['disk.img@one', '--format', 'dm', '--offset', '0'], /--format dm and --offset do not go together/],
    [['disk.img@one', '--format', 'dm', '--length', '512'], /--format dm and --length/],
    [['disk.img@one', '--format', 'dm', '--digest'], /--format dm and --digest/],
    [['disk.img@one', '--format', 'dm', '--then-delete'], /--format dm and --then-delete/],
    [['disk.img@one', '--chunk-size', '4K'], /--chunk-size is for --format dm/],
    [['disk.img@one', '--format', 'raw', '--chunk-size', '4K'], /--chunk-size is for --format dm/],
    [['disk.img@one', '--format', 'dm', '--chunk-size', '256'], /a power of two from 512 to 512K, not 256/],
    [['disk.img@one', '--format', 'dm', '--chunk-size', '1M'], /a power of two from 512 to 512K, not 1M/],
    [['disk.img@one', '--format', 'dm', '--chunk-size', '3K'], /a power of two from 512 to 512K, not 3K/],
    [['disk.img', '--then-delete'], /--then-delete is for a snapshot/],
    [['disk.img@one', '--then-delete', '--offset', '0'], /--then-delete and --offset/],
    [['disk.img@one', '--then-delete', '--length=1', '-o', 'a'], /--then-delete and --length/],
    [
      ['disk.img@one', '--then-delete', '--allow-modified-origin'],
      /--then-delete and --allow-modified-origin/,
    ],
  ],
  'snap-verify': [
    [[], /missing argument IMAGE/],
    [['disk.img@one', 'other.img@one'], /one image at a time/],
    [['disk.img', 'disk.img@one'], /the image alone, or snapshots/],
    [['disk.img', '--digest', '--origin'], /do not go together/],
  ],
  'snap-gc': [
    [[], /missing argument IMAGE/],
    [['disk.img', 'other.img'], /one image at a time/],
    [['disk.img@one', 'other.img@one'], /one image at a time/],
    [['disk.img@one', '--keep-last', '1'], /rules are for a whole image/],
    [['disk.img@one', '--max-total', '1G'], /rules are for a whole image/],
    [['disk.img@one', '--accept-origin'], /--accept-origin is for a whole image/],
    [['disk.img', '--keep-last', '0'], /--keep-last: "0" is not a count/],
    [['disk.img', '--keep-within', '3h2d'], /--keep-within: "3h2d"/],
  ],
  'snap-list': [
    [['disk.img@one'], /names a snapshot, and only an image is taken/],
    [['disk.img', '--format', 'json'], /--format: "json" is not possible/],
    [['disk.img', '--format', 'dmsetup'], /--json and --format exclude each other/],
  ],
};

test('a mistake on the command line is 2, and touches nothing', async (t) => {
  const work = await workplace(t);
  await withSnapshots(work);
  work.image('other.img', 10);
  const before = work.fingerprint();
  await eachOf(COMMANDS, async (name) => {
    for (const [args, message] of [...MISTAKES, ...OWN_MISTAKES[name]]) {
      const { status, stdout, code, message: said } = await work.fails(name, args, { stdin: 'data' });
      assert.deepEqual([status, stdout, code], [2, '', 'usage'], `${name} ${args.join(' ')}`);
      assert.match(said, message);
    }
  });
  assert.deepEqual(work.fingerprint(), before);
});

test('what is said for people has the name of the command, the kind, and a remedy', async (t) => {
  const work = await workplace(t);
  await eachOf(COMMANDS, async (name) => {
    const { status, stdout, stderr } = await work.run(name, ['nowhere/disk.img']);
    assert.deepEqual([status, stdout], [1, '']);
    assert.equal(stderr, `${name}: error: nowhere/disk.img: no such image\n${name}: hint: check the path\n`);
    const mistake = await work.run(name, ['--nope']);
    assert.match(mistake.stderr, new RegExp(`^${name}: error: unknown option "--nope"\n${name}: hint: `));
  });
});

test('what is no image of its own is refused, a link to one is followed', async (t) => {
  const work = await workplace(t);
  mkdirSync(work.path('directory'));
  work.image('twice.img', 100);
  linkSync(work.path('twice.img'), work.path('same.img'));
  const before = work.fingerprint();
  const cases: [string, string, RegExp][] = [
    ['directory', 'refused', /^directory: is a directory/],
    ['/dev/null', 'refused', /^\/dev\/null: is a device/],
    ['/dev/zero', 'refused', /^\/dev\/zero: is a device/],
    ['twice.img', 'refused', /^twice\.img: has several hard links/],
    ['./same.img', 'refused', /^\.\/same\.img: has several hard links/],
  ];
  await eachOf(COMMANDS, async (name) => {
    for (const [image, code, message] of cases) {
      const failure = await work.fails(name, [image]);
      assert.deepEqual([failure.status, failure.code, failure.stdout], [1, code, ''], `${name} ${image}`);
      assert.match(failure.message, message);
    }
  });
  assert.deepEqual(work.fingerprint(), before);
});

test('the sidecar of a symbolic link stands beside the file that it leads to', async (t) => {
  const work = await workplace(t);
  mkdirSync(work.path('far'));
  const content = work.image('far/disk.img', 100_000);
  symlinkSync('far/disk.img', work.path('link.img'));
  assert.equal((await work.ok('snap-create', ['link.img@one'])).stdout, 'link.img@one\n');
  await work.write('link.img', 5, noise('through a link', 100));
  assert.ok((await work.read('far/disk.img@one')).equals(content));
  assert.ok((await work.read('link.img@one')).equals(content));
  assert.equal((await work.ok('snap-list', ['--json', 'link.img'])).stdout.includes('"name":"one"'), true);
  assert.equal((await work.ok('snap-verify', ['--digest', 'link.img'])).stdout.slice(16), '  link.img@one\n');
  await work.ok('snap-gc', ['link.img@one']);
  assert.equal(work.fingerprint().has('link.img.snap'), false);
});

test('paths are printed as they were given', async (t) => {
  const work = await workplace(t);
  mkdirSync(work.path('sub'));
  work.image('disk.img', 5000);
  const paths = ['./disk.img', 'sub/../disk.img', work.path('disk.img')];
  for (const [index, path] of paths.entries()) {
    const created = await work.ok('snap-create', [`${path}@s${index}`]);
    assert.equal(created.stdout, `${path}@s${index}\n`);
    const written = JSON.parse(
      (await work.ok('snap-write', ['--json', path], { stdin: `x${index}` })).stdout,
    );
    assert.deepEqual([written.image, written.snapshot], [path, `${path}@s${index}`]);
    const listed = JSON.parse((await work.ok('snap-list', ['--json', path])).stdout);
    assert.equal(listed[0].image, path);
    const verified = JSON.parse((await work.ok('snap-verify', ['--json', path])).stdout);
    assert.equal(verified.image, path);
    const read = JSON.parse((await work.ok('snap-read', ['--json', `${path}@s${index}`])).stderr);
    assert.deepEqual([read.image, read.snapshot], [path, `${path}@s${index}`]);
    const collected = JSON.parse((await work.ok('snap-gc', ['--json', '--dry-run', path])).stdout);
    assert.equal(collected.image, path);
    assert.match(
      (await work.fails('snap-read', [`${path}@gone`])).message,
      new RegExp(`^${path}@gone: no such`),
    );
  }
});

test('an @ in a file name: the file itself, a snapshot, or two readings', async (t) => {
  const work = await workplace(t);
  work.image('a@b', 10);
  assert.equal((await work.ok('snap-create', ['a@b@c'])).stdout, 'a@b@c\n');
  assert.equal(
    (await work.ok('snap-create', ['--time', '2026-01-01T00:00:00Z', 'a@b'])).stdout.slice(0, 4),
    'a@b@',
  );
  work.image('a', 10);
  const failure = await work.fails('snap-create', ['a@b']);
  assert.deepEqual([failure.status, failure.code], [2, 'usage']);
  assert.match(failure.message, /ambiguous/);
  assert.equal((await work.ok('snap-read', ['--json', 'a@b@'])).data.length, 10);
  mkdirSync(work.path('x@y'));
  work.image('x@y/disk.img', 10);
  assert.match((await work.ok('snap-create', ['x@y/disk.img'])).stdout, /^x@y\/disk\.img@\d{8}T\d{6}Z\n$/);
});

const WITH_OUTPUT: Record<CommandName, readonly (readonly string[])[]> = {
  'snap-create': [['disk.img'], ['--json', 'disk.img']],
  'snap-write': [['--json', 'disk.img']],
  'snap-read': [['disk.img@one'], ['disk.img'], ['--json', 'disk.img@one', '-o', 'out']],
  'snap-verify': [
    ['disk.img'],
    ['--json', 'disk.img'],
    ['--digest', 'disk.img'],
    ['--origin', 'disk.img@two'],
  ],
  'snap-gc': [['disk.img'], ['--json', '--dry-run', 'disk.img']],
  'snap-list': [['disk.img'], ['--json', 'disk.img']],
};
const outputs = COMMANDS.flatMap((name) =>
  [['--help'], ...WITH_OUTPUT[name]].map((args) => ({ name, args })),
);

test('a reader that closed our stdout ends it with 141, without a word', async (t) => {
  const work = await workplace(t);
  await withSnapshots(work);
  let count = 0;
  await eachOf(outputs, async ({ name, args }) => {
    count += 1;
    const answer = await withDescriptor(brokenPipe(work, `pipe${count}`), (stdout) =>
      work.run(name, args, { stdout }),
    );
    assert.deepEqual([answer.status, answer.stderr], [141, ''], `${name} ${args.join(' ')}`);
  });
  await work.ok('snap-verify', ['disk.img']);
});

test('a stdout that takes nothing is an error with a message', async (t) => {
  const work = await workplace(t);
  await withSnapshots(work);
  await eachOf(outputs, async ({ name, args }) => {
    const answer = await withDescriptor(openSync('/dev/full', 'w'), (stdout) =>
      work.run(name, args, { stdout }),
    );
    assert.equal(answer.status, 1, `${name} ${args.join(' ')}`);
    if (args.includes('--json')) assert.equal(JSON.parse(answer.stderr).error.code, 'no-space');
    else
      assert.match(
        answer.stderr,
        new RegExp(`^${name}: error: cannot write to standard output: no space left`),
      );
  });
  await work.ok('snap-verify', ['disk.img']);
});

test('-q silences what only reports success, on both streams', async (t) => {
  const work = await workplace(t);
  work.image('disk.img', 100_000);
  const quiet: [CommandName, string[]][] = [
    ['snap-create', ['disk.img@one']],
    ['snap-write', ['disk.img']],
    ['snap-verify', ['disk.img']],
    ['snap-read', ['disk.img@one', '-o', 'out']],
    ['snap-gc', ['disk.img']],
    ['snap-gc', ['disk.img', '--keep-last', '1']],
    ['snap-gc', ['disk.img@one']],
    ['snap-list', ['disk.img']],
  ];
  for (const [name, args] of quiet) {
    const answer = await work.ok(name, ['-q', ...args], { stdin: 'data' });
    assert.deepEqual([answer.stdout, answer.stderr], ['', ''], `${name} ${args.join(' ')}`);
  }
});

test('another command at work is 4 when --wait is over, and the code is busy', async (t) => {
  const work = await workplace(t);
  work.image('disk.img', 100_000);
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  const release = await holdLock(work.path('disk.img.snap/state'));
  try {
    await eachOf(COMMANDS, async (name) => {
      const failure = await work.fails(name, ['--wait', '0', 'disk.img'], { stdin: 'data' });
      assert.deepEqual([failure.status, failure.code], [4, 'busy'], name);
    });
  } finally {
    await release();
  }
});
