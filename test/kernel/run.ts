/**
 * `npm run test:kernel -- [SEED]`: the real device-mapper beside ours. The kernel reads what we export, and merges it;
 * we import what the kernel makes. With `--save` what it made is put into `fixtures/`, for `test/dm/golden.test.ts`.
 *
 * The machine is QEMU with Debian's kernel. Where one of them cannot be had, it says so and does nothing.
 */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packed, storeFixture } from '../dm/fixture.ts';
import { afterWrites, sectors } from '../dm/written.ts';
import { Workplace } from '../support/commands.ts';
import { JobDisk } from './disk.ts';
import { type ExportCase, makeExports } from './exports.ts';
import { checkListed, makeListed } from './listed.ts';
import { getKernel, type Kernel, missingPrograms, runJob } from './machine.ts';
import { KERNEL_STORES, type KernelStore } from './stores.ts';

const SECTOR_BYTES = 512;
/** What the kernel writes beside a store of ours that goes on: over parts that differ and parts that do not. */
const MORE_WRITES = [
  { at: 8, count: 200 },
  { at: 2500, count: 333 },
] as const;

const device = (name: string, part: string) => `/dev/mapper/${name}-${part}`;

/** Copies sectors, and says so where that fails. */
function copy(
  from: string,
  to: string,
  { at, count, skip }: { at: number; count: number; skip: number },
): string {
  const place = `bs=${SECTOR_BYTES} skip=${skip} seek=${at} count=${count}`;
  return `dd if=${from} of=${to} ${place} conv=notrunc,fsync 2>/tmp/said || cat /tmp/said`;
}

/** Writes what stands one after another in a part. */
function writes(
  name: string,
  to: string,
  list: readonly { at: number; count: number }[],
  skipped = 0,
): string[] {
  let skip = skipped;
  return list.map(({ at, count }) => {
    const line = copy(device(name, 'written'), device(name, to), { at, count, skip });
    skip += count;
    return line;
  });
}

const total = (list: readonly { readonly count: number }[]) =>
  list.reduce((sum, { count }) => sum + count, 0);

const tableOf = (name: string, chunkSectors: number) =>
  `snapshot ${device(name, 'origin')} ${device(name, 'store')} P ${chunkSectors}`;

/** A snapshot as LVM would set it up: the origin is resumed after it, so that it knows the chunk size. */
function setUp(name: string, length: number, chunkSectors: number): string[] {
  const snapshot = `0 ${length} ${tableOf(name, chunkSectors)}`;
  return [
    `dmsetup create ${name}-snapshot --table '${snapshot}'`,
    `dmsetup create ${name}-base --table '0 ${length} snapshot-origin ${device(name, 'origin')}'`,
  ];
}

function makeStores(disk: JobDisk): string[] {
  return KERNEL_STORES.flatMap(({ name, ...store }) => {
    disk.add(`${name}-origin`, sectors('frozen', { at: 0, count: store.sectors }));
    disk.add(`${name}-store`, store.cowSectors * SECTOR_BYTES);
    disk.add(`${name}-out`, store.sectors * SECTOR_BYTES);
    const written = [
      ...store.writes.map((write, index) => sectors(`origin${index + 1}`, write)),
      ...store.snapshotWrites.map((write, index) => sectors(`snapshot${index + 1}`, write)),
    ];
    disk.add(`${name}-written`, Buffer.concat([...written, Buffer.alloc(SECTOR_BYTES)]));
    const read = copy(device(name, 'snapshot'), device(name, 'out'), {
      at: 0,
      count: store.sectors,
      skip: 0,
    });
    return [
      ...setUp(name, store.sectors, store.chunkSectors),
      ...writes(name, 'base', store.writes),
      ...writes(name, 'snapshot', store.snapshotWrites, total(store.writes)),
      `dmsetup status ${name}-snapshot | sed 's/^/@status ${name} /'`,
      ...(store.status === 'Invalid' ? [] : [read]),
      `dmsetup remove ${name}-snapshot; dmsetup remove ${name}-base`,
    ];
  });
}

function readAndMerge(disk: JobDisk, cases: readonly ExportCase[]): string[] {
  return cases.flatMap(({ name, snapshot, origin, store, chunkSectors, goesOn }) => {
    const length = snapshot.length / SECTOR_BYTES;
    disk.add(`${name}-origin`, origin);
    disk.add(`${name}-store`, store);
    disk.add(`${name}-out`, snapshot.length);
    disk.add(`${name}-later`, snapshot.length);
    disk.add(`${name}-written`, Buffer.concat(MORE_WRITES.map((write) => sectors('more', write))));
    const read = (to: string) =>
      copy(device(name, 'snapshot'), device(name, to), { at: 0, count: length, skip: 0 });
    const table = `0 ${length} ${tableOf(name, chunkSectors)}`;
    const merge = `0 ${length} snapshot-merge ${device(name, 'origin')} ${device(name, 'store')} P ${chunkSectors}`;
    return [
      // As somebody would who only looks, and cannot harm the image.
      `dmsetup create ${name}-snapshot --readonly --table '${table}'`,
      `dmsetup status ${name}-snapshot | sed 's/^/@status ${name} /'`,
      read('out'),
      `dmsetup remove ${name}-snapshot`,
      ...(goesOn
        ? [...setUp(name, length, chunkSectors), ...writes(name, 'base', MORE_WRITES), read('later')]
        : []),
      ...(goesOn ? [`dmsetup remove ${name}-snapshot; dmsetup remove ${name}-base`] : []),
      `dmsetup create ${name}-merge --table '${merge}'`,
      `until dmsetup status ${name}-merge | grep -q ' \\([0-9]*\\)/[0-9]* \\1$'; do usleep 20000; done`,
      `dmsetup status ${name}-merge | sed 's/^/@merged ${name} /'`,
      `dmsetup remove ${name}-merge`,
    ];
  });
}

/** Runs a check, and tells how it went. */
class Report {
  failed = 0;
  passed = 0;

  async check(what: string, work: () => void | Promise<void>): Promise<void> {
    try {
      await work();
      this.passed += 1;
      console.log(`ok: ${what}`);
    } catch (error) {
      this.failed += 1;
      console.log(`FAILED: ${what}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
}

async function checkStore(disk: JobDisk, work: Workplace, store: KernelStore, said: string): Promise<void> {
  const { name } = store;
  const frozen = sectors('frozen', { at: 0, count: store.sectors });
  const written = afterWrites(frozen, 'origin', store.writes);
  assert.ok(disk.read(`${name}-origin`).equals(written), 'the origin is not what was written');
  work.image(`${name}.img`, written);
  work.image(`${name}.cow`, disk.read(`${name}-store`));
  const args = [`${name}.img@s`, '--import-dm', `${name}.cow`];
  if (store.status === 'Invalid') {
    assert.match(said, new RegExp(`^@status ${name} .* snapshot Invalid$`, 'm'));
    const { code, message } = await work.fails('snap-create', args);
    assert.match(`${code}: ${message}`, /^refused: .*has ended/);
    return;
  }
  const expected = afterWrites(frozen, 'snapshot', store.snapshotWrites);
  assert.ok(disk.read(`${name}-out`).equals(expected), 'the kernel reads something else');
  await work.ok('snap-create', ['-q', ...args]);
  assert.ok((await work.read(`${name}.img@s`)).equals(expected), 'imported, it reads as something else');
  await work.ok('snap-verify', [`${name}.img`]);
}

function checkExport(disk: JobDisk, each: ExportCase, said: string): void {
  const { name, snapshot, origin, status, goesOn } = each;
  assert.ok(
    said.includes(`@status ${name} 0 ${snapshot.length / SECTOR_BYTES} snapshot ${status}\n`),
    `not ${status}`,
  );
  assert.ok(disk.read(`${name}-out`).equals(snapshot), 'the kernel reads something else');
  const after = disk.read(`${name}-origin`);
  if (goesOn) {
    assert.ok(
      disk.read(`${name}-later`).equals(snapshot),
      'after writes beside it the kernel reads something else',
    );
    assert.ok(after.equals(snapshot), 'merged, the origin is not the snapshot');
    return;
  }
  const asMerged = Buffer.concat([snapshot, origin.subarray(snapshot.length)]).subarray(0, after.length);
  assert.ok(after.equals(asMerged), 'merged, the origin is not the snapshot and what it has grown by');
}

function save(disk: JobDisk, kernel: Kernel): void {
  for (const { name } of KERNEL_STORES) writeFileSync(storeFixture(name), packed(disk.read(`${name}-store`)));
  console.log(`saved, from kernel ${kernel.version}`);
}

async function main(): Promise<number> {
  const words = process.argv.slice(2);
  const seed = Number(
    words.find((word) => /^\d+$/.test(word)) ?? process.env.IMGSNAP_SEED ?? randomInt(2 ** 31),
  );
  const skip = (why: string) => {
    console.error(`WARNING: nothing was tried with a real kernel: ${why}`);
    return 0;
  };
  const missing = missingPrograms();
  if (missing.length > 0) return skip(`not on this machine: ${missing.join(', ')}`);
  let kernel: Kernel;
  try {
    kernel = getKernel();
  } catch (error) {
    return skip(
      `the kernel's package cannot be had: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
  console.log(`kernel ${kernel.version}, seed ${seed}`);
  const directory = mkdtempSync(join(tmpdir(), 'imgsnap-kernel-'));
  const disk = new JobDisk(directory);
  try {
    const cases = await makeExports(directory, seed);
    const listed = await makeListed(new Workplace(directory), disk);
    const work = [...makeStores(disk), ...readAndMerge(disk, cases), ...listed.job];
    const said = await runJob(kernel, directory, disk.path, [...disk.script(), ...work]);
    const report = new Report();
    for (const store of KERNEL_STORES) {
      await report.check(`made by the kernel, imported: ${store.name}: ${store.shows}`, () =>
        checkStore(disk, new Workplace(directory), store, said),
      );
    }
    for (const each of cases) {
      await report.check(`exported, read and merged by the kernel: ${each.name}`, () =>
        checkExport(disk, each, said),
      );
    }
    await report.check('snap-list prints what dmsetup prints', () => checkListed(listed.ours, said));
    if (report.failed > 0) console.log(said);
    else if (words.includes('--save')) save(disk, kernel);
    console.log(`${report.passed} passed, ${report.failed} failed, seed ${seed}`);
    return report.failed > 0 ? 1 : 0;
  } finally {
    disk.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

process.exitCode = await main();
