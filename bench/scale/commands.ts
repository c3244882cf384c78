/** What is measured in a scene: each once, in this order, since most of them change it. */
import { middleName, nameAt, type Scene, severalNames } from './scene.ts';

export interface Command {
  readonly title: string;
  readonly script: string;
}

/** Where `snap-list --json` leaves how much it said. */
export const JSON_BYTES_FILE = 'json-bytes';
/** Open files of each process at most, so that success shows that no more are needed. */
export const OPEN_FILES = 100;

/** The first takes the last snapshot. */
export function commandsOf(scene: Scene): Command[] {
  const { image, times } = scene;
  const { dataMib, touchedMib } = scene.amounts;
  const [oldest, newest] = [nameAt(times, 0), nameAt(times, -1)];
  // Into what no snapshot of the scene has copied.
  const [touchedAt, tinyAt] = [dataMib / 4, dataMib / 2];
  const list: [string, string][] = [
    ['`snap-create`', `snap-create -q ${image}@${newest} --time ${times.at(-1)}`],
    [
      `\`snap-write\`, ${touchedMib} MiB, first touch`,
      `snap-write -q ${image} --offset ${touchedAt}M <touched`,
    ],
    [
      '`snap-write`, a copied cluster again',
      `head -c "$CLUSTER" data | snap-write -q ${image} --offset ${touchedAt}M`,
    ],
    ['`snap-write`, 4 KiB, first touch', `head -c 4096 data | snap-write -q ${image} --offset ${tinyAt}M`],
    ['`snap-read`, 1 byte of the oldest', `snap-read ${image}@${oldest} --length 1 | cat >/dev/null`],
    [
      `\`snap-read\`, ${dataMib} MiB of the oldest`,
      `snap-read ${image}@${oldest} --offset 0 --length ${dataMib}M | cat >/dev/null`,
    ],
    ['`snap-verify`', `snap-verify -q ${image}`],
    ['`snap-list`', `snap-list ${image} | cat >/dev/null`],
    ['`snap-list --json`', `snap-list --json ${image} | wc -c >${JSON_BYTES_FILE}`],
    ['`snap-gc --dry-run --keep-daily 7`', `snap-gc ${image} --dry-run --keep-daily 7 | cat >/dev/null`],
    ['`snap-gc`, the oldest', `snap-gc -q ${image}@${oldest}`],
    ['`snap-gc`, one in the middle', `snap-gc -q ${image}@${middleName(scene)}`],
  ];
  const several = severalNames(scene).map((name) => `${image}@${name}`);
  if (several.length > 0)
    list.push([`\`snap-gc\`, ${several.length} in the middle`, `snap-gc -q ${several.join(' ')}`]);
  return list.map(([title, script]) => ({ title, script: `ulimit -n ${OPEN_FILES}; ${script}` }));
}
