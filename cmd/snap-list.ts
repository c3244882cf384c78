/** snap-list [IMAGE ...]: which snapshots there are. */
import type { SnapError } from '../core/base/errors.ts';
import { formatSize } from '../core/base/units.ts';
import type { ListedImage, ListedSnapshot } from '../core/snapshot/list.ts';
import { runCommand } from './shared/command.ts';
import { dmsetupLines } from './shared/dmsetup.ts';
import { exitStatusOf } from './shared/exit-codes.ts';
import { imageOnly } from './shared/image.ts';
import { declareCommand, many, oneOf, usage, value } from './shared/options.ts';

const spec = declareCommand({
  name: 'snap-list',
  description:
    'Lists snapshots, oldest first. Without IMAGE: of every image in this directory, and those whose image is gone ' +
    '(orphan). STATE is active (receives copies), idle (older, complete through newer ones), modified (the image was ' +
    'changed outside imgsnap) or invalid (ended); of the last two why, where and when stands at the end of the line. ' +
    'USED is what its store takes on the disk; where it has a limit, how much of that its copies have used up. ' +
    '--json also tells of each how many clusters were copied (clustersCopied), how many of those were all zero and ' +
    'took no space (clustersZero), the bytes that the others took (bytesCopied), what counts against its limit ' +
    '(limitUsed), and when and at which cluster it ended (ended, endedCluster).',
  arguments: { images: many('IMAGE', 'images to list the snapshots of', 0) },
  options: {
    format: value(
      'FORMAT',
      oneOf('dmsetup'),
      'dmsetup: what dmsetup table prints, then what dmsetup status prints: for each image a snapshot-origin, then its ' +
        'snapshots, oldest first. Names are IMAGE and IMAGE@NAME, origin and store are paths; bytes that names of ' +
        'device-mapper cannot have are \\xNN. The sectors of a status are those of tables and copies, what they may ' +
        'come to, and those of tables alone; Invalid is not to be trusted, of Unknown the store cannot be read',
    ),
  },
  examples: [
    { text: 'What there is:', command: 'snap-list disk.img' },
    {
      text: "The newest snapshot's name:",
      command: "snap-list --json disk.img | jq -r '.[0].snapshots[-1].name'",
    },
  ],
  exits: [3, 4],
});

runCommand(spec, async (options, { context, report }) => {
  if (options.json && options.format !== undefined) throw usage('--json and --format exclude each other');
  const images = [];
  for (const argument of options.images) {
    images.push(await imageOnly(context.host.files, argument, 'all its snapshots are listed'));
  }
  const { listDirectory, listImage } = await import('../core/snapshot/list.ts');
  const listed: ListedImage[] = [];
  let failure: SnapError | undefined;
  if (images.length === 0) {
    const onFailure = (error: SnapError) => {
      report.warn({ message: error.message, hint: error.hint, loss: true });
      failure ??= error;
    };
    listed.push(...(await listDirectory(context, '.', onFailure)));
  }
  for (const image of images) listed.push(await listImage(context, image));
  if (options.json) report.jsonParts(jsonParts(listed));
  else report.print(options.format === undefined ? table(listed) : dmsetupLines(listed));
  return failure === undefined ? 0 : exitStatusOf(failure);
});

const HEADER = ['NAME', 'CREATED', 'STATE', 'SIZE', 'USED', 'DIGEST'];
/** SIZE and USED are read from their right end. */
const RIGHT = new Set([3, 4]);

function table(listed: readonly ListedImage[]): string {
  const rows = listed.flatMap(({ image, snapshots }) => snapshots.map((snapshot) => row(image, snapshot)));
  if (rows.length === 0) return '';
  const widths = HEADER.map((title, column) =>
    Math.max(title.length, ...rows.map((cells) => cells[column]?.length ?? 0)),
  );
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, column) =>
        RIGHT.has(column) ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd();
  return `${[HEADER, ...rows].map(line).join('\n')}\n`;
}

function row(image: string, snapshot: ListedSnapshot): string[] {
  return [
    `${image}@${snapshot.name}`,
    snapshot.created,
    snapshot.state,
    formatSize(snapshot.sizeBytes),
    used(snapshot),
    snapshot.digest?.replace('xxh64:', '') ?? '-',
    // Under no title: a table of valid snapshots has six columns.
    ...(snapshot.state === 'invalid' || snapshot.state === 'modified' ? [snapshot.reason ?? ''] : []),
  ];
}

function used({ storeBytes, limitUsedBytes, maxSizeBytes }: ListedSnapshot): string {
  if (limitUsedBytes === undefined || maxSizeBytes === undefined) return formatSize(storeBytes);
  return `${formatSize(limitUsedBytes)} of ${formatSize(maxSizeBytes)}`;
}

/** Snapshot by snapshot: each names every newer store, and those of thousands together would fill the memory. */
function* jsonParts(listed: readonly ListedImage[]): Generator<string> {
  yield '[';
  for (const [index, image] of listed.entries()) {
    const { snapshots } = image;
    if (index > 0) yield ',';
    yield JSON.stringify(imageJson(image)).replace(/\}$/, ',"snapshots":[');
    for (const [at, snapshot] of snapshots.entries()) {
      yield `${at > 0 ? ',' : ''}${JSON.stringify(snapshotJson(snapshot))}`;
    }
    yield ']}';
  }
  yield ']\n';
}

function imageJson(listed: ListedImage): object {
  return {
    image: listed.image,
    size: listed.sizeBytes ?? null,
    clusterSize: listed.clusterSizeBytes ?? null,
    ...(listed.originModified && { originModified: true }),
  };
}

function snapshotJson(snapshot: ListedSnapshot): object {
  const { ending } = snapshot;
  return {
    name: snapshot.name,
    created: snapshot.created,
    state: snapshot.state,
    ...(snapshot.reason !== undefined && { reason: snapshot.reason }),
    ...(ending !== undefined && { ended: ending.time }),
    ...(ending?.clusterIndex !== undefined && { endedCluster: ending.clusterIndex }),
    size: snapshot.sizeBytes,
    clusterSize: snapshot.clusterSizeBytes,
    clusters: snapshot.clusterCount,
    clustersCopied: snapshot.clustersCopied,
    clustersZero: snapshot.clustersZero ?? null,
    bytesCopied: snapshot.bytesCopied ?? null,
    storeBytes: snapshot.storeBytes,
    ...(snapshot.maxSizeBytes !== undefined && { maxSize: snapshot.maxSizeBytes }),
    ...(snapshot.limitUsedBytes !== undefined && { limitUsed: snapshot.limitUsedBytes }),
    onFull: snapshot.onFull,
    ...(snapshot.clone && { clone: true }),
    ...(snapshot.transient && { transient: true }),
    ...(snapshot.digest !== undefined && { digest: snapshot.digest }),
    ...(snapshot.label !== undefined && { label: snapshot.label }),
    files: snapshot.files,
  };
}
