/** What every operation of core is given by its caller: the machine, how long to wait, when to stop, and where remarks go. */
import type { Host } from '../io/host.ts';

export interface Warning {
  readonly message: string;
  readonly hint?: string | undefined;
  /** A snapshot was lost or is about to be: shown whatever the user asked to silence. */
  readonly loss?: boolean | undefined;
}

export interface Context {
  readonly host: Host;
  /** How long to poll for another process's lock; 0 tries once. */
  readonly waitMs: number;
  /** Aborted when the user asks to stop; operations then leave everything consistent and throw `interrupted`. */
  readonly signal: AbortSignal;
  readonly warn: (warning: Warning) => void;
  /** Called now and then with what is done; `totalBytes` is undefined where it cannot be known. */
  readonly progress: (doneBytes: number, totalBytes: number | undefined) => void;
  /** Work on network and FUSE file systems too, where locks may not hold. */
  readonly anyFileSystem: boolean;
}
