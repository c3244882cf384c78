/** That the known mistakes can still be made: each takes the place of something that stands in the code. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { packagePath } from '../support/process.ts';
import { MUTATIONS } from './mutation-list.ts';

test('every mutation finds what it changes', () => {
  for (const { name, file, from, to, test: held } of MUTATIONS) {
    const source = readFileSync(packagePath(file), 'utf8');
    assert.ok(source.includes(from), `${name}: in ${file}`);
    assert.notEqual(from, to, name);
    if (held !== undefined) assert.ok(existsSync(packagePath(held)), `${name}: ${held}`);
  }
});
