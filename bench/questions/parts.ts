/** Pieces of scripts that several questions share. */
import type { Need, Workshop } from '../harness/question.ts';

/** A btrfs with room for a few times `$MIB`, mounted on `btrfs/`: where files share blocks. */
export async function mountBtrfs({ bash, sizes }: Workshop): Promise<void> {
  const sizeMib = 512 + 5 * (sizes.MIB ?? 0);
  await bash(`truncate -s ${sizeMib}M btrfs.disk; mkfs.btrfs -q btrfs.disk; mount -o loop btrfs.disk btrfs`);
}

/** Whether a loop device can be mounted is only known by doing it. */
export const MOUNTING: Need = {
  lacking: 'mounting a btrfs on a loop device is not allowed here',
  test: `
    mkdir -p btrfs
    truncate -s 256M probe.disk
    mkfs.btrfs -q probe.disk
    mount -o loop probe.disk btrfs
    umount btrfs
    rm probe.disk`,
};

/** Makes a file of so many bytes, all holes; not every file system has such. */
export function sparseFiles(sizeText: string): Need {
  return {
    lacking: `no file of ${sizeText} can be made here`,
    test: `rm -f probe.sparse; truncate -s ${sizeText} probe.sparse; rm probe.sparse`,
  };
}

/** Removes a snapshot if it is there, and takes it anew. */
export function retake(snapshot: string, options = ''): string {
  return `snap-gc -q ${snapshot} || true; snap-create -q ${options} ${snapshot}`;
}

/**
 * `$SNAPSHOTS` less one snapshots of `many.img`, named 1, 2 and so on; after each, another MiB of the image changes. Those
 * MiB lie four apart, in an order of leaps, so that neighbours are in stores that are far from each other.
 */
export const MANY_SNAPSHOTS = `
  count=$((SNAPSHOTS - 1))
  for ((number = 1; number <= count; number++)); do
    snap-create -q many.img@$number
    head -c 1M /dev/urandom | snap-write -q many.img --offset $((number * 97 % SNAPSHOTS * 4))M
  done`;
