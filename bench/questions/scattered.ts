/** Many small writes at random places, in one input: what a disk of a virtual machine sees. */
import { choose, randomNumbers, writeQemuCommands, writeRecords } from '../harness/inputs.ts';
import type { Comparison, Question } from '../harness/question.ts';
import { programs } from '../harness/question.ts';
import { retake } from './parts.ts';

const WRITE_BYTES = 4096;
const CLUSTER_BYTES = 65_536;

/** Places in different clusters, so that each is a first touch. */
function places(mib: number, count: number): number[] {
  const random = randomNumbers();
  return choose(count, (mib * 2 ** 20) / CLUSTER_BYTES).map(
    (cluster) => cluster * CLUSTER_BYTES + Math.floor((random() * CLUSTER_BYTES) / WRITE_BYTES) * WRITE_BYTES,
  );
}

/**
 * An internal snapshot makes qemu flush three times for each write, to keep its tables in order: the first peer is safe
 * while it runs. The second leaves all that out, and is flushed from outside when it is done.
 */
function withClusters(size: string, isPeerSafe: boolean): Comparison {
  const image = `disk-${size}.img`;
  const qcow2 = `disk-${size}.qcow2`;
  return {
    name: isPeerSafe ? size : `${size}-unsafe`,
    note: `clusters of ${size}`,
    ...(isPeerSafe ? { reach: 1 } : {}),
    needs: [
      {
        lacking: 'not available: snap-write has no --extents yet',
        test: 'snap-write --help | grep -qe --extents',
      },
      ...programs('qemu-img', 'qemu-io'),
    ],
    async setup({ bash }) {
      await bash(`
        rm -rf disk-*; cp plain ${image}
        qemu-img convert -f raw -O qcow2 -o cluster_size=${size} plain ${qcow2}
        qemu-img snapshot -c one ${qcow2}`);
    },
    ours: {
      label: 'snap-write --extents',
      prepare: `
        ${retake(`${image}@one`, `--cluster-size ${size}`)}
        cat ${image} records >/dev/null
        sync -f .`,
      run: `snap-write -q --extents ${image} <records`,
    },
    beside: {
      label: isPeerSafe
        ? '`qemu-io` on a qcow2 with an internal snapshot, one flush at the end'
        : '`qemu-io -t unsafe` on a qcow2 with an internal snapshot, `sync`',
      prepare: `
        qemu-img snapshot -d one ${qcow2}
        qemu-img snapshot -c one ${qcow2}
        cat ${qcow2} >/dev/null
        sync -f .`,
      run: isPeerSafe
        ? `qemu-io -t writeback -f qcow2 ${qcow2} <commands`
        : `qemu-io -t unsafe -f qcow2 ${qcow2} <commands; sync ${qcow2}`,
    },
  };
}

export const scattered: Question = {
  name: 'scattered',
  title: '10,000 writes of 4 KiB at random in one input, first touch',
  sizes: { full: { MIB: 2048, WRITES: 10_000 }, small: { MIB: 8, WRITES: 50 } },
  async setup({ bash, path, sizes }) {
    await bash('noise plain "$MIB"');
    const offsets = places(sizes.MIB ?? 0, sizes.WRITES ?? 0);
    writeRecords(path('records'), offsets, WRITE_BYTES);
    writeQemuCommands(path('commands'), offsets, WRITE_BYTES);
  },
  comparisons: [
    withClusters('64K', true),
    withClusters('64K', false),
    withClusters('4K', true),
    withClusters('4K', false),
  ],
};
