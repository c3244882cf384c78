/** Tells the watchdog's thread what is being tried, by memory that both see. */
import { Worker } from 'node:worker_threads';

const HEADER_BYTES = 8;
const MOST_LINE_BYTES = 1 << 20;
/** Far more than any input takes on a busy machine. */
const MOST_MS = 120_000;

export class Watchdog {
  readonly #shared = new SharedArrayBuffer(HEADER_BYTES + MOST_LINE_BYTES);
  readonly #header = new Int32Array(this.#shared, 0, HEADER_BYTES / 4);
  readonly #line = Buffer.from(this.#shared, HEADER_BYTES);
  readonly #worker: Worker;

  /** @param folder where an input is kept that does not end */
  constructor(folder: string) {
    const workerData = { shared: this.#shared, headerBytes: HEADER_BYTES, mostMs: MOST_MS, folder };
    this.#worker = new Worker(new URL('./watchdog.mjs', import.meta.url), { workerData, execArgv: [] });
  }

  /** To be called before each input. */
  begin(target: string, input: unknown): void {
    const lengthBytes = this.#line.write(`${target}\n${JSON.stringify(input)}`);
    Atomics.store(this.#header, 1, lengthBytes);
    Atomics.add(this.#header, 0, 1);
  }

  async stop(): Promise<void> {
    await this.#worker.terminate();
  }
}
