/**
 * The thread that notices when the fuzzer's own does not come back: an input that loops for ever, or a promise that
 * nobody settles. It keeps that input, says so, and ends the process.
 */
import { writeFileSync, writeSync } from 'node:fs';
import { workerData } from 'node:worker_threads';

const { shared, headerBytes, mostMs, folder } = workerData;
const header = new Int32Array(shared, 0, headerBytes / 4);
const STDERR = 2;
let last = -1;

setInterval(() => {
  const now = Atomics.load(header, 0);
  if (now !== last) {
    last = now;
    return;
  }
  // A copy, since a decoder does not take shared memory.
  const text = Buffer.from(new Uint8Array(shared, headerBytes, Atomics.load(header, 1))).toString();
  const [target = '', line = ''] = text.split('\n');
  if (target === '') return;
  const path = `${folder}/found-${target}-hang.jsonl`;
  writeFileSync(path, `${line}\n`);
  writeSync(STDERR, `FOUND in ${target}: no end after ${mostMs / 1000} s; kept in ${path}\n`);
  // In a thread, process.exit ends the thread alone.
  process.kill(process.pid, 'SIGTERM');
}, mostMs);
