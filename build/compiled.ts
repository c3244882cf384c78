/**
 * What V8 made of a bundle when the package was built. Reading it takes a quarter of the time that compiling takes, and a
 * command compiles half of its bundle at every start.
 *
 * V8 believes what it is given: it looks at its own version, its flags and the length of the source, and at no more. So
 * a sum over the machine, the source and what was made of it is compared first, and where anything is otherwise (a
 * damaged file, another Node, a bundle that is newer) the bundle is compiled from its source.
 *
 * The file: XXH64 (8 bytes, little-endian) of version, processor, bundle and the rest; then what V8 made of it.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { Script } from 'node:vm';
import { Xxh64Digest } from '../core/base/xxh64.ts';

const SUM_BYTES = 8;

const pathBeside = (bundlePath: string) => `${bundlePath}.compiled`;

function sumOf(source: Buffer, made: Buffer): bigint {
  const digest = new Xxh64Digest();
  digest.update(Buffer.from(`${process.version} ${process.arch}\n`));
  digest.update(source);
  digest.update(made);
  return digest.value();
}

/** What V8 made of `source`; undefined where there is none, or it is not to be believed. */
function readMade(bundlePath: string, source: Buffer): Buffer | undefined {
  let file: Buffer;
  try {
    file = readFileSync(pathBeside(bundlePath));
  } catch (error) {
    // Without it everything works, so whatever the reason is.
    if (error instanceof Error) return undefined;
    throw error;
  }
  if (file.length <= SUM_BYTES) return undefined;
  const made = file.subarray(SUM_BYTES);
  return file.readBigUInt64LE() === sumOf(source, made) ? made : undefined;
}

/** The function that a CommonJS module is. A bundle is ASCII: esbuild escapes everything else. */
export function compileBundle(bundlePath: string): Script {
  const source = readFileSync(bundlePath);
  const text = `(function (exports, require, module, __filename, __dirname) {${source.toString('latin1')}\n})`;
  const cachedData = readMade(bundlePath, source);
  return new Script(text, { filename: bundlePath, ...(cachedData && { cachedData }) });
}

/** Keeps what V8 has made of a bundle until now: the more of it ran, the more that is. */
export function saveCompiled(bundlePath: string, script: Script): void {
  const made = script.createCachedData();
  const sum = Buffer.alloc(SUM_BYTES);
  sum.writeBigUInt64LE(sumOf(readFileSync(bundlePath), made));
  writeFileSync(pathBeside(bundlePath), Buffer.concat([sum, made]));
}
