/** Memory is bounded by constants: measured at the largest image and with many snapshots, one command after the other. */
import type { Comparison, Question } from '../harness/question.ts';
import { MANY_SNAPSHOTS, retake, sparseFiles } from './parts.ts';

const LIMIT = { label: '128 MiB', peakMib: 128 };
const SIZE = '16777215M';
const fresh = retake('many.img@new');

/** `many.img@b` is in the middle and has clusters that `many.img@a` lacks. */
const middle = `
  for each in a b c new; do snap-gc -q many.img@$each || true; done
  snap-create -q many.img@a
  snap-create -q many.img@b
  snap-write -q many.img <new
  snap-create -q many.img@c`;

const peak = (name: string, run: string, prepare?: string): Comparison => ({
  name,
  note: `\`${run.split(' | ')[0]}\``,
  reach: 1,
  needs: [sparseFiles(SIZE)],
  ours: { label: 'peak memory', run, ...(prepare === undefined ? {} : { prepare }) },
  beside: LIMIT,
});

export const memory: Question = {
  name: 'memory',
  title: 'peak memory, 16 TiB, 256 snapshots',
  sizes: { full: { MIB: 256, SNAPSHOTS: 256 }, small: { MIB: 4, SNAPSHOTS: 3 } },
  async setup({ bash }) {
    await bash(`
      noise new "$MIB"
      truncate -s ${SIZE} many.img || exit 0
      ${MANY_SNAPSHOTS}`);
  },
  comparisons: [
    peak('create', 'snap-create -q many.img@new', 'snap-gc -q many.img@new || true'),
    peak('write', 'snap-write -q many.img <new', fresh),
    peak('delta', 'snap-write -q --delta many.img --offset 1T <new', fresh),
    peak('zero', 'snap-write -q many.img --zero 1G', fresh),
    peak('read', 'snap-read many.img@1 --length 2G | cat >/dev/null'),
    peak('output', 'snap-read -q many.img@1 --length 2G -o out', 'rm -f out'),
    // Takes minutes.
    { ...peak('verify', 'snap-verify -q many.img'), rounds: 1 },
    peak('list', 'snap-list many.img'),
    peak('keep', 'snap-gc -q --dry-run many.img --keep-daily 7'),
    peak('remove', 'snap-gc -q many.img@b', middle),
  ],
};
