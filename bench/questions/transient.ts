/** What durability costs: overwriting everything under a transient snapshot, for which nothing is flushed. */
import type { Question } from '../harness/question.ts';
import { retake } from './parts.ts';

const OURS = {
  label: 'snap-write --no-sync under a transient snapshot',
  prepare: `${retake('disk.img@one', '--transient')}; cat disk.img new >/dev/null; sync -f .; warm $((2 * MIB))`,
  run: 'snap-write -q --no-sync disk.img <new',
};

export const transient: Question = {
  name: 'transient',
  title: 'overwrite 1 GiB under a fresh transient snapshot, nothing durable',
  sizes: { full: { MIB: 1024 }, small: { MIB: 4 } },
  async setup({ bash }) {
    await bash('noise disk.img "$MIB"; noise new "$MIB"; noise plain "$MIB"');
  },
  comparisons: [
    {
      name: 'dd',
      ours: OURS,
      beside: {
        label: '`dd`: the old to a new file, the new over the old, neither flushed',
        prepare: 'rm -f copy; cat plain new >/dev/null; sync -f .; warm $((2 * MIB))',
        run: `
          dd if=plain of=copy bs=1M status=none
          dd if=new of=plain bs=1M conv=notrunc status=none`,
      },
    },
    {
      name: 'persistent',
      ours: OURS,
      beside: {
        label: 'snap-write under a fresh persistent snapshot, durable',
        prepare: `
          rm -f copy
          ${retake('plain@one')}
          cat plain new >/dev/null
          sync -f .
          warm $((2 * MIB))`,
        run: 'snap-write -q plain <new',
      },
    },
  ],
};
