/** The oldest of many snapshots, whose content is spread over all stores, is read as the only one is. */
import type { Question } from '../harness/question.ts';
import { MANY_SNAPSHOTS } from './parts.ts';

export const manyRead: Question = {
  name: 'many-read',
  title: 'stream the oldest of 256 snapshots of 1 GiB, a quarter of it copied, a piece in each store',
  sizes: { full: { IMAGE_MIB: 1024, SNAPSHOTS: 256 }, small: { IMAGE_MIB: 12, SNAPSHOTS: 3 } },
  async setup({ bash }) {
    await bash(`
      noise seed "$IMAGE_MIB"; cp seed many.img; cp seed one.img; rm seed
      ${MANY_SNAPSHOTS}
      snap-create -q many.img@new
      snap-create -q one.img@1; snap-write -q --delta one.img <many.img
      cmp <(snap-read many.img@1) <(snap-read one.img@1)
      sync -f .`);
  },
  comparisons: [
    {
      name: 'one',
      reach: 1.3,
      ours: {
        label: 'the oldest of 256',
        prepare: 'cat many.img many.img.snap/*.cow >/dev/null',
        run: 'snap-read many.img@1 | cat >/dev/null',
      },
      beside: {
        label: 'the only one, with the same content',
        prepare: 'cat one.img one.img.snap/*.cow >/dev/null',
        run: 'snap-read one.img@1 | cat >/dev/null',
      },
    },
  ],
};
