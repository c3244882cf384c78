/** What koffi makes faster must be the same without it: holes, and long streams into pipes. */
import assert from 'node:assert/strict';
import { readFileSync, rmSync, statSync } from 'node:fs';
import { test } from 'node:test';
import { MIB, makeSparse, noise, type Workplace, workplace, writeBytes } from '../support/commands.ts';
import { packagePath, runProcess } from '../support/process.ts';
import { withoutKoffi } from '../support/without-koffi.ts';

const SIZE_BYTES = 3 * 1024 * MIB;

/** Data in two places, and under the snapshot others. */
async function sparseImage(work: Workplace): Promise<void> {
  writeBytes(work.path('disk.img'), 1000 * MIB, noise('old', 2 * MIB));
  writeBytes(work.path('disk.img'), SIZE_BYTES - 100, noise('end', 100));
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  await work.write('disk.img', 1001 * MIB, noise('new', 3 * MIB));
  await work.write('disk.img', 2000 * MIB + 5, noise('filled', 70_000));
}

test('a sparse image gives the same bytes with koffi and without, and stays sparse', async (t) => {
  const work = await workplace(t);
  if (!makeSparse(t, work.path('disk.img'), SIZE_BYTES)) return;
  await sparseImage(work);
  const portable = withoutKoffi(work, 'snap-read');
  const digests: string[] = [];
  for (const program of [packagePath('dist/snap-read.cjs'), portable]) {
    const words = [process.execPath, program, '--digest', 'disk.img@one', '-o', 'out.img'];
    const { status, stderr } = await runProcess(words, { cwd: work.directory });
    assert.equal(status, 0, stderr);
    digests.push(/xxh64:[0-9a-f]{16}/.exec(stderr)?.[0] ?? stderr);
    const { size, blocks } = statSync(work.path('out.img'));
    assert.equal(size, SIZE_BYTES);
    assert.ok(blocks * 512 < 8 * MIB, `${blocks} blocks`);
  }
  assert.equal(digests[0], digests[1]);
  const whole = Buffer.alloc(4 * MIB);
  noise('old', 2 * MIB).copy(whole);
  const length = ['--offset', String(1000 * MIB), '--length', String(whole.length)];
  assert.ok((await work.ok('snap-read', ['disk.img@one', ...length])).data.equals(whole));
});

test('an image that can be seen to be a hole is not read, and one that cannot be is', async (t) => {
  const work = await workplace(t);
  if (!makeSparse(t, work.path('disk.img'), SIZE_BYTES)) return;
  await sparseImage(work);
  const portable = withoutKoffi(work, 'snap-read');
  const countReads = async (program: string): Promise<number> => {
    const probe = { log: work.path('calls') };
    const words = [
      process.execPath,
      '--require',
      packagePath('test/support/probe.cjs'),
      program,
      'disk.img@one',
    ];
    const env = { IMGSNAP_PROBE: JSON.stringify(probe) };
    const { status } = await runProcess([...words, '-o', 'out.img'], { cwd: work.directory, env });
    assert.equal(status, 0);
    const calls = readFileSync(work.path('calls'), 'utf8').split('\n');
    rmSync(work.path('calls'));
    return calls.filter((call) => call === 'read disk.img').length;
  };
  const seen = await countReads(packagePath('dist/snap-read.cjs'));
  assert.ok(seen < 20, `${seen} reads of the image`);
  const unseen = await countReads(portable);
  assert.ok(unseen > 2000, `${unseen} reads of the image`);
});

test('a long stream arrives whole through a pipe that is widened on the way, and through one that cannot be', async (t) => {
  const work = await workplace(t);
  const content = work.image('disk.img', noise('long', 80 * MIB + 77));
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  await work.write('disk.img', 5 * MIB, noise('changed', MIB));
  work.image('old.img', content);
  for (const program of [packagePath('dist/snap-read.cjs'), withoutKoffi(work, 'snap-read')]) {
    const script = `"$1" "$2" disk.img@one | cat | cmp - old.img`;
    const words = ['bash', '-o', 'pipefail', '-c', script, 'bash', process.execPath, program];
    const { status, stderr } = await runProcess(words, { cwd: work.directory });
    assert.equal(status, 0, stderr);
  }
});
