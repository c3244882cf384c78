/** Removing the oldest only unlinks; removing one in the middle copies what older ones need, and no more. */
import type { Question } from '../harness/question.ts';

/** So many MiB are copied into the oldest of two snapshots. */
const oldest = (image: string, mib: string) => `
  for each in a b; do snap-gc -q ${image}@$each || true; done
  snap-create -q ${image}@a
  head -c "${mib}"M new | snap-write -q ${image}
  snap-create -q ${image}@b
  sync -f .`;

/** All of the image is in the middle one of three, and nothing of it in the oldest. */
const middle = `
  for each in a b c; do snap-gc -q disk.img@$each || true; done
  snap-create -q disk.img@a
  snap-create -q disk.img@b
  snap-write -q disk.img <new
  snap-create -q disk.img@c
  cat disk.img.snap/b-*.cow >/dev/null
  sync -f .
  warm $((2 * MIB))`;

const copyPrepare = 'rm -f copy; cat new >/dev/null; sync -f .; warm $((2 * MIB))';

export const remove: Question = {
  name: 'remove',
  title: 'remove a snapshot with 1 GiB of copied clusters',
  sizes: { full: { MIB: 1024 }, small: { MIB: 4 } },
  async setup({ bash }) {
    await bash(`
      noise disk.img "$MIB"; noise other.img "$MIB"; noise new "$MIB"`);
  },
  comparisons: [
    {
      name: 'oldest',
      note: 'the oldest',
      rounds: 15,
      reach: 1.2,
      ours: { label: 'with 1 GiB', prepare: oldest('disk.img', '$MIB'), run: 'snap-gc -q disk.img@a' },
      beside: { label: 'one with 1 MiB', prepare: oldest('other.img', '1'), run: 'snap-gc -q other.img@a' },
    },
    {
      name: 'middle',
      note: 'one in the middle, durable at the end',
      rounds: 11,
      reach: 1.5,
      ours: { label: 'snap-gc', prepare: middle, run: 'snap-gc -q disk.img@b' },
      beside: {
        label: '`cp` of the clusters that are handed over, `sync` of the copy',
        prepare: copyPrepare,
        run: 'cp --reflink=never new copy; sync copy',
      },
    },
    {
      name: 'middle-cp',
      note: 'one in the middle',
      ours: { label: 'snap-gc', prepare: middle, run: 'snap-gc -q disk.img@b' },
      beside: {
        label: '`cp` of the clusters that are handed over (into the page cache, nothing is durable)',
        prepare: copyPrepare,
        run: 'cp --reflink=never new copy',
      },
    },
  ],
};
