/**
 * Block maps as bmaptool makes them (bmap 2.x): which blocks of an image hold data. Mapped blocks are candidates. The
 * checksum of each range is of the data at the time when the map was made, and says nothing about which blocks matter: it
 * is not looked at.
 */
import { parseXml, XmlElement } from '@rgrove/parse-xml';
import { SnapError } from '../base/errors.ts';
import { lazyRequire } from '../base/lazy-require.ts';
import type { Geometry } from '../store/layout.ts';
import { ClusterSelection, type Selection } from './selection.ts';

interface BlockMap {
  readonly imageSizeBytes: number;
  readonly blockSizeBytes: number;
  /** Inclusive, as in the file. */
  readonly ranges: readonly { readonly first: number; readonly last: number }[];
}

function refused(path: string, what: string): SnapError {
  return new SnapError('refused', `${path}: ${what}`, {
    path,
    hint: 'make it anew with bmaptool create; nothing was changed',
  });
}

/**
 * Reads a block map. What it gives is asked when a snapshot is taken.
 * @throws `refused` where the text is no bmap 2.x, does not match its own checksum, or contradicts itself
 */
export function candidatesOfBmap(
  text: string,
  path: string,
): (image: unknown, geometry: Geometry) => Promise<Selection> {
  const map = parseBmap(text, path);
  return async (_image, geometry) => {
    if (map.imageSizeBytes !== geometry.sizeBytes) {
      throw refused(
        path,
        `is of an image of ${map.imageSizeBytes} bytes, and this one has ${geometry.sizeBytes}`,
      );
    }
    const selection = new ClusterSelection(geometry);
    selection.leaveOut(0, geometry.sizeBytes);
    selection.settle();
    for (const { first, last } of map.ranges) {
      selection.keep(first * map.blockSizeBytes, (last + 1) * map.blockSizeBytes);
    }
    return { candidates: selection.bits, doubts: [] };
  };
}

function parseBmap(text: string, path: string): BlockMap {
  const root = rootOf(text, path);
  const version = root.attributes.version ?? '';
  if (root.name !== 'bmap' || !/^2\.\d+$/.test(version)) throw refused(path, 'is no block map of version 2');
  checkItself(text, root, path);
  const number = (name: string) => {
    const digits = textOf(root, name, path);
    const value = Number(digits);
    if (!/^\d+$/.test(digits) || !Number.isSafeInteger(value))
      throw refused(path, `its ${name} is no number`);
    return value;
  };
  const imageSizeBytes = number('ImageSize');
  const blockSizeBytes = number('BlockSize');
  const blockCount = number('BlocksCount');
  if (blockSizeBytes === 0 || blockCount !== Math.ceil(imageSizeBytes / blockSizeBytes)) {
    throw refused(path, 'its sizes contradict each other');
  }
  const list = childrenOf(root, 'BlockMap')[0];
  if (list === undefined) throw refused(path, 'has no BlockMap');
  const ranges = childrenOf(list, 'Range').map((range) => {
    const [, first = '', last = first] = /^\s*(\d+)(?:\s*-\s*(\d+))?\s*$/.exec(range.text) ?? [];
    const bounds = { first: Number(first), last: Number(last) };
    if (first === '' || bounds.first > bounds.last || bounds.last >= blockCount) {
      throw refused(path, `the range ${JSON.stringify(range.text.trim())} is none of the image`);
    }
    return bounds;
  });
  const mappedCount = ranges.reduce((sum, { first, last }) => sum + last - first + 1, 0);
  if (mappedCount !== number('MappedBlocksCount'))
    throw refused(path, 'its ranges are not all that were mapped');
  return { imageSizeBytes, blockSizeBytes, ranges };
}

function rootOf(text: string, path: string): XmlElement {
  try {
    const { root } = parseXml(text);
    if (root !== null) return root;
  } catch (error) {
    // What the parser says quotes the file.
    if (!(error instanceof Error)) throw error;
  }
  throw refused(path, 'is no block map (not XML)');
}

function childrenOf(element: XmlElement, name: string): XmlElement[] {
  return element.children.filter(
    (child): child is XmlElement => child instanceof XmlElement && child.name === name,
  );
}

function textOf(root: XmlElement, name: string, path: string): string {
  const [element, another] = childrenOf(root, name);
  if (element === undefined || another !== undefined) throw refused(path, `has no ${name}, or several`);
  return element.text.trim();
}

/** The checksum is of the file with its own hex digits as zeros. */
function checkItself(text: string, root: XmlElement, path: string): void {
  const expected = textOf(root, 'BmapFileChecksum', path);
  const type = textOf(root, 'ChecksumType', path);
  const crypto: typeof import('node:crypto') = lazyRequire('node:crypto');
  if (!/^(?:md5|sha\d+)$/.test(type) || !crypto.getHashes().includes(type)) {
    throw refused(path, `its ChecksumType ${JSON.stringify(type)} is not known`);
  }
  const blanked = text.replace(expected, '0'.repeat(expected.length));
  if (crypto.createHash(type).update(blanked).digest('hex') !== expected) {
    throw refused(path, 'does not match its own checksum');
  }
}
