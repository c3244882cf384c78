/**
 * A Linux machine of one job: Debian's cloud kernel, booted by QEMU without any help of the processor, with busybox,
 * dmsetup and the modules of device-mapper in memory, and one disk. What the job prints comes back by the serial line.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { packagePath, runProcess } from '../support/process.ts';
import { type ArchiveFile, archive } from './cpio.ts';

/** Programs of this machine that are needed, and the packages of Debian that have them. */
const PROGRAMS: readonly (readonly [program: string, debianPackage: string])[] = [
  ['qemu-system-x86_64', 'qemu-system-x86'],
  ['busybox', 'busybox-static'],
  ['dmsetup', 'dmsetup'],
  ['dpkg-deb', 'dpkg'],
  ['apt-get', 'apt'],
];
const KERNEL_PACKAGE = 'linux-image-cloud-amd64';
const MODULES = ['virtio_pci', 'virtio_blk', 'dm-mod', 'dm-snapshot'];
const CACHE = packagePath('node_modules/.cache/kernel');
/** A boot takes some seconds. Who takes minutes is stuck. */
const MOST_SECONDS = 900;

export interface Kernel {
  readonly imagePath: string;
  readonly version: string;
  /** Its modules, each after what it needs. */
  readonly modulePaths: readonly string[];
}

/** What is missing on this machine to have one; empty where nothing is. */
export function missingPrograms(): string[] {
  const missing = PROGRAMS.filter(([program]) => locate(program) === undefined);
  return missing.map(([program, debianPackage]) => `${program} (${debianPackage})`);
}

function locate(program: string): string | undefined {
  const path = `${process.env.PATH ?? ''}:/usr/sbin:/sbin`;
  const found = path.split(':').map((directory) => join(directory, program));
  return found.find((each) => existsSync(each));
}

/** Downloads the kernel's package where it is not in the cache. @throws where it cannot be had */
export function getKernel(): Kernel {
  if (!existsSync(CACHE)) {
    const depends = execFileSync('apt-cache', ['depends', KERNEL_PACKAGE], { encoding: 'utf8' });
    const debianPackage = /Depends: (linux-image-\S+)/.exec(depends)?.[1];
    if (debianPackage === undefined) throw new Error(`apt-cache tells of no ${KERNEL_PACKAGE}`);
    const making = `${CACHE}.tmp`;
    rmSync(making, { recursive: true, force: true });
    mkdirSync(making, { recursive: true });
    execFileSync('apt-get', ['download', '-q', debianPackage], { cwd: making, stdio: 'ignore' });
    const [downloaded = ''] = readdirSync(making);
    execFileSync('dpkg-deb', ['-x', join(making, downloaded), making]);
    rmSync(join(making, downloaded));
    renameSync(making, CACHE);
  }
  const [image = ''] = readdirSync(join(CACHE, 'boot')).filter((name) => name.startsWith('vmlinuz-'));
  const version = image.replace('vmlinuz-', '');
  const names = readdirSync(CACHE, { recursive: true, encoding: 'utf8' });
  const modules = new Map(
    names.filter((name) => /\.ko(?:\.|$)/.test(name)).map((name) => [moduleName(name), join(CACHE, name)]),
  );
  return { imagePath: join(CACHE, 'boot', image), version, modulePaths: inOrder(modules) };
}

function moduleName(path: string): string {
  return basename(path)
    .replace(/\.ko.*$/, '')
    .replaceAll('-', '_');
}

/** Each module says in itself what it depends on. */
function inOrder(modules: ReadonlyMap<string, string>): string[] {
  const ordered: string[] = [];
  const visit = (name: string) => {
    const path = modules.get(name);
    // One that is built in has no file.
    if (path === undefined || ordered.includes(path)) return;
    const depends = /\0depends=([^\0]*)\0/.exec(`\0${readFileSync(path, 'latin1')}`)?.[1] ?? '';
    for (const each of depends.split(',')) if (each !== '') visit(each.replaceAll('-', '_'));
    ordered.push(path);
  };
  for (const name of MODULES) visit(name.replaceAll('-', '_'));
  return ordered;
}

/** A program with the libraries that it names. */
function withLibraries(program: string): ArchiveFile[] {
  const path = locate(program) ?? program;
  const listed = spawnSync('ldd', [path], { encoding: 'utf8' }).stdout;
  const libraries = [...listed.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map(([, library = '']) => library);
  return [
    { path: `bin/${program}`, content: readFileSync(path), mode: 0o755 },
    ...libraries.map((library) => ({ path: library, content: readFileSync(library), mode: 0o755 })),
  ];
}

function firstFiles(kernel: Kernel, job: string): ArchiveFile[] {
  const modules = kernel.modulePaths.map((path) => {
    const bytes = readFileSync(path);
    return {
      path: `modules/${moduleName(path)}.ko`,
      content: path.endsWith('.gz') ? gunzipSync(bytes) : bytes,
      mode: 0o644,
    };
  });
  const init = [
    '#!/bin/busybox sh',
    '/bin/busybox mkdir -p /dev /proc /sys /sbin /run /tmp',
    '/bin/busybox --install -s /bin',
    'mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys',
    ...modules.map(({ path }) => `insmod /${path}`),
    'export DM_DISABLE_UDEV=1',
    'sh /job 2>&1; echo "the job ended with $?"',
    'sync; poweroff -f',
  ];
  return [
    ...withLibraries('busybox'),
    ...withLibraries('dmsetup'),
    ...modules,
    { path: 'init', content: `${init.join('\n')}\n`, mode: 0o755 },
    { path: 'job', content: job, mode: 0o644 },
  ];
}

/**
 * Boots, runs the lines of `job` (for busybox's sh; the disk is /dev/vda) and powers off.
 * @returns what they printed. @throws where the job did not come to its end, with all that the machine said
 */
export async function runJob(
  kernel: Kernel,
  directory: string,
  diskPath: string,
  job: readonly string[],
): Promise<string> {
  const initramfs = join(directory, 'initramfs');
  const script = ['set -e', 'echo @begin', ...job, 'echo @end', ''].join('\n');
  writeFileSync(initramfs, archive(firstFiles(kernel, script)));
  const words = [
    ...['timeout', '--kill-after=5', String(MOST_SECONDS), locate('qemu-system-x86_64') ?? ''],
    ...[
      '-machine',
      'pc',
      '-accel',
      'tcg',
      '-cpu',
      'max',
      '-m',
      '512',
      '-nographic',
      '-no-reboot',
      '-nodefaults',
    ],
    ...['-serial', 'stdio', '-drive', `file=${diskPath},format=raw,if=virtio,cache=unsafe`],
    ...['-kernel', kernel.imagePath, '-initrd', initramfs],
    ...['-append', 'console=ttyS0 quiet loglevel=3 panic=-1 nokaslr mitigations=off'],
  ];
  const { stdout, stderr } = await runProcess(words);
  rmSync(initramfs);
  const said = stdout.toString('latin1').replaceAll('\r', '');
  const printed = /@begin\n([\s\S]*?)@end\n[\s\S]*the job ended with 0/.exec(said)?.[1];
  if (printed === undefined) throw new Error(`the machine did not do its job:\n${said}\n${stderr}`);
  return printed;
}
