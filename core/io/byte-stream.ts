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

/** A sink that can tell what became of what it was given. */
export interface ConfirmingSink extends ByteSink {
  /** Whether it can be known that the consumer took everything. */
  canConfirm(): boolean;
  /**
   * Waits until the consumer has taken everything: a pipe's reader has read the last byte, a file or disk has it on the
   * medium. Throws `pipe-closed` where the reader went away before that, and what flushing failed with.
   */
  confirm(): Promise<void>;
}
