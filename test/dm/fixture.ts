/** Stores that a kernel made, in `fixtures/`. */
import { gunzipSync, gzipSync } from 'node:zlib';
import { packagePath } from '../support/process.ts';

/** The path of a store's fixture. */
export function storeFixture(name: string): string {
  return packagePath(`fixtures/dm-${name}.cow.gz`);
}

export const packed = (store: Buffer): Buffer => gzipSync(store, { level: 9 });
export const unpacked = (bytes: Buffer): Buffer => gunzipSync(bytes);
