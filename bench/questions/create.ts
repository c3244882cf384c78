/** Creating a snapshot takes what starting Node takes, whatever the image's size. */
import type { Question } from '../harness/question.ts';
import { programs } from '../harness/question.ts';
import { MOUNTING, mountBtrfs, sparseFiles } from './parts.ts';

const ROUNDS = 21;
const remove = (image: string) => `snap-gc -q ${image}@new || true; sync -f .`;

export const create: Question = {
  name: 'create',
  title: 'create a snapshot',
  sizes: { full: { MIB: 256 }, small: { MIB: 4 } },
  async setup({ bash }) {
    await bash('noise disk.img "$MIB"; snap-create -q disk.img@one');
  },
  comparisons: [
    {
      name: 'node',
      rounds: ROUNDS,
      reach: 1.3,
      ours: { label: 'snap-create', prepare: remove('disk.img'), run: 'snap-create -q disk.img@new' },
      beside: { label: '`node -e 0`', prepare: remove('disk.img'), run: 'node -e 0' },
    },
    {
      name: 'size',
      note: 'of 8 TiB',
      rounds: ROUNDS,
      reach: 1.1,
      needs: [sparseFiles('8T')],
      async setup({ bash }) {
        await bash(`
          truncate -s 8T huge.img; noise tiny.img 1
          snap-create -q huge.img@one; snap-create -q tiny.img@one`);
      },
      ours: { label: 'of 8 TiB', prepare: remove('huge.img'), run: 'snap-create -q huge.img@new' },
      beside: { label: 'of 1 MiB', prepare: remove('tiny.img'), run: 'snap-create -q tiny.img@new' },
    },
    {
      name: 'reflink',
      note: 'on btrfs',
      rounds: ROUNDS,
      needs: [...programs('mkfs.btrfs'), MOUNTING],
      async setup(place) {
        await mountBtrfs(place);
        await place.bash('cp disk.img btrfs; sync -f btrfs; snap-create -q btrfs/disk.img@one');
      },
      ours: {
        label: 'snap-create',
        prepare: `${remove('btrfs/disk.img')}; sync -f btrfs`,
        run: 'snap-create -q btrfs/disk.img@new',
      },
      beside: {
        label: '`cp --reflink`, `sync`',
        prepare: 'rm -f btrfs/copy.img; sync -f btrfs',
        run: 'cp --reflink=always btrfs/disk.img btrfs/copy.img; sync btrfs/copy.img',
      },
    },
  ],
};
