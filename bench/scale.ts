/**
 * `npm run scale`: what every command and every structure costs with large images and with many snapshots.
 *
 *   npm run scale             images of 1, 16 and 256 TiB with 10, 1,000 and 10,000 snapshots
 *   npm run scale -- --small  small, in seconds: shows only that everything works
 *
 * Images are sparse. They lie on a btrfs in a file, since ext4 has no file of more than 16 TiB; where none can be
 * mounted, in TMPDIR, and what cannot be made there is reported as not measurable. Each command runs once.
 */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { formatSize } from '../core/base/units.ts';
import { chooseClusterSize } from '../core/snapshot/cluster-size.ts';
import { Place, ScriptFailure, TooSlow } from './harness/place.ts';
import { runProgram } from './harness/program.ts';
import { MOUNTING, mountBtrfs, sparseFiles } from './questions/parts.ts';
import { machineFacts } from './report/machine.ts';
import { commandsOf, JSON_BYTES_FILE } from './scale/commands.ts';
import { commandTable, type Measured, type SceneResult, structureTable } from './scale/report.ts';
import { type Amounts, lookAtStructures, makeScene } from './scale/scene.ts';

interface Plan {
  readonly sizesBytes: readonly number[];
  readonly counts: readonly number[];
  readonly amounts: Amounts;
  readonly mounted: boolean;
  readonly limitSeconds: number;
}

const TIB = 2 ** 40;
const FULL: Plan = {
  sizesBytes: [TIB, 16 * TIB, 256 * TIB],
  counts: [10, 1000, 10_000],
  amounts: { dataMib: 1024, copiedMib: 16, touchedMib: 64 },
  mounted: true,
  limitSeconds: 120,
};
const SMALL: Plan = {
  sizesBytes: [2 ** 30, TIB],
  counts: [5, 70],
  amounts: { dataMib: 16, copiedMib: 1, touchedMib: 2 },
  mounted: false,
  limitSeconds: 60,
};
const FAILED = 'failed';
/** Room for the image's data, and some times for what is copied. */
const DISK_MIB = 3072;
const DIRECTORY = 'btrfs';
const IMAGE = `${DIRECTORY}/disk.img`;

async function measure(place: Place, script: string, limitSeconds: number): Promise<Measured> {
  try {
    return await place.measure(script, limitSeconds);
  } catch (error) {
    if (error instanceof TooSlow) return `more than ${limitSeconds} s`;
    if (!(error instanceof ScriptFailure)) throw error;
    console.error(error.message);
    return FAILED;
  }
}

async function measureScene(
  place: Place,
  plan: Plan,
  scene: { readonly sizeBytes: number; readonly count: number },
  signal: AbortSignal,
): Promise<SceneResult> {
  const { amounts, limitSeconds } = plan;
  const { sizeBytes, count } = scene;
  const made = await makeScene(place, IMAGE, { count, amounts, signal });
  rmSync(place.path(JSON_BYTES_FILE), { force: true });
  const clusterBytes = chooseClusterSize(IMAGE, {
    sizeBytes,
    wantedBytes: undefined,
    presentBytes: undefined,
  });
  const commands: { title: string; measured: Measured }[] = [];
  let structures: SceneResult['structures'];
  for (const { title, script } of commandsOf(made)) {
    const measured = await measure(place, `CLUSTER=${clusterBytes}; ${script}`, limitSeconds);
    commands.push({ title, measured });
    structures ??= await lookAtStructures(place, made);
  }
  const jsonFile = place.path(JSON_BYTES_FILE);
  const jsonBytes = existsSync(jsonFile) ? Number(readFileSync(jsonFile, 'utf8')) : undefined;
  return { sizeBytes, count, commands, structures, jsonBytes };
}

/** An image of so many bytes, most of it a hole; false where none can be made. */
async function makeImage(place: Place, sizeBytes: number, { dataMib }: Amounts): Promise<boolean> {
  await place.bash(`rm -rf ${IMAGE} ${IMAGE}.snap`);
  if (!(await place.succeeds(`cd ${DIRECTORY}; ${sparseFiles(String(sizeBytes)).test}`))) return false;
  await place.bash(`
    truncate -s ${sizeBytes} ${IMAGE}
    for ((mib = 0; mib < ${dataMib}; mib += 16)); do
      dd if=data of=${IMAGE} bs=1M seek=$mib count=16 conv=notrunc status=none
    done
    sync -f ${IMAGE}`);
  return true;
}

/** Everything with images of one size, told as soon as it is known. */
async function measureSize(
  place: Place,
  plan: Plan,
  sizeBytes: number,
  signal: AbortSignal,
): Promise<SceneResult[]> {
  console.log(`\n${formatSize(sizeBytes)}:\n`);
  if (!(await makeImage(place, sizeBytes, plan.amounts))) {
    console.log('not measurable here: no file of that size can be made');
    return [];
  }
  const results: SceneResult[] = [];
  for (const count of plan.counts)
    results.push(await measureScene(place, plan, { sizeBytes, count }, signal));
  console.log(commandTable(results));
  return results;
}

async function main(words: readonly string[], signal: AbortSignal): Promise<number> {
  const plan = words.includes('--small') ? SMALL : FULL;
  const place = new Place({ MIB: DISK_MIB }, signal);
  for (const [name, value] of machineFacts()) if (name !== 'Peers') console.log(`${name}: ${value}`);
  try {
    await place.bash(`mkdir ${DIRECTORY}`);
    const isMounted = plan.mounted && (await place.succeeds(MOUNTING.test));
    if (isMounted) await mountBtrfs(place);
    console.log(`Images: ${isMounted ? 'on a btrfs in a file there' : 'there'}`);
    const { copiedMib, touchedMib } = plan.amounts;
    await place.bash(`head -c 16M /dev/urandom >data; head -c ${touchedMib}M /dev/urandom >touched`);
    const results: SceneResult[] = [];
    for (const sizeBytes of plan.sizesBytes) {
      results.push(...(await measureSize(place, plan, sizeBytes, signal)));
    }
    console.log(
      `\nOn disk (in brackets: allocated; with data: ${copiedMib} MiB):\n\n${structureTable(results)}`,
    );
    const commands = results.flatMap((each) => each.commands);
    return commands.some(({ measured }) => measured === FAILED) ? 1 : 0;
  } finally {
    place.remove();
  }
}

await runProgram(main);
