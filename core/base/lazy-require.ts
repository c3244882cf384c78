/**
 * Loads what is dear to load (an addon, node:crypto) only when it is first used, and synchronously. One form
 * for the sources (ES modules) and for the bundle (CommonJS, where `import.meta.url` is undefined): a dynamic
 * `import()` works in both too, but takes 13 ms instead of 8 for the addon, and cannot be used by `tryLock`.
 */
import { createRequire } from 'node:module';

/** `require`, resolving from this file, or from the bundle that it became part of. */
export const lazyRequire = createRequire(typeof __filename === 'string' ? __filename : import.meta.url);
