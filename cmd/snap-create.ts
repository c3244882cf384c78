/** snap-create IMAGE[@NAME]: freezes the image's present content under a name. */
import { SnapError } from '../core/base/errors.ts';
import { parseTime } from '../core/base/time.ts';
import { parseSize } from '../core/base/units.ts';
import type { Context } from '../core/snapshot/context.ts';
import type { CandidateSource } from '../core/snapshot/create.ts';
import { parseReference } from '../core/snapshot/reference.ts';
import { runCommand } from './shared/command.ts';
import {
  declareCommand,
  flag,
  one,
  oneOf,
  type ParsedOptions,
  text,
  usage,
  value,
  values,
} from './shared/options.ts';

/** Labels stand in the catalog, which every command reads. */
const MAX_LABEL_BYTES = 1024;

function parseLabel(given: string): string {
  if (Buffer.byteLength(given) <= MAX_LABEL_BYTES && !given.includes('\0')) return given;
  throw new SnapError('usage', `a label is a text of at most ${MAX_LABEL_BYTES} bytes, without NUL`);
}

const spec = declareCommand({
  name: 'snap-create',
  description:
    'Freezes the present content of IMAGE under NAME (default: the time in UTC, 20261120T071731Z). Takes the same ' +
    'short time for an image of any size, and space only for what changes afterwards. From then on write to the ' +
    'image through snap-write; what bypasses it is noticed, and the snapshots are not trusted any more.',
  arguments: { image: one('IMAGE[@NAME]', 'the raw image file, and what to call the snapshot') },
  options: {
    clusterSize: value(
      'SIZE',
      parseSize,
      'a power of two from 4K to 16M (default 64K, more for huge images)',
    ),
    store: value('PATH', text, "keep this snapshot's copies there: a directory, or a new file"),
    spill: values(
      'PATH',
      text,
      'when the file of the store is full, or its disk is, copies go on there: a directory, or a new file',
    ),
    maxStoreFile: value('SIZE', parseSize, 'how long a file of the store may become by copying'),
    maxSize: value(
      'SIZE',
      parseSize,
      'limit of the data copied for this snapshot; at least a cluster and 32 bytes',
    ),
    onFull: value(
      'WHAT',
      oneOf('invalidate', 'refuse'),
      'when limit or disk is full: invalidate ends the snapshot and lets the write go on (default), refuse fails the write',
    ),
    clone: flag(
      "have the file system share the image's blocks (btrfs, XFS): writes need no copy then, from whatever program",
    ),
    transient: flag('no flush for its copies: it outlives killed programs, but not a reboot'),
    label: value('TEXT', parseLabel, 'a remark, shown by snap-list --json'),
    importDm: value(
      'FILE',
      text,
      "make the image's first snapshot from an exception store of dm-snapshot that was made against it; " +
        'the image is locked until all of it is copied (default cluster size: its chunks, at least 4K)',
    ),
    time: value('RFC3339', parseTime, 'record this creation time'),
    candidates: value(
      'WHICH',
      text,
      'what to keep: all (default); auto, without the free blocks of ext2, ext3 and ext4 file systems; or a FILE made ' +
        'by bmaptool, of which the mapped blocks are kept. All else reads as zeros, and is never copied',
    ),
  },
  examples: [
    { text: 'Before a risky change:', command: 'snap-create disk.img@before-upgrade' },
    { text: 'Every night, from cron:', command: 'snap-create -q disk.img' },
    {
      text: 'Copies on another disk, at most 20 GiB of them:',
      command: 'snap-create disk.img@nightly --store /mnt/spare --max-size 20G',
    },
    {
      text: 'Without what the file systems in the image do not use:',
      command: 'snap-create disk.img@nightly --candidates auto',
    },
  ],
  exits: [3, 4],
});

/** @throws `not-found`, or `refused` where the file is no block map */
async function chooseCandidates(context: Context, which = 'all'): Promise<CandidateSource | undefined> {
  if (which === 'all') return undefined;
  if (which === 'auto') return (await import('../core/contents/file-systems.ts')).candidatesOfFileSystems;
  const { candidatesOfBmap } = await import('../core/contents/bmap.ts');
  const { readText } = await import('../core/stream/read-text.ts');
  return candidatesOfBmap(await readText(context.host.files, which), which);
}

/** A clone has everything from the beginning: there is nothing to limit, to spill or to choose. */
function checkClone(given: ParsedOptions<typeof spec.options, unknown>): void {
  const others = [
    ['--spill', given.spill.length > 0],
    ['--max-store-file', given.maxStoreFile !== undefined],
    ['--max-size', given.maxSize !== undefined],
    ['--on-full', given.onFull !== undefined],
    ['--transient', given.transient],
    ['--candidates', given.candidates !== undefined],
    ['--import-dm', given.importDm !== undefined],
  ] as const;
  const other = others.find(([, isGiven]) => isGiven)?.[0];
  if (other !== undefined)
    throw usage(`--clone and ${other} do not go together: nothing is copied for a clone`);
}

runCommand(spec, async (options, { context, report }) => {
  if (options.clone) checkClone(options);
  const reference = await parseReference(context.host.files, options.image);
  const { createSnapshot } = await import('../core/snapshot/create.ts');
  if (options.importDm !== undefined && (options.candidates ?? 'all') !== 'all') {
    throw usage(
      '--import-dm and --candidates do not go together: what is free now may have been in use when the store was made',
    );
  }
  const candidates = await chooseCandidates(context, options.candidates);
  const created = await createSnapshot(context, reference, {
    clusterSizeBytes: options.clusterSize,
    storePath: options.store,
    spillPaths: options.spill,
    maxStoreFileBytes: options.maxStoreFile,
    maxSizeBytes: options.maxSize,
    onFull: options.onFull ?? 'invalidate',
    transient: options.transient,
    clone: options.clone,
    label: options.label,
    created: options.time,
    candidates,
    importDmPath: options.importDm,
  });
  if (!options.json) {
    report.printSuccess(`${created.snapshot}\n`);
    return 0;
  }
  report.json({
    snapshot: created.snapshot,
    image: created.image,
    name: created.name,
    created: created.created,
    size: created.sizeBytes,
    clusterSize: created.clusterSizeBytes,
    clusters: created.clusterCount,
    candidates: created.candidateCount,
    store: created.storePaths,
  });
  return 0;
});
