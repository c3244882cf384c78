/** How many snapshots there are makes no write slower. */
import type { Question } from '../harness/question.ts';
import { MANY_SNAPSHOTS, retake } from './parts.ts';

export const manyWrite: Question = {
  name: 'many-write',
  title: 'write 256 MiB under a fresh snapshot with 256 snapshots present',
  sizes: {
    full: { MIB: 256, IMAGE_MIB: 1024, SNAPSHOTS: 256 },
    small: { MIB: 4, IMAGE_MIB: 12, SNAPSHOTS: 3 },
  },
  async setup({ bash }) {
    await bash(`
      noise seed "$IMAGE_MIB"; cp seed many.img; cp seed one.img; rm seed; noise new "$MIB"
      ${MANY_SNAPSHOTS}
      snap-create -q many.img@new; snap-write -q many.img <new`);
  },
  comparisons: [
    {
      name: 'one',
      reach: 1.1,
      ours: {
        label: 'with 256',
        prepare: `${retake('many.img@new')}; cat many.img new >/dev/null; sync -f .`,
        run: 'snap-write -q many.img <new',
      },
      beside: {
        label: 'the same with one snapshot',
        prepare: `${retake('one.img@new')}; cat one.img new >/dev/null; sync -f .`,
        run: 'snap-write -q one.img <new',
      },
    },
  ],
};
