/**
 * `node warm-up.cjs BUNDLE ARGUMENT...`: runs a command as it is installed, and keeps what V8 made of its bundle. Run one
 * after the other with what a command is used for, each adds what the ones before had no need of.
 */
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { compileBundle, saveCompiled } from './compiled.ts';

const [, , bundlePath = '', ...words] = process.argv;
const script = compileBundle(bundlePath);
process.argv = [process.execPath, bundlePath, ...words];
process.on('exit', () => saveCompiled(bundlePath, script));
script.runInThisContext()({}, createRequire(bundlePath), {}, bundlePath, dirname(bundlePath));
