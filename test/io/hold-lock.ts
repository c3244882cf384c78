/** A process for tests: takes the turnstile of the file named by its argument, says so, and stays until killed. */
import { NodeHost } from '../../core/io/node-host.ts';
import { acquire } from '../../core/io/turnstile.ts';

const [path] = process.argv.slice(2);
if (path === undefined) throw new Error('needs the path of a file');
const host = new NodeHost();
const file = await host.files.open(path, 'update');
const wait = { deadlineMs: Number.POSITIVE_INFINITY, signal: new AbortController().signal };
await acquire(host, file, 'exclusive', wait);
process.stdout.write('held\n');
// Ends by itself if the test that started it is gone.
process.stdin.resume();
