/** snap-read IMAGE[@NAME]: streams a snapshot to stdout, or into a file. */
import { quietly, SnapError } from '../core/base/errors.ts';
import { parseSize } from '../core/base/units.ts';
import type { ConfirmingSink } from '../core/io/byte-stream.ts';
import { isTerminal } from '../core/io/is-terminal.ts';
import type { Collection } from '../core/snapshot/collect.ts';
import type { Context } from '../core/snapshot/context.ts';
import type { ReadOptions, ReadSummary } from '../core/snapshot/read.ts';
import { parseReference, type Reference } from '../core/snapshot/reference.ts';
import { isChunkSize, MAX_CHUNK_BYTES } from '../core/store/dm-exceptions.ts';
import { sidecarPath } from '../core/store/sidecar.ts';
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
} from './shared/options.ts';

const STDOUT = 1;

function parseChunkSize(given: string): number {
  const sizeBytes = parseSize(given);
  if (isChunkSize(sizeBytes, MAX_CHUNK_BYTES)) return sizeBytes;
  throw usage(`a chunk size is a power of two from 512 to 512K, not ${given}`);
}

const spec = declareCommand({
  name: 'snap-read',
  description:
    'Streams a snapshot to standard output, exactly as it was frozen, while others go on writing to the image. ' +
    'Without NAME: the image as it is now. Whatever was copied is checked against its hash before it goes out; a ' +
    "complete read records the snapshot's XXH64, and later ones are checked against it. --format dm streams, in place " +
    'of the content, a persistent exception store of Linux device-mapper: with it and the image as it is now, the ' +
    'snapshot target reads the snapshot, and snapshot-merge brings the image back to it. If anybody writes to the image ' +
    'meanwhile, it fails.',
  arguments: { image: one('IMAGE[@NAME]', 'what to read') },
  options: {
    offset: value('SIZE', parseSize, 'start there (default 0)'),
    length: value('SIZE', parseSize, 'read that many bytes (default: to the end)'),
    output: value(
      'FILE',
      text,
      'write into FILE, sparse, which appears only when it is complete; - is standard output',
      'o',
    ),
    format: value(
      'FORMAT',
      oneOf('raw', 'dm'),
      'raw: the content (default); dm: an exception store of dm-snapshot, without the content that the image has too',
    ),
    chunkSize: value(
      'SIZE',
      parseChunkSize,
      'chunks of --format dm: a power of two from 512 to 512K (default: the cluster size, at most 512K)',
    ),
    digest: flag('print the XXH64 of what was streamed on standard error'),
    allowModifiedOrigin: flag('read a snapshot whose origin was changed outside imgsnap'),
    thenDelete: flag(
      'remove the snapshot once all of it was taken: the reader of the pipe has read the last byte, or the file is on ' +
        'disk; in any other case it stays',
    ),
  },
  examples: [
    { text: 'A compressed backup:', command: 'snap-read disk.img@nightly | zstd >disk.zst' },
    {
      text: "One file out of a partition's snapshot:",
      command: 'snap-read disk.img@nightly -o /tmp/old.img',
    },
    {
      text: 'Into a file, and out of the way:',
      command: 'snap-read disk.img@nightly -o nightly.img --then-delete',
    },
    {
      text: 'What the snapshot target of dmsetup takes as COW device:',
      command: 'snap-read disk.img@nightly --format dm -o disk.cow',
    },
    { text: 'The first sector:', command: 'snap-read disk.img@nightly --length 512 | xxd' },
  ],
  exits: [3, 4, 5],
});

runCommand(spec, async (options, { context, report, stdout }) => {
  const reference = await parseReference(context.host.files, options.image);
  const { output, thenDelete } = options;
  checkFormat(reference, options);
  if (thenDelete) checkThenDelete(reference, options);
  const readOptions: ReadOptions = {
    offsetBytes: options.offset ?? 0,
    lengthBytes: options.length,
    allowModifiedOrigin: options.allowModifiedOrigin,
    digest: options.digest,
  };
  const intoFile = output !== undefined && output !== '-';
  if (output === undefined && isTerminal(STDOUT)) {
    throw new SnapError('refused', 'standard output is a terminal, and images are no text', {
      hint: 'send it into a file or a pipe, or insist with -o -',
    });
  }
  const dm = options.format === 'dm' ? { chunkSizeBytes: options.chunkSize } : undefined;
  const request = { reference, options: readOptions, dm, confirmed: thenDelete };
  const summary = intoFile
    ? await readIntoFile(context, request, output)
    : await readInto(context, request, stdout());
  if (options.digest && !options.json) report.print(`${summary.digest}\n`, 'stderr');
  const removal = thenDelete ? await removeRead(context, reference, summary) : undefined;
  if (removal !== undefined) report.success(`${options.image}: was taken as a whole, and removed`);
  if (options.json) report.json(toJson(reference, summary, removal), intoFile ? 'stdout' : 'stderr');
  return 0;
});

function checkFormat({ image, name }: Reference, given: ParsedOptions<typeof spec.options, unknown>): void {
  if (given.format !== 'dm') {
    if (given.chunkSize !== undefined) throw usage('--chunk-size is for --format dm');
    return;
  }
  if (name === undefined) throw usage(`--format dm takes a snapshot, ${image}@NAME`);
  const others = [
    ['--offset', given.offset !== undefined],
    ['--length', given.length !== undefined],
    ['--digest', given.digest],
    ['--then-delete', given.thenDelete],
  ] as const;
  const other = others.find(([, isGiven]) => isGiven)?.[0];
  if (other === undefined) return;
  throw usage(
    `--format dm and ${other} do not go together: it streams what differs, and not the snapshot's bytes`,
  );
}

function checkThenDelete({ name }: Reference, given: ParsedOptions<typeof spec.options, unknown>): void {
  if (name === undefined) throw usage('--then-delete is for a snapshot', 'give IMAGE@NAME');
  const others = [
    ['--offset', given.offset !== undefined],
    ['--length', given.length !== undefined],
    ['--allow-modified-origin', given.allowModifiedOrigin],
  ] as const;
  const other = others.find(([, isGiven]) => isGiven)?.[0];
  if (other === undefined) return;
  throw usage(
    `--then-delete and ${other} do not go together: what is removed must have been read whole and right`,
  );
}

interface ReadRequest {
  readonly reference: Reference;
  readonly options: ReadOptions;
  /** As a store of dm-snapshot, with these chunks. */
  readonly dm: { readonly chunkSizeBytes: number | undefined } | undefined;
  /** Wait until the consumer has taken everything. */
  readonly confirmed: boolean;
}

async function readInto(
  context: Context,
  { reference, options, dm, confirmed }: ReadRequest,
  sink: ConfirmingSink,
): Promise<ReadSummary> {
  if (confirmed && !sink.canConfirm()) {
    throw new SnapError('refused', 'whether the reader of the pipe takes everything cannot be known here', {
      hint: 'use -o FILE, or install koffi, which npm install does unless told otherwise',
    });
  }
  if (dm !== undefined) {
    const { exportDm } = await import('../core/snapshot/dm-export.ts');
    return exportDm(context, reference, { ...options, ...dm }, sink);
  }
  const { readSnapshot } = await import('../core/snapshot/read.ts');
  const summary = await readSnapshot(context, reference, options, sink);
  if (confirmed) await sink.confirm();
  return summary;
}

async function readIntoFile(context: Context, request: ReadRequest, output: string): Promise<ReadSummary> {
  const { host, signal } = context;
  const { resolveImage } = await import('../core/snapshot/origin.ts');
  const { openFileSink } = await import('../core/stream/file-sink.ts');
  const imagePath = await resolveImage(context, request.reference.image);
  const { mode, groupId } = (await host.files.stat(imagePath)) ?? { mode: 0o600 };
  const sink = await openFileSink(host.files, {
    path: output,
    imagePath,
    sidecarPath: sidecarPath(imagePath),
    like: { mode, ...(groupId !== undefined && { groupId }) },
    randomBytes: (lengthBytes) => host.randomBytes(lengthBytes),
    signal,
  });
  try {
    const summary = await readInto(context, request, sink);
    await sink.finish();
    return summary;
  } catch (error) {
    await quietly(() => sink.abort());
    throw error;
  }
}

async function removeRead(
  context: Context,
  { image, name = '' }: Reference,
  { uuid }: ReadSummary,
): Promise<Collection | undefined> {
  if (uuid === undefined) return undefined;
  const { removeDelivered } = await import('../core/snapshot/then-delete.ts');
  return removeDelivered(context, image, { uuid, name });
}

function toJson({ image, name }: Reference, summary: ReadSummary, removal: Collection | undefined): object {
  return {
    image,
    snapshot: name === undefined ? null : `${image}@${name}`,
    offset: summary.offsetBytes,
    bytes: summary.bytes,
    ...(summary.digest !== undefined && { digest: summary.digest }),
    ...(removal !== undefined && { removed: true, bytesFreed: removal.bytesFreed }),
  };
}
