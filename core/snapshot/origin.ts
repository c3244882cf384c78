/**
 * The origin: the plain image file that is always current. Resolved first, since the sidecar stands beside the
 * file that a symbolic link leads to, and refused where a second name could lead writers past the sidecar.
 */
import { SnapError } from '../base/errors.ts';
import type { FileKind, FileStat, FileSystem, RandomAccessFile } from '../io/file-system.ts';
import { sidecarAbove, sidecarPath } from '../store/sidecar.ts';
import { beginsAsStore } from '../store/store-file.ts';
import type { Context } from './context.ts';

export const KIND_NAMES: Readonly<Record<Exclude<FileKind, 'file'>, string>> = {
  directory: 'a directory',
  symlink: 'a symbolic link',
  fifo: 'a named pipe',
  device: 'a device',
  socket: 'a socket',
};

function refuse(image: string, what: string, hint: string): SnapError {
  return new SnapError('refused', `${image}: ${what}`, { path: image, hint });
}

/**
 * The image's real path.
 * @throws `not-found`; `refused` for what is no regular file, has several hard links, is on a network file system, or
 *   lies in a sidecar
 */
export async function resolveImage(context: Context, image: string): Promise<string> {
  const { files } = context.host;
  const stat = await files.stat(image);
  if (stat === undefined) {
    throw new SnapError('not-found', `${image}: no such image`, { path: image, hint: 'check the path' });
  }
  if (stat.kind !== 'file') {
    throw refuse(
      image,
      `is ${KIND_NAMES[stat.kind]}, not an image file`,
      'snapshots are taken of regular files',
    );
  }
  checkLinks(image, stat);
  const imagePath = await files.realPath(image);
  await checkCoherent(context, image, imagePath);
  const sidecar = await sidecarAbove(files, imagePath);
  if (sidecar !== undefined) {
    throw refuse(image, `is inside the sidecar ${sidecar}`, 'name the image that the sidecar belongs to');
  }
  return imagePath;
}

/** @throws `refused` where locks may not hold at `path`, unless the user knows better */
export async function checkCoherent(context: Context, image: string, path: string): Promise<void> {
  if (context.anyFileSystem || (await context.host.files.isCoherent(path))) return;
  throw refuse(
    image,
    `${path} is on a network or FUSE file system, where locks may not hold`,
    'if only this machine uses it, set IMGSNAP_ANY_FILESYSTEM=1',
  );
}

/**
 * A file that has snapshots is an image, whatever is in it. One that has none and begins as a store is somebody's store.
 * @throws `refused`
 */
export async function checkNoStore(
  files: FileSystem,
  image: string,
  imagePath: string,
  origin: RandomAccessFile,
): Promise<void> {
  if ((await files.linkStat(sidecarPath(imagePath))) !== undefined || !(await beginsAsStore(origin))) return;
  throw refuse(image, 'is the store of a snapshot', 'name the image that the snapshot was taken of');
}

export function checkLinks(image: string, stat: FileStat): void {
  if (stat.linkCount > 1) {
    throw refuse(
      image,
      'has several hard links, and a write through another would bypass its snapshots',
      'make a copy of its own with cp --reflink=auto',
    );
  }
}

/**
 * The old content of clusters that are to be copied. Past the end of an origin that was cut there are zeros: no
 * snapshot that is still trusted reaches there.
 */
export async function readOldContent(
  origin: RandomAccessFile,
  originSizeBytes: number,
  target: Buffer,
  offsetBytes: number,
): Promise<void> {
  const there = Math.max(0, Math.min(target.length, originSizeBytes - offsetBytes));
  await readOrigin(origin, target.subarray(0, there), offsetBytes);
  target.fill(0, there);
}

/** Fills `target` from the origin. @throws `io` where the file ends too early: it was cut while it was read */
export async function readOrigin(
  origin: RandomAccessFile,
  target: Buffer,
  offsetBytes: number,
): Promise<void> {
  const got = await origin.read(target, offsetBytes);
  if (got < target.length) {
    throw new SnapError('io', `${origin.path}: ended at ${offsetBytes + got} while it was read`, {
      path: origin.path,
      offsetBytes: offsetBytes + got,
      hint: 'something outside imgsnap is cutting the image',
    });
  }
}
