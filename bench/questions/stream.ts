/** A snapshot goes into a pipe as fast as the plain image does. */
import { choose, scatter, writeQemuCommands } from '../harness/inputs.ts';
import type { Question } from '../harness/question.ts';
import { programs } from '../harness/question.ts';

const CLUSTER_BYTES = 65_536;

/** A quarter of the clusters, in random order. */
function quarter(mib: number): number[] {
  const clusters = (mib * 2 ** 20) / CLUSTER_BYTES;
  return choose(clusters / 4, clusters).map((cluster) => cluster * CLUSTER_BYTES);
}

const CAT = {
  label: '`cat` of the image',
  prepare: 'cat disk.img disk.img.snap/*.cow >/dev/null',
  run: 'cat disk.img | cat >/dev/null',
};

export const stream: Question = {
  name: 'stream',
  title: 'stream a 2 GiB snapshot, a quarter of it copied and scattered, into a pipe',
  sizes: { full: { MIB: 2048 }, small: { MIB: 4 } },
  async setup({ bash, path, sizes }) {
    await bash('noise old "$MIB"; cp old disk.img; cp old changed');
    scatter(path('changed'), quarter(sizes.MIB ?? 0), CLUSTER_BYTES);
    await bash(`
      snap-create -q disk.img@one
      snap-write -q --delta disk.img <changed
      rm changed
      snap-read disk.img@one | cmp - old
      sync -f .`);
  },
  comparisons: [
    {
      name: 'cat',
      reach: 1,
      ours: { label: 'snap-read', prepare: CAT.prepare, run: 'snap-read disk.img@one | cat >/dev/null' },
      beside: CAT,
    },
    {
      name: 'digest',
      note: 'with --digest',
      reach: 1,
      ours: {
        label: 'snap-read',
        prepare: CAT.prepare,
        run: 'snap-read --digest disk.img@one | cat >/dev/null',
      },
      beside: CAT,
    },
    {
      name: 'nbd',
      reach: 0.7,
      needs: programs('qemu-img', 'qemu-io', 'qemu-nbd', 'nbdcopy'),
      async setup({ bash, path, sizes }) {
        writeQemuCommands(path('commands'), quarter(sizes.MIB ?? 0), CLUSTER_BYTES);
        await bash(`
          qemu-img convert -f raw -O qcow2 old disk.qcow2
          qemu-img snapshot -c one disk.qcow2
          qemu-io -t unsafe -f qcow2 disk.qcow2 <commands
          nbdcopy -- [ qemu-nbd -r -f qcow2 -l one disk.qcow2 ] - | cmp - old
          sync -f .`);
      },
      ours: { label: 'snap-read', prepare: CAT.prepare, run: 'snap-read disk.img@one | cat >/dev/null' },
      beside: {
        label: '`qemu-nbd` of a qcow2 internal snapshot, `nbdcopy`',
        prepare: 'cat disk.qcow2 >/dev/null',
        run: 'nbdcopy -- [ qemu-nbd -r -f qcow2 -l one disk.qcow2 ] - | cat >/dev/null',
      },
    },
  ],
};
