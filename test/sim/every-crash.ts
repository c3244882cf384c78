/**
 * Exhaustive where `run-crashes.ts` is random: every sequence of up to three operations of a small alphabet, the power
 * lost at every point of the last of them; and processes killed at every point, the next one carrying on, and then the
 * power lost at every point. `npm run test:crash:all`; a failure prints its sequence, which is run again by giving it.
 */

import type { Expectation } from './crash-expectation.ts';
import type { Planned } from './crash-options.ts';
import { crashRun } from './crash-run.ts';
import { CLUSTER_BYTES, type Step } from './crash-steps.ts';

type Choose = (expected: Expectation) => Step | undefined;

/** By age, so that it can be said before anybody knows the names. */
function removeAt(index: (count: number) => number | undefined): Choose {
  return (expected) => {
    const names = [...expected.snapshots.keys()];
    const name = names[index(names.length) ?? -1];
    return name === undefined ? undefined : { kind: 'remove', name };
  };
}

/** Each write has bytes that were never there before. */
function write(startBytes: number, lengthBytes: number, sync: boolean): Choose {
  return ({ image }) => {
    const data = Buffer.alloc(lengthBytes, ((image[startBytes] ?? 0) + 1) & 0xff);
    return { kind: 'write', offsetBytes: Math.min(startBytes, image.length), data, sync };
  };
}

let named = 0;

const ALPHABET: Readonly<Record<string, Choose>> = {
  create: () => {
    named += 1;
    return { kind: 'create', name: `s${named}` };
  },
  choose: () => {
    named += 1;
    return { kind: 'create', name: `s${named}`, candidates: 0b1101 };
  },
  write: write(100, 700, true),
  across: write(CLUSTER_BYTES - 300, CLUSTER_BYTES + 600, false),
  grow: write(Number.MAX_SAFE_INTEGER, CLUSTER_BYTES + 100, true),
  oldest: removeAt(() => 0),
  middle: removeAt((count) => (count > 2 ? 1 : undefined)),
  newest: removeAt((count) => (count > 1 ? count - 1 : undefined)),
  collect: ({ snapshots }) => (snapshots.size > 0 ? { kind: 'collect' } : undefined),
  read: ({ snapshots }) => {
    const [name] = snapshots.keys();
    return name === undefined ? undefined : { kind: 'read', name };
  },
};

/** What stands there before: nothing, or three snapshots of which each has copies. */
const BEFORE: Readonly<Record<string, readonly string[]>> = {
  '': [],
  'three:': ['create', 'across', 'choose', 'write', 'create', 'across'],
};

export interface Extent {
  /** States tried at a point of sequences of one operation, of two, and so on. */
  readonly statesByLength: readonly number[];
  readonly kills: Kills;
}

export interface Kills {
  readonly killed: readonly string[];
  /** What the one that carries on does. */
  readonly next: readonly string[];
  readonly statesAtPoint: number;
}

const WHOLE: Extent = {
  statesByLength: [6, 3, 1],
  kills: { killed: Object.keys(ALPHABET), next: ['write', 'newest'], statesAtPoint: 1 },
};

export interface Tried {
  readonly sequences: number;
  readonly states: number;
}

function plannedOf(word: string, crashes: boolean, killAtChange?: number): Planned {
  const choose = ALPHABET[word];
  if (choose === undefined)
    throw new Error(`${word}: no operation; there are ${Object.keys(ALPHABET).join(' ')}`);
  return { choose, crashes, ...(killAtChange !== undefined && { killAtChange }) };
}

/** One sequence, such as `three: write create!7 collect`: after `!` the change before which that process is killed. */
async function tryOne(
  text: string,
  statesAtPoint: number,
): Promise<{ states: number; done: boolean; killed: boolean }> {
  const words = text.split(' ').filter((word) => word !== '');
  const before = BEFORE[words[0] ?? ''];
  const parsed = (before === undefined ? words : words.slice(1)).map((word) => word.split('!'));
  const plan = [
    ...(before ?? []).map((word) => plannedOf(word, false)),
    ...parsed.map(([word = '', kill], index) =>
      plannedOf(word, index === parsed.length - 1, kill === undefined ? undefined : Number(kill)),
    ),
  ];
  named = 0;
  try {
    const options = { stepCount: 0, crashEvery: 1, killPercent: 0, failPermille: 0 };
    const run = await crashRun({ ...options, seed: 1, plan, statesAtPoint });
    return { states: run.crashes, done: run.steps === plan.length, killed: run.killed };
  } catch (error) {
    throw new Error(`"${text}": ${String(error)}`, { cause: error });
  }
}

/** Sequences, each after all that it begins with; what cannot be is left out at once. */
async function trySequences(before: string, { statesByLength }: Extent): Promise<Tried> {
  let states = 0;
  let sequences = 0;
  let longer = [before];
  for (const statesAtPoint of statesByLength) {
    const possible: string[] = [];
    for (const text of longer) {
      for (const word of Object.keys(ALPHABET)) {
        const tried = await tryOne(`${text} ${word}`, statesAtPoint);
        if (!tried.done) continue;
        possible.push(`${text} ${word}`);
        states += tried.states;
      }
    }
    sequences += possible.length;
    longer = possible;
  }
  return { sequences, states };
}

/** One is killed before each of its changes, and another one carries on. */
async function tryKills(before: string, { killed, next, statesAtPoint }: Kills): Promise<Tried> {
  let states = 0;
  let sequences = 0;
  for (const first of killed) {
    for (let change = 1; ; change += 1) {
      const text = `${before} ${first}!${change}`;
      const alone = await tryOne(text, 0);
      if (!alone.done || !alone.killed) break;
      for (const word of next) {
        const tried = await tryOne(`${text} ${word}`, statesAtPoint);
        if (!tried.done) continue;
        sequences += 1;
        states += tried.states;
      }
    }
  }
  return { sequences, states };
}

export async function everyCrash(
  extent: Extent,
  log: (line: string) => void = () => undefined,
): Promise<Tried> {
  let total = { sequences: 0, states: 0 };
  const add = (what: string, { sequences, states }: Tried) => {
    log(`${what}: ${sequences} sequences, ${states} states`);
    total = { sequences: total.sequences + sequences, states: total.states + states };
  };
  for (const before of Object.keys(BEFORE)) {
    const where = before === '' ? 'from nothing' : 'from three snapshots';
    add(`up to ${extent.statesByLength.length} operations ${where}`, await trySequences(before, extent));
    add(`killed and carried on, ${where}`, await tryKills(before, extent.kills));
  }
  return total;
}

if (process.argv[1] === import.meta.filename) {
  const text = process.argv.slice(2).join(' ');
  const log = (line: string) => console.log(line);
  if (text !== '') {
    console.log(`"${text}": ${(await tryOne(text, 6)).states} states survived`);
  } else {
    const { sequences, states } = await everyCrash(WHOLE, log);
    console.log(`${states} states of ${sequences} sequences survived`);
  }
}
