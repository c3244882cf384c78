/** An image of one size with so many snapshots, some of which have copied something, and what its sidecar takes. */
import { readdirSync, statSync } from 'node:fs';
import type { RecordedTime } from '../../core/base/time.ts';
import type { Place } from '../harness/place.ts';
import { buildSnapshots, nameOf, timesOfWeek } from './build.ts';

/** How much data is moved; all of it a power of two, so that pieces lie on borders of clusters. */
export interface Amounts {
  /** What the image has of data, at its beginning; the rest is a hole. */
  readonly dataMib: number;
  /** What a snapshot that has copied something has copied. */
  readonly copiedMib: number;
  /** What is written into a fresh snapshot. */
  readonly touchedMib: number;
}

const SEVERAL = 20;
/** Snapshots that copy something before the last one is taken. */
const COPYING_COUNT = 3;

export interface Scene {
  readonly image: string;
  readonly amounts: Amounts;
  /** From the oldest to the newest; the newest is to be taken by the first command that is measured. */
  readonly times: readonly RecordedTime[];
}

/** Where something has been copied, and what is before it has not. */
export function middleName({ times }: Scene): string {
  return nameAt(times, -3);
}

/** Neighbours of which none has copied anything, with as many before and behind them; none where there are too few. */
export function severalNames({ times }: Scene): string[] {
  if (times.length < 3 * SEVERAL) return [];
  const first = Math.floor((times.length - SEVERAL) / 2);
  return times.slice(first, first + SEVERAL).map(nameOf);
}

export function nameAt(times: readonly RecordedTime[], index: number): string {
  const time = times.at(index);
  if (time === undefined) throw new RangeError(`fewer than ${Math.abs(index)} snapshots`);
  return nameOf(time);
}

/** Makes all snapshots but the last: in one go, and at the end a few as people do, each with something copied. */
export async function makeScene(
  place: Place,
  image: string,
  options: { readonly count: number; readonly amounts: Amounts; readonly signal: AbortSignal },
): Promise<Scene> {
  const { count, amounts, signal } = options;
  const { copiedMib } = amounts;
  const times = timesOfWeek(count);
  const firstReal = count - 1 - COPYING_COUNT;
  await place.bash(`rm -rf ${image}.snap`);
  await buildSnapshots(place.path(image), times.slice(0, firstReal), signal);
  for (let index = firstReal; index < count - 1; index += 1) {
    const offsetMib = (index - firstReal) * copiedMib;
    await place.bash(`
      head -c ${copiedMib}M data | snap-write -q ${image} --offset ${offsetMib}M
      snap-create -q ${image}@${nameAt(times, index)} --time ${times[index]}`);
  }
  return { image, amounts, times };
}

/** Bytes of a file: as it looks, and as the disk has it. */
export interface Extent {
  readonly apparent: number;
  readonly allocated: number;
}

export interface Structures {
  readonly catalog: Extent;
  readonly reserve: Extent;
  readonly state: Extent;
  readonly emptyStore: Extent;
  /** With `copiedMib` of data in it. */
  readonly copyingStore: Extent;
  readonly allStores: Extent;
}

/** What is on disk once the last snapshot is taken. */
export async function lookAtStructures(place: Place, { image, times }: Scene): Promise<Structures> {
  await place.bash(`sync -f ${image}`);
  const directory = place.path(`${image}.snap`);
  const at = (name: string): Extent => {
    const { size, blocks } = statSync(`${directory}/${name}`);
    return { apparent: size, allocated: blocks * 512 };
  };
  const stores = readdirSync(directory).filter((name) => name.endsWith('.cow'));
  const storeOf = (index: number) =>
    at(stores.find((name) => name.startsWith(`${nameAt(times, index)}-`)) ?? 'no such store');
  const extents = stores.map(at);
  return {
    catalog: at('catalog.json'),
    reserve: at('reserve'),
    state: at('state'),
    emptyStore: storeOf(-1),
    copyingStore: storeOf(-3),
    allStores: {
      apparent: extents.reduce((sum, { apparent }) => sum + apparent, 0),
      allocated: extents.reduce((sum, { allocated }) => sum + allocated, 0),
    },
  };
}
