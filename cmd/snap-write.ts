/** snap-write IMAGE: writes stdin into the image, every byte through copy-on-write. */
import { SnapError } from '../core/base/errors.ts';
import { formatSize, parseSize } from '../core/base/units.ts';
import type { WriteSummary } from '../core/snapshot/write.ts';
import { runCommand } from './shared/command.ts';
import { imageOnly } from './shared/image.ts';
import { declareCommand, flag, one, value } from './shared/options.ts';

const spec = declareCommand({
  name: 'snap-write',
  description:
    'Writes standard input into IMAGE. Before a byte changes, the old content of its cluster is copied to the newest ' +
    'snapshot, so every snapshot reads as it did. When it returns, the data is on disk. It warns when less than a ' +
    "tenth of a snapshot's limit is left.",
  arguments: { image: one('IMAGE', 'the raw image file; snapshots are read-only') },
  options: {
    offset: value('SIZE', parseSize, 'start there (default 0)'),
    extend: flag('let the image grow; a gap before the offset reads as zeros'),
    delta: flag('write only what differs, cluster by cluster: what stayed the same is not copied'),
    zero: value('SIZE', parseSize, 'write that many zero bytes instead of standard input'),
    extents: flag(
      'the input is records, each with its place: offset and length in bytes (8 bytes each, little-endian), then the data',
    ),
    noSync: flag("do not flush the image at the end; the snapshots' copies always are"),
  },
  examples: [
    { text: 'Change one sector:', command: 'snap-write disk.img --offset 1M <sector.bin' },
    { text: 'Go back to a snapshot:', command: 'snap-read disk.img@monday | snap-write --delta disk.img' },
    { text: 'Change many places in one run:', command: 'producer | snap-write --extents disk.img' },
    { text: 'Wipe a region:', command: 'snap-write disk.img --offset 4G --zero 512M' },
  ],
  exits: [3, 4],
});

runCommand(spec, async (options, { context, report, stdin }) => {
  const image = await imageOnly(context.host.files, options.image, 'snapshots are read-only');
  if (options.zero !== undefined && options.delta) {
    throw new SnapError('usage', '--zero and --delta do not go together');
  }
  if (options.extents && (options.zero !== undefined || options.offset !== undefined)) {
    const other = options.zero === undefined ? '--offset' : '--zero';
    throw new SnapError('usage', `--extents and ${other} do not go together: each record says where it goes`);
  }
  const { writeImage, zeroSource } = await import('../core/snapshot/write.ts');
  const source = options.zero === undefined ? stdin() : zeroSource(options.zero);
  const { summary, failure } = await writeImage(
    context,
    image,
    {
      offsetBytes: options.offset ?? 0,
      extents: options.extents,
      extend: options.extend,
      delta: options.delta,
      sync: !options.noSync,
    },
    source,
    options.zero,
  );
  if (options.json) report.json(toJson(summary));
  else if (failure === undefined) report.success(describe(summary));
  if (failure !== undefined) throw failure;
  return 0;
});

function toJson(summary: WriteSummary): object {
  return {
    image: summary.image,
    offset: summary.offsetBytes,
    bytesRead: summary.bytesRead,
    bytesWritten: summary.bytesWritten,
    clustersCopied: summary.clustersCopied,
    bytesCopied: summary.bytesCopied,
    snapshot: summary.snapshot ?? null,
    seconds: Math.round(summary.seconds * 1000) / 1000,
  };
}

function describe(summary: WriteSummary): string {
  const { bytesRead, bytesWritten, clustersCopied, bytesCopied, snapshot } = summary;
  const read = bytesRead === bytesWritten ? '' : ` of ${bytesRead} read`;
  const clusters = clustersCopied === 1 ? '1 cluster' : `${clustersCopied} clusters`;
  const size = bytesCopied === 0 ? 'all zero' : formatSize(bytesCopied);
  const copied = snapshot === undefined ? '' : `, ${clusters} (${size}) copied to ${snapshot}`;
  return `${summary.image}: ${bytesWritten} bytes written${read} at ${summary.offsetBytes}${copied}`;
}
