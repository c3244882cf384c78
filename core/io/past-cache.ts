/**
 * Writing past the page cache (O_DIRECT), for what is flushed soon and not read again soon: the disk takes it out of the
 * program's memory. The cache would copy it first, give a page to each page of it, and drop what somebody reads for them;
 * removing the file would have to give all those back. Databases write this way (InnoDB's O_DIRECT).
 *
 * Only where it is known to mean just that. Elsewhere, and where it is refused, the same call goes through the cache.
 */
import fs from 'node:fs';

/** `f_type` of statfs(2). */
const KNOWN_TYPES: ReadonlySet<bigint> = new Set([
  0xef53n, // ext2, ext3, ext4
  0x58465342n, // XFS
]);

/** No disk that is in use wants more of places, lengths and memory. One that does answers EINVAL. */
const ALIGNMENT_BYTES = 4096;

/** Whether it can be asked for; the memory must begin on a page besides, which nobody can see (`base/page-aligned.ts`). */
export function mayGoPastCache(source: Buffer, offsetBytes: number): boolean {
  return (source.length | source.byteOffset) % ALIGNMENT_BYTES === 0 && offsetBytes % ALIGNMENT_BYTES === 0;
}

/** A second descriptor of the same file, whose writes go past the page cache; undefined where there is none. */
export function openPastCache(descriptor: number): number | undefined {
  const path = `/proc/self/fd/${descriptor}`;
  try {
    if (!KNOWN_TYPES.has(fs.statfsSync(path, { bigint: true }).type)) return undefined;
    return fs.openSync(path, fs.constants.O_WRONLY | fs.constants.O_DIRECT);
  } catch (error) {
    // Whatever it is, writing through the cache meets it, or can do without.
    if (error instanceof Error) return undefined;
    throw error;
  }
}
