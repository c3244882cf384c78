/** Chance for samples of faults, from a seed that is told. */
import { createHash } from 'node:crypto';
import type { TestContext } from 'node:test';
import { mulberry32 } from '../sim/memory-host.ts';
import { chooseSeed } from '../support/commands.ts';

/** Numbers of 32 bits; the same for the same text. */
export function randomFrom(seed: string): () => number {
  return mulberry32(createHash('sha256').update(seed).digest().readInt32LE(0));
}

export function chooseRandom(t: TestContext): () => number {
  return randomFrom(chooseSeed(t));
}
