/**
 * Memory that begins on a page. Large pieces of Node's begin 16 bytes behind one, since the first bytes of what it takes
 * from malloc are malloc's own, and there a copy out of the page cache takes twice as long (measured: `bench/NOTES.md`).
 * Writing past the page cache wants whole pages, too. The memory of WebAssembly begins on a page, and nothing else is used of it.
 */

/** Node's types have no value of that name. */
declare const WebAssembly: {
  readonly Memory: new (units: {
    readonly initial: number;
    readonly maximum: number;
  }) => {
    readonly buffer: ArrayBuffer;
  };
};

const UNIT_BYTES = 1 << 16;

/**
 * Not aligned where there is none: no address space is left for it (`ulimit -v`), or Node was started without WebAssembly
 * (`--jitless`). Then copies are slower, and what is written from there goes through the cache.
 */
export function pageAligned(lengthBytes: number): Buffer {
  const units = Math.ceil(lengthBytes / UNIT_BYTES);
  try {
    return Buffer.from(new WebAssembly.Memory({ initial: units, maximum: units }).buffer, 0, lengthBytes);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return Buffer.allocUnsafeSlow(lengthBytes);
  }
}
