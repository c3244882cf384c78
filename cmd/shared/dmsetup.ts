/** What `dmsetup table` and `dmsetup status` print, for images and their snapshots. */
import type { ListedImage, ListedSnapshot } from '../../core/snapshot/list.ts';
import { SECTOR_BYTES } from '../../core/store/dm-exceptions.ts';
import { regions } from '../../core/store/layout.ts';

/** The characters that a name of device-mapper has as they are. */
const PLAIN_NAME = /[0-9A-Za-z#+\-.:=@_]/;

/** All the tables, then all the statuses, in the same order: each image, then its snapshots, oldest first. */
export function dmsetupLines(listed: readonly ListedImage[]): string {
  const devices = listed.flatMap(devicesOf);
  const line = (device: Device, words: string) =>
    `${mangle(device.name, '')}: 0 ${device.sectors} ${words}\n`;
  const tables = devices.map((device) => line(device, device.table));
  const statuses = devices.map((device) => line(device, device.status));
  return [...tables, ...statuses].join('');
}

interface Device {
  readonly name: string;
  readonly sectors: number;
  readonly table: string;
  readonly status: string;
}

function devicesOf(listed: ListedImage): Device[] {
  const { image, sizeBytes, snapshots } = listed;
  const origin = mangle(image, '/');
  const devices: Device[] = [];
  // The image of an orphan is not there.
  if (sizeBytes !== undefined) {
    const table = `snapshot-origin ${origin}`;
    devices.push({ name: image, sectors: sectors(sizeBytes), table, status: 'snapshot-origin ' });
  }
  for (const snapshot of snapshots) {
    const store = mangle(snapshot.files[0] ?? '', '/');
    devices.push({
      name: `${image}@${snapshot.name}`,
      sectors: sectors(snapshot.sizeBytes),
      table: `snapshot ${origin} ${store} ${snapshot.transient ? 'N' : 'P'} ${sectors(snapshot.clusterSizeBytes)}`,
      status: `snapshot ${usage(snapshot)}`,
    });
  }
  return devices;
}

/** `allocated/total metadata` in sectors; total is what it may come to. */
function usage(snapshot: ListedSnapshot): string {
  const { state, clustersCopied, clustersZero, clusterSizeBytes, clusterCount } = snapshot;
  if (state === 'invalid' || state === 'modified') return 'Invalid';
  if (state === 'orphan' || clustersZero === undefined) return 'Unknown';
  const tablesBytes = regions(snapshot).dataOffsetBytes;
  const copiesBytes = (clustersCopied - clustersZero) * clusterSizeBytes;
  const { maxSizeBytes = Number.POSITIVE_INFINITY, limitUsedBytes = 0 } = snapshot;
  // What was handed over does not count against the limit, and may make more of it than one of each cluster.
  const mostBytes = Math.min(clusterCount * clusterSizeBytes, copiesBytes + maxSizeBytes - limitUsedBytes);
  const totalBytes = Math.max(mostBytes, copiesBytes);
  return `${sectors(tablesBytes + copiesBytes)}/${sectors(tablesBytes + totalBytes)} ${sectors(tablesBytes)}`;
}

/** A device has whole sectors. */
function sectors(bytes: number): number {
  return Math.floor(bytes / SECTOR_BYTES);
}

/** As device-mapper mangles names: bytes that are not plain as `\xNN`. */
function mangle(text: string, alsoPlain: string): string {
  const plain = (character: string) => PLAIN_NAME.test(character) || alsoPlain.includes(character);
  return [...Buffer.from(text)]
    .map((byte) => [String.fromCharCode(byte), byte.toString(16).padStart(2, '0')] as const)
    .map(([character, digits]) => (plain(character) ? character : `\\x${digits}`))
    .join('');
}
