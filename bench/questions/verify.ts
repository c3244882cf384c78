/** Verifying copied clusters takes what hashing them takes. */
import type { Question } from '../harness/question.ts';
import { programs } from '../harness/question.ts';

export const verify: Question = {
  name: 'verify',
  title: 'verify 1 GiB of copied clusters',
  sizes: { full: { MIB: 1024 }, small: { MIB: 4 } },
  async setup({ bash }) {
    await bash(`
      noise old "$MIB"; cp old disk.img; noise new "$MIB"
      snap-create -q disk.img@one; snap-write -q disk.img <new
      sync -f .`);
  },
  comparisons: [
    {
      name: 'xxhsum',
      // Short, and of two cores beside one: told from noise only by many.
      rounds: 21,
      reach: 1.2,
      needs: programs('xxhsum'),
      ours: {
        label: 'snap-verify',
        prepare: 'cat disk.img.snap/*.cow >/dev/null',
        run: 'snap-verify -q disk.img',
      },
      beside: {
        label: '`xxhsum -H1` of the same bytes',
        prepare: 'cat old >/dev/null',
        run: 'xxhsum -H1 old',
      },
    },
  ],
};
