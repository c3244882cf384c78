/** A small command on the real frame, for what only a process can show: pipes, signals and exit statuses. */
import { createHash } from 'node:crypto';
import { runCommand } from '../../cmd/shared/command.ts';
import { declareCommand, flag, one, oneOf, value, values } from '../../cmd/shared/options.ts';
import { SnapError } from '../../core/base/errors.ts';
import { parseSize } from '../../core/base/units.ts';
import { createFdSink } from '../../core/stream/fd-sink.ts';
import { patternAt } from './pattern.ts';

const harness = declareCommand({
  name: 'harness',
  description: 'Does one of a few things that tests look at.',
  arguments: { what: one('WHAT', 'send, receive, unwind, warn, succeed, or the code of an error') },
  options: {
    size: value('SIZE', parseSize, 'bytes to send'),
    order: value('ORDER', oneOf('up', 'down'), 'a choice'),
    item: values('TEXT', String, 'anything'),
    nonBlocking: flag('make standard output non-blocking first'),
    impatient: flag('give up at once where nobody reads'),
  },
  examples: [{ text: 'Sends a mebibyte:', command: 'harness send --size 1M' }],
  exits: [3],
});

const BLOCK_BYTES = 1 << 20;

runCommand(harness, async (options, { context, report, stdin, stdout }) => {
  // Node makes a pipe or socket non-blocking as soon as anybody looks.
  if (options.nonBlocking) report.success(`is a terminal: ${process.stdout.isTTY === true}`);
  if (options.what === 'send') {
    const { signal } = context;
    const sink = options.impatient
      ? createFdSink(1, { name: 'standard output', signal, stallMs: 0 })
      : stdout();
    const sizeBytes = options.size ?? 0;
    for (let sent = 0; sent < sizeBytes; sent += BLOCK_BYTES) {
      const written = sink.write(patternAt(sent, Math.min(BLOCK_BYTES, sizeBytes - sent)));
      context.progress(sent, sizeBytes);
      if (sent === 0) report.success('sending');
      await written;
    }
  } else if (options.what === 'receive') {
    const hash = createHash('sha256');
    const target = Buffer.alloc(100_000);
    let bytes = 0;
    const source = stdin();
    report.success('receiving');
    for (let count = await source.read(target); count > 0; count = await source.read(target)) {
      hash.update(target.subarray(0, count));
      bytes += count;
      // The end of the input may never come: this much was asked for.
      if (bytes === options.size) break;
    }
    source.close();
    report.json({ bytes, digest: hash.digest('hex') });
  } else if (options.what === 'unwind') {
    // A signal handler alone does not keep Node alive.
    const timer = setInterval(() => undefined, 1e6);
    const aborted = new Promise((resolve) => context.signal.addEventListener('abort', resolve));
    report.success('waiting');
    await aborted;
    report.success('unwinding');
    if (options.order === 'up') await new Promise(() => undefined);
    clearInterval(timer);
    throw context.signal.reason;
  } else if (options.what === 'warn') {
    context.progress(1, 2);
    context.warn({ message: 'the weather may change', hint: 'take an umbrella' });
    context.warn({ message: 'a snapshot is lost', loss: true });
    report.printSuccess('warned');
    return options.order === 'down' ? 3 : 0;
  } else if (options.what === 'succeed') {
    context.progress(1, 2);
    report.success('it worked', 'do it again');
    report.print('x'.repeat(options.size ?? 1));
  } else if (options.what === 'bug') {
    throw new TypeError('this was not meant');
  } else if (options.what === 'nothing') {
    await new Promise(() => undefined);
  } else if (options.what === 'crash') {
    setTimeout(() => {
      throw new TypeError('this was not caught');
    }, 0);
    await new Promise(() => undefined);
  } else {
    context.warn({ message: 'held back' });
    throw new SnapError('damage', `disk.img: no ${options.what}`, { hint: 'look again' });
  }
  return undefined;
});
