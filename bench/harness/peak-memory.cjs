/*
 * Loaded into every Node process of a memory question by NODE_OPTIONS: notes at the end what the process had in memory
 * at most. The kernel counts that for the program itself; what wait4 tells a parent includes what the parent's own image
 * was before the exec, which for a child of a large process is too much.
 */
const { appendFileSync, readFileSync } = require('node:fs');

process.on('exit', () => {
  const kib = /^VmHWM:\s*(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
  appendFileSync(process.env.IMGSNAP_PEAK_FILE, `${kib}\n`);
});
