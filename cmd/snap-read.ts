/** snap-read IMAGE[@NAME]: streams a snapshot to stdout, or into a file. */
import { quietly, SnapError } from '../core/base/errors.ts';
import { parseSize } from '../core/base/units.ts';
import { isTerminal } from '../core/io/is-terminal.ts';
import type { Context } from '../core/snapshot/context.ts';
import type { ReadOptions, ReadSummary } from '../core/snapshot/read.ts';
import { parseReference, type Reference } from '../core/snapshot/reference.ts';
import { sidecarPath } from '../core/store/sidecar.ts';
import { runCommand } from './shared/command.ts';
import { declareCommand, flag, one, text, value } from './shared/options.ts';

const STDOUT = 1;

const spec = declareCommand({
  name: 'snap-read',
  description:
    'Streams a snapshot to standard output, exactly as it was frozen, while others go on writing to the image. ' +
    'Without NAME: the image as it is now. Whatever was copied is checked against its hash before it goes out; a ' +
    "complete read records the snapshot's XXH64, and later ones are checked against it.",
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
    digest: flag('print the XXH64 of what was streamed on standard error'),
    allowModifiedOrigin: flag('read a snapshot whose origin was changed outside imgsnap'),
  },
  examples: [
    { text: 'A compressed backup:', command: 'snap-read disk.img@nightly | zstd >disk.zst' },
    {
      text: "One file out of a partition's snapshot:",
      command: 'snap-read disk.img@nightly -o /tmp/old.img',
    },
    { text: 'The first sector:', command: 'snap-read disk.img@nightly --length 512 | xxd' },
  ],
  exits: [3, 4, 5],
});

runCommand(spec, async (options, { context, report, stdout }) => {
  const reference = await parseReference(context.host.files, options.image);
  const readOptions: ReadOptions = {
    offsetBytes: options.offset ?? 0,
    lengthBytes: options.length,
    allowModifiedOrigin: options.allowModifiedOrigin,
    digest: options.digest,
  };
  const { output } = options;
  const intoFile = output !== undefined && output !== '-';
  if (output === undefined && isTerminal(STDOUT)) {
    throw new SnapError('refused', 'standard output is a terminal, and images are no text', {
      hint: 'send it into a file or a pipe, or insist with -o -',
    });
  }
  const { readSnapshot } = await import('../core/snapshot/read.ts');
  const summary = intoFile
    ? await readIntoFile(context, reference, readOptions, output)
    : await readSnapshot(context, reference, readOptions, stdout());
  if (options.digest && !options.json) report.print(`${summary.digest}\n`, 'stderr');
  if (options.json) report.json(toJson(reference, summary), intoFile ? 'stdout' : 'stderr');
  return 0;
});

async function readIntoFile(
  context: Context,
  reference: Reference,
  options: ReadOptions,
  output: string,
): Promise<ReadSummary> {
  const { host, signal } = context;
  const { resolveImage } = await import('../core/snapshot/origin.ts');
  const { openFileSink } = await import('../core/stream/file-sink.ts');
  const { readSnapshot } = await import('../core/snapshot/read.ts');
  const imagePath = await resolveImage(context, reference.image);
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
    const summary = await readSnapshot(context, reference, options, sink);
    await sink.finish();
    return summary;
  } catch (error) {
    await quietly(() => sink.abort());
    throw error;
  }
}

function toJson({ image, name }: Reference, summary: ReadSummary): object {
  return {
    image,
    snapshot: name === undefined ? null : `${image}@${name}`,
    offset: summary.offsetBytes,
    bytes: summary.bytes,
    ...(summary.digest !== undefined && { digest: summary.digest }),
  };
}
