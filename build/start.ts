/** What an installed command is: it starts the bundle of its own name. */
import { basename, join } from 'node:path';
import { compileBundle } from './compiled.ts';

const directory = join(__dirname, 'bundles');
const bundlePath = join(directory, basename(__filename));
compileBundle(bundlePath).runInThisContext()(exports, require, module, bundlePath, directory);
