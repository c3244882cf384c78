/** Snapshots of ours, exported by the installed commands, for the kernel to read and to merge. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseStore } from '../dm/exception-store.ts';
import { mulberry32 } from '../sim/memory-host.ts';
import { noise, Workplace } from '../support/commands.ts';

const SECTOR_BYTES = 512;

interface ExportPlan {
  readonly name: string;
  readonly sectors: number;
  readonly cluster: string;
  /** Absent: the default. */
  readonly chunk?: string;
  readonly writes: number;
  /** Bytes that the image grows by afterwards. */
  readonly grownBytes?: number;
  /** Snapshots that are taken in between: the oldest is exported. */
  readonly later?: number;
  /** Sectors of room for what the kernel copies itself, when the image is written to beside our store. */
  readonly roomSectors?: number;
}

const PLANS: readonly ExportPlan[] = [
  { name: 'default', sectors: 8192, cluster: '64K', writes: 30 },
  { name: 'small-chunks', sectors: 3000, cluster: '4K', chunk: '512', writes: 25 },
  { name: 'areas', sectors: 8195, cluster: '16K', chunk: '4K', writes: 60, later: 2 },
  { name: 'large-chunks', sectors: 6151, cluster: '4K', chunk: '512K', writes: 12 },
  { name: 'large-clusters', sectors: 8192, cluster: '1M', chunk: '32K', writes: 9 },
  { name: 'grown', sectors: 4101, cluster: '8K', chunk: '64K', writes: 15, grownBytes: 300_001 },
  { name: 'the-same', sectors: 2048, cluster: '64K', chunk: '8K', writes: 0 },
  { name: 'goes-on', sectors: 4096, cluster: '64K', chunk: '4K', writes: 20, roomSectors: 3000 },
];

export interface ExportCase {
  readonly name: string;
  readonly snapshot: Buffer;
  readonly origin: Buffer;
  /** With room behind it, where there is to be some. */
  readonly store: Buffer;
  readonly chunkSectors: number;
  /** What `dmsetup status` says of it at first. */
  readonly status: string;
  readonly goesOn: boolean;
}

export async function makeExports(directory: string, seed: number): Promise<ExportCase[]> {
  const cases: ExportCase[] = [];
  for (const plan of PLANS) cases.push(await makeExport(new Workplace(directory), plan, seed));
  return cases;
}

async function makeExport(work: Workplace, plan: ExportPlan, seed: number): Promise<ExportCase> {
  const random = mulberry32(seed + PLANS.indexOf(plan));
  const { name, cluster, chunk, roomSectors = 0 } = plan;
  const sizeBytes = plan.sectors * SECTOR_BYTES;
  const image = `${name}.img`;
  work.image(image, noise(`${seed} ${name}`, sizeBytes));
  await work.ok('snap-create', ['-q', `${image}@s`, '--cluster-size', cluster]);
  for (let index = 0; index < plan.writes; index += 1) {
    if (index > 0 && index <= (plan.later ?? 0))
      await work.ok('snap-create', ['-q', `${image}@later${index}`]);
    const offsetBytes = random() % sizeBytes;
    const lengthBytes = Math.min(1 + (random() % 100_000), sizeBytes - offsetBytes);
    const data =
      random() % 4 === 0 ? Buffer.alloc(lengthBytes) : noise(`${seed} ${name} ${index}`, lengthBytes);
    await work.write(image, offsetBytes, data);
  }
  if (plan.grownBytes !== undefined) {
    const args = ['-q', image, '--extend', '--offset', String(sizeBytes)];
    await work.ok('snap-write', args, { stdin: noise(`${seed} grown`, plan.grownBytes) });
  }
  const chunkSize = chunk === undefined ? [] : ['--chunk-size', chunk];
  const exported = await work.read(`${image}@s`, '--format', 'dm', ...chunkSize);
  const { chunkBytes, allocated, metadata } = parseStore(exported);
  const store = Buffer.concat([exported, Buffer.alloc(roomSectors * SECTOR_BYTES)]);
  return {
    name,
    snapshot: await work.read(`${image}@s`),
    origin: readFileSync(join(work.directory, image)),
    store,
    chunkSectors: chunkBytes / SECTOR_BYTES,
    status: `${allocated}/${store.length / SECTOR_BYTES} ${metadata}`,
    goesOn: roomSectors > 0,
  };
}
