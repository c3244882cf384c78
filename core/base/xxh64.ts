/**
 * XXH64, seed 0, as `xxhsum -H1` computes it. It says whether bytes are what they were (a torn write, a flipped
 * bit, another file); it is no protection against somebody who forges them.
 *
 * The library compiles WebAssembly when it is first asked for, so `loadXxh64` comes before the first hash.
 */
import type { XXHashAPI } from 'xxhash-wasm';

/** The module's memory grows to its largest input, so it is fed in pieces. */
const PIECE_BYTES = 1 << 20;

let api: XXHashAPI | undefined;
let loading: Promise<XXHashAPI> | undefined;

/** May be called early and left alone: compiling takes 3 ms of another thread. */
export async function loadXxh64(): Promise<void> {
  loading ??= import('xxhash-wasm').then((module) => module.default());
  api = await loading;
}

function loaded(): XXHashAPI {
  if (api === undefined) throw new Error('loadXxh64 was not awaited');
  return api;
}

export function xxh64(bytes: Uint8Array): bigint {
  if (bytes.length <= PIECE_BYTES) return loaded().h64Raw(bytes);
  const digest = new Xxh64Digest();
  digest.update(bytes);
  return digest.value();
}

/** The XXH64 of a stream. */
export class Xxh64Digest {
  readonly #state = loaded().create64();

  update(bytes: Uint8Array): void {
    for (let start = 0; start < bytes.length; start += PIECE_BYTES) {
      this.#state.update(bytes.subarray(start, start + PIECE_BYTES));
    }
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
