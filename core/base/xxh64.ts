/**
 * XXH64, seed 0, as `xxhsum -H1` computes it. It says whether bytes are what they were (a torn write, a flipped
 * bit, another file); it is no protection against somebody who forges them.
 */
import { SnapError } from './errors.ts';
import { lazyRequire } from './lazy-require.ts';

type Library = typeof import('@node-rs/xxhash');

const PACKAGE = '@node-rs/xxhash';

let loaded: Library | undefined;

/** @throws SnapError `io` where the package has no binary for this machine */
function library(): Library {
  if (loaded !== undefined) return loaded;
  try {
    loaded = load();
    return loaded;
  } catch (error) {
    throw new SnapError('io', `cannot hash: the package ${PACKAGE} does not load`, {
      hint: 'it comes prebuilt for this system on most processors; install the package again',
      cause: error,
    });
  }
}

/** The binary by its own package takes 1.4 ms, the package's own way of finding it 3 ms. */
function load(): Library {
  try {
    return lazyRequire(`${PACKAGE}-linux-${process.arch}-gnu`);
  } catch (error) {
    // Another C library; anything else fails there as well, and says why.
    if (!(error instanceof Error)) throw error;
    return lazyRequire(PACKAGE);
  }
}

export function xxh64(bytes: Uint8Array): bigint {
  return (loaded ?? library()).xxh64(bytes);
}

/** The XXH64 of a stream. */
export class Xxh64Digest {
  readonly #state = new (library().Xxh64)();

  update(bytes: Uint8Array): void {
    this.#state.update(bytes);
  }

  value(): bigint {
    return this.#state.digest();
  }
}

/** 16 hex digits, as `xxhsum -H1` prints them. */
export function hex64(value: bigint): string {
  return value.toString(16).padStart(16, '0');
}

/** `xxh64:` and 16 hex digits: how a digest stands in JSON and in the catalog. */
export function digestText(value: bigint): string {
  return `xxh64:${hex64(value)}`;
}
