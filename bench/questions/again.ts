/** Once all is copied, a write costs what a plain write costs. */
import type { Question } from '../harness/question.ts';

export const again: Question = {
  name: 'again',
  title: 'overwrite 1 GiB again, all of it copied already',
  sizes: { full: { MIB: 1024 }, small: { MIB: 4 } },
  async setup({ bash }) {
    await bash(`
      noise disk.img "$MIB"; noise plain "$MIB"; noise new "$MIB"
      snap-create -q disk.img@one; snap-write -q disk.img <new`);
  },
  comparisons: [
    {
      name: 'dd',
      reach: 1.25,
      ours: {
        label: 'snap-write',
        prepare: 'cat disk.img new >/dev/null; sync -f .',
        run: 'snap-write -q disk.img <new',
      },
      beside: {
        label: '`dd conv=notrunc,fdatasync`',
        prepare: 'cat plain new >/dev/null; sync -f .',
        run: 'dd if=new of=plain bs=1M conv=notrunc,fdatasync status=none',
      },
    },
  ],
};
