/** The two ends that data comes from and goes to. Buffers belong to the caller again once the promise settles. */

export interface ByteSource {
  /** Fills a part of `target`, waiting for at least one byte; 0 means the end. */
  read(target: Buffer): Promise<number>;
}

export interface ByteSink {
  /** Takes all of `chunk`. Throws `pipe-closed` when the reader of a pipe went away. */
  write(chunk: Buffer): Promise<void>;
  /** For zeros in one piece, where that is shorter than writing them: in a file they may stay a hole. */
  writeZeros?(lengthBytes: number): Promise<void>;
}
