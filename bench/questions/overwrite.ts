/** Overwriting everything under a fresh snapshot: the dearest write there is, since all is copied first. */
import type { Question } from '../harness/question.ts';
import { programs } from '../harness/question.ts';
import { MOUNTING, mountBtrfs, retake } from './parts.ts';

const OURS = {
  label: 'snap-write',
  prepare: `${retake('disk.img@one')}; cat disk.img new >/dev/null; sync -f .; warm $((2 * MIB))`,
  run: 'snap-write -q disk.img <new',
};

export const overwrite: Question = {
  name: 'overwrite',
  title: 'overwrite 1 GiB under a fresh snapshot, durable at the end',
  sizes: { full: { MIB: 1024 }, small: { MIB: 4 } },
  async setup({ bash }) {
    await bash('noise disk.img "$MIB"; noise new "$MIB"');
  },
  comparisons: [
    {
      name: 'qcow2',
      reach: 0.9,
      needs: programs('qemu-img'),
      async setup({ bash }) {
        await bash(
          'qemu-img convert -f raw -O qcow2 disk.img disk.qcow2; qemu-img snapshot -c one disk.qcow2',
        );
      },
      ours: OURS,
      beside: {
        label: '`qemu-img convert -n` onto a qcow2 with an internal snapshot, `sync` (writes once)',
        prepare: `
          qemu-img snapshot -d one disk.qcow2
          qemu-img snapshot -c one disk.qcow2
          cat disk.qcow2 new >/dev/null
          sync -f .
          warm $((2 * MIB))`,
        run: 'qemu-img convert -n -f raw -O qcow2 new disk.qcow2; sync disk.qcow2',
      },
    },
    {
      name: 'dd',
      reach: 1.5,
      async setup({ bash }) {
        await bash('rm -f disk.qcow2; noise plain "$MIB"');
      },
      ours: OURS,
      beside: {
        label: '`dd`: the old to a new file, the new over the old, both fdatasync',
        prepare: 'rm -f copy; cat plain new >/dev/null; sync -f .; warm $((2 * MIB))',
        run: `
          dd if=plain of=copy bs=1M conv=fdatasync status=none
          dd if=new of=plain bs=1M conv=notrunc,fdatasync status=none`,
      },
    },
    {
      name: 'nbdkit',
      needs: programs('nbdkit', 'nbdcopy'),
      async setup({ bash }) {
        await bash('rm -f copy');
      },
      ours: OURS,
      beside: {
        label: '`nbdcopy` into `nbdkit --filter=cow` (its overlay is temporary, nothing is durable)',
        prepare: 'cat plain new >/dev/null; sync -f .; warm $((2 * MIB))',
        run: 'nbdcopy new -- [ nbdkit --exit-with-parent --filter=cow file plain ]',
      },
    },
    {
      name: 'reflink',
      note: 'on btrfs',
      needs: [...programs('mkfs.btrfs'), MOUNTING],
      async setup(place) {
        await mountBtrfs(place);
        await place.bash('cp disk.img btrfs; cp disk.img btrfs/plain');
      },
      ours: {
        label: 'snap-write',
        prepare: `${retake('btrfs/disk.img@one')}; cat btrfs/disk.img new >/dev/null; sync -f btrfs; warm $((2 * MIB))`,
        run: 'snap-write -q btrfs/disk.img <new',
      },
      beside: {
        label: '`dd conv=notrunc,fdatasync` over a file with a `cp --reflink` (writes once)',
        prepare: `
          rm -f btrfs/copy
          cp --reflink=always btrfs/plain btrfs/copy
          cat btrfs/plain new >/dev/null
          sync -f btrfs
          warm $((2 * MIB))`,
        run: 'dd if=new of=btrfs/plain bs=1M conv=notrunc,fdatasync status=none',
      },
    },
  ],
};
