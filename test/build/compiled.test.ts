/** What V8 made of a bundle is taken only where it is what was made, of this bundle, by this Node. */
import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { compileBundle, saveCompiled } from '../../build/compiled.ts';
import { COMMANDS, flipBit, workplace } from '../support/commands.ts';
import { packagePath, runProcess } from '../support/process.ts';
import { temporaryDirectory } from '../support/temp.ts';
import { withoutKoffi } from '../support/without-koffi.ts';

/** A bundle whose functions ran, with what V8 made of it. */
async function compiled(t: TestContext, name: string): Promise<string> {
  const path = join(await temporaryDirectory(t), `${name}.cjs`);
  writeFileSync(path, `const greet = () => 'I am ${name}'; module.exports = greet();`);
  const script = compileBundle(path);
  script.runInThisContext()({}, undefined, {}, path, '');
  saveCompiled(path, script);
  return path;
}

/** Whether V8 was given what it once made, and what the bundle exports. */
function run(path: string): { readonly given: boolean; readonly said: unknown } {
  const script = compileBundle(path);
  // Undefined where nothing was given; true where V8 itself would not have it.
  assert.notEqual(script.cachedDataRejected, true);
  const module = { exports: {} };
  script.runInThisContext()(module.exports, undefined, module, path, '');
  return { given: script.cachedDataRejected === false, said: module.exports };
}

test('what was made of a bundle is taken', async (t) => {
  assert.deepEqual(run(await compiled(t, 'one')), { given: true, said: 'I am one' });
});

test('no bit of it may be another, none may be missing, and without it all works', async (t) => {
  const path = await compiled(t, 'one');
  const whole = readFileSync(`${path}.compiled`);
  const expected = { given: false, said: 'I am one' };
  for (let at = 0; at < whole.length; at += 1) {
    writeFileSync(`${path}.compiled`, whole);
    flipBit(`${path}.compiled`, at, at % 8);
    assert.deepEqual(run(path), expected, `byte ${at}`);
  }
  for (const lengthBytes of [0, 1, 8, 9, whole.length - 1]) {
    writeFileSync(`${path}.compiled`, whole.subarray(0, lengthBytes));
    assert.deepEqual(run(path), expected, `${lengthBytes} bytes`);
  }
  rmSync(`${path}.compiled`);
  assert.deepEqual(run(path), expected);
});

test("another bundle's of the same length is not taken, though V8 would", async (t) => {
  const [one, two] = [await compiled(t, 'one'), await compiled(t, 'two')];
  copyFileSync(`${one}.compiled`, `${two}.compiled`);
  assert.deepEqual(run(two), { given: false, said: 'I am two' });
});

test('every installed command has one, and works without', async (t) => {
  for (const name of COMMANDS) {
    const work = await workplace(t);
    const script = compileBundle(packagePath(`dist/bundles/${name}.cjs`));
    assert.equal(script.cachedDataRejected, false, name);
    const bare = withoutKoffi(work, name);
    const { status, stdout } = await runProcess([process.execPath, bare, '--version'], {
      cwd: work.directory,
    });
    assert.equal(status, 0, name);
    assert.match(stdout.toString(), /^imgsnap \d/);
  }
});
