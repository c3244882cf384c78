/** Real programs at both ends: what they say is right, whatever we think. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { KIB, MIB, noise, skipWithout, type Workplace, wordsOf, workplace } from '../support/commands.ts';
import { runShell } from '../support/process.ts';

/** Runs a script in the workplace; `"$READ"` and the like stand for our commands. */
async function script(work: Workplace, text: string): Promise<string> {
  const quote = (words: readonly string[]) => words.map((word) => `'${word}'`).join(' ');
  const functions = ['create', 'write', 'read', 'verify'] as const;
  const head = functions.map((name) => `snap_${name}() { ${quote(wordsOf(`snap-${name}`, []))} "$@"; }`);
  const result = await runShell(`set -e\n${head.join('\n')}\n${text}`, [], { cwd: work.directory });
  assert.equal(result.status, 0, `${text}: ${result.stderr} ${result.stdout}`);
  return result.stdout.toString();
}

for (const program of ['gzip', 'zstd']) {
  test(`a backup through ${program}, and back into the image`, async (t) => {
    if (skipWithout(t, program, 'cmp')) return;
    const work = await workplace(t);
    const content = Buffer.concat([
      noise(1, MIB + 1),
      Buffer.alloc(MIB),
      Buffer.from('text '.repeat(20_000)),
    ]);
    work.image('disk.img', content);
    await work.ok('snap-create', ['-q', 'disk.img@one']);
    await work.write('disk.img', 500 * KIB, noise(2, MIB));
    writeFileSync(work.path('before'), content);
    await script(
      work,
      `snap_read disk.img@one | ${program} -c >packed; ${program} -dc <packed | cmp - before`,
    );
    await script(work, `${program} -dc <packed | snap_write -q --delta disk.img; cmp disk.img before`);
    await script(work, `snap_read disk.img@one -o out; cmp out before`);
    assert.ok((await work.read('disk.img@one')).equals(content));
  });
}

test('dd reads and writes through us as through a file', async (t) => {
  if (skipWithout(t, 'dd', 'cmp')) return;
  const work = await workplace(t);
  const content = work.image('disk.img', noise('dd', 3 * MIB));
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  await script(
    work,
    `cp disk.img plain.img
    dd if=/dev/urandom bs=1000 count=700 of=data 2>/dev/null
    dd if=data bs=1 seek=12345 conv=notrunc of=plain.img 2>/dev/null
    dd if=data bs=777 2>/dev/null | snap_write -q disk.img --offset 12345
    cmp disk.img plain.img
    snap_read disk.img@one | dd bs=4096 of=old 2>/dev/null`,
  );
  assert.ok(readFileSync(work.path('old')).equals(content));
});

test('e2fsck and debugfs find a snapshot of an ext4 image sound, with the old files', async (t) => {
  if (skipWithout(t, 'mke2fs', 'e2fsck', 'debugfs')) return;
  const work = await workplace(t);
  mkdirSync(work.path('tree'));
  writeFileSync(work.path('tree/hello'), 'hello from before');
  writeFileSync(work.path('tree/noise'), noise('ext4', 300_000));
  execFileSync('mke2fs', ['-q', '-t', 'ext4', '-d', work.path('tree'), work.path('disk.img'), '8M']);
  await work.ok('snap-create', ['-q', 'disk.img@one']);
  writeFileSync(work.path('tree/hello'), 'hello from afterwards');
  writeFileSync(work.path('tree/noise'), noise('other', 400_000));
  execFileSync('mke2fs', ['-q', '-t', 'ext4', '-d', work.path('tree'), work.path('next.img'), '8M']);
  await work.ok('snap-write', ['-q', '--delta', 'disk.img'], { stdin: readFileSync(work.path('next.img')) });
  const look = (image: string) =>
    script(work, `e2fsck -fn ${image} 2>&1 >/dev/null; debugfs -R 'cat hello' ${image} 2>/dev/null`);
  await work.ok('snap-read', ['disk.img@one', '-o', 'old.img']);
  assert.match(await look('old.img'), /hello from before$/);
  assert.match(await look('disk.img'), /hello from afterwards$/);
  const dumped = await script(work, `debugfs -R 'dump noise dumped' old.img 2>/dev/null; cat dumped`);
  assert.ok(dumped.length > 0 && readFileSync(work.path('dumped')).equals(noise('ext4', 300_000)));
});
