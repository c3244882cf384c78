/** Arguments that name an image, or snapshots of one image. */
import { SnapError } from '../../core/base/errors.ts';
import type { FileSystem } from '../../core/io/file-system.ts';
import { parseReference } from '../../core/snapshot/reference.ts';

/** The image that an argument names. @throws `usage` where it names a snapshot */
export async function imageOnly(files: FileSystem, argument: string, why: string): Promise<string> {
  const { image, name } = await parseReference(files, argument);
  if (name === undefined) return image;
  throw new SnapError('usage', `${argument}: names a snapshot, and only an image is taken: ${why}`, {
    hint: `give ${image}`,
  });
}

export interface OneImage {
  readonly image: string;
  /** Empty where the image itself was named. */
  readonly names: readonly string[];
}

/** One image, or snapshots of one image. @throws `usage` for a mixture */
export async function oneImage(files: FileSystem, words: readonly string[]): Promise<OneImage> {
  const references = [];
  for (const word of words) references.push(await parseReference(files, word));
  const [first] = references;
  if (first === undefined) throw new SnapError('usage', 'an image is missing');
  const names = new Set<string>();
  for (const { image, name } of references) {
    if (image !== first.image)
      throw new SnapError('usage', `${first.image} and ${image}: one image at a time`);
    if (name !== undefined) names.add(name);
  }
  if (references.length > 1 && references.some(({ name }) => name === undefined)) {
    throw new SnapError('usage', `${first.image}: give the image alone, or snapshots of it`);
  }
  return { image: first.image, names: [...names] };
}
