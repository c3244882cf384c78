/**
 * `npm run build`: makes `dist/` of the sources. A command is a small file of its name, which starts `bundles/NAME`, all
 * of its code in one file, with what V8 makes of that (`compiled.ts`), for which each command is run a few times.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BuildOptions, build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const [dist, bundles] = [join(root, 'dist'), join(root, 'dist/bundles')];
const commands = readdirSync(join(root, 'cmd'))
  .filter((name) => /^snap-.*\.ts$/.test(name))
  .map((name) => basename(name, '.ts'));

/** What the commands are mostly used for, on an image of some clusters. */
const USES: readonly (readonly [string, string?])[] = [
  ['snap-create --help'],
  ['snap-create disk.img@a'],
  ['snap-create -q disk.img@b'],
  ['snap-write -q disk.img', 'other'],
  ['snap-write disk.img --delta', 'other'],
  ['snap-create disk.img'],
  ['snap-write disk.img', 'disk.img'],
  ['snap-read disk.img@a'],
  ['snap-read -q --digest disk.img@a -o copy'],
  ['snap-read disk.img@b'],
  ['snap-verify disk.img'],
  ['snap-verify -q disk.img'],
  ['snap-list disk.img'],
  ['snap-list --json disk.img'],
  ['snap-gc disk.img@b'],
  ['snap-gc -q disk.img --keep-last 1'],
];

async function bundle(): Promise<void> {
  const shared: BuildOptions = {
    absWorkingDir: root,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    external: ['fs-native-extensions', 'koffi'],
    logLevel: 'warning',
    logOverride: { 'empty-import-meta': 'silent' },
  };
  const outExtension = { '.js': '.cjs' };
  await build({
    ...shared,
    entryPoints: commands.map((name) => `cmd/${name}.ts`),
    outdir: bundles,
    outExtension,
  });
  await build({
    ...shared,
    entryPoints: ['build/start.ts', 'build/warm-up.ts'],
    outdir: dist,
    outExtension,
    banner: { js: '#!/usr/bin/env node' },
  });
  for (const name of commands) {
    copyFileSync(join(dist, 'start.cjs'), join(dist, `${name}.cjs`));
    chmodSync(join(dist, `${name}.cjs`), 0o755);
  }
  rmSync(join(dist, 'start.cjs'));
}

/** Has V8 compile what is used. Where that fails the commands start slower, and are none the worse for it. */
function warmUp(): void {
  const directory = mkdtempSync(join(tmpdir(), 'imgsnap-build-'));
  try {
    for (const name of ['disk.img', 'other'])
      writeFileSync(join(directory, name), Buffer.alloc(1 << 20, name));
    for (const [words, input = '/dev/null'] of USES) {
      const [name = '', ...args] = words.split(' ');
      const command = [process.execPath, join(dist, 'warm-up.cjs'), join(bundles, `${name}.cjs`), ...args];
      const { status, stderr } = spawnSync(
        'bash',
        ['-c', 'exec "$@" <"$0" | cat >/dev/null; exit $PIPESTATUS', input, ...command],
        {
          cwd: directory,
          encoding: 'utf8',
          env: { PATH: process.env.PATH, IMGSNAP_ANY_FILESYSTEM: '1' },
        },
      );
      if (status !== 0) console.warn(`build: ${words}: ended with ${status}, so it starts slower: ${stderr}`);
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

rmSync(dist, { recursive: true, force: true });
await bundle();
warmUp();
rmSync(join(dist, 'warm-up.cjs'));
