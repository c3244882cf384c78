/** What the system answers, as a SnapError: code, name, text and hint. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SnapError } from '../../core/base/errors.ts';
import { isCoherentType } from '../../core/io/coherence.ts';
import { errnoOf, systemFailure } from '../../core/io/system-error.ts';
import { systemError } from '../sim/system-error.ts';

const ATTEMPT = { verb: 'read', path: 'disk.img', offsetBytes: 4096 };

test('the message names what was tried, the path, the offset and the reason', () => {
  const cause = systemError('EIO');
  const error = systemFailure(ATTEMPT, cause);
  assert.equal(error.message, 'cannot read disk.img at offset 4096: input/output error (EIO)');
  assert.equal(error.code, 'io');
  assert.equal(error.path, 'disk.img');
  assert.equal(error.offsetBytes, 4096);
  assert.equal(error.errno, 'EIO');
  assert.equal(error.cause, cause);
});

test('errnos become codes', () => {
  const expected = {
    ENOENT: 'not-found',
    ENOTDIR: 'not-found',
    EEXIST: 'exists',
    ENOSPC: 'no-space',
    EDQUOT: 'no-space',
    EFBIG: 'no-space',
    EACCES: 'io',
    EROFS: 'io',
    EMFILE: 'io',
  };
  for (const [errno, code] of Object.entries(expected)) {
    assert.equal(systemFailure(ATTEMPT, systemError(errno)).code, code, errno);
  }
});

test('an errno that libuv has no name for is named all the same', () => {
  const unnamed = (errno: number) =>
    Object.assign(new Error('?'), { errno: -errno, code: `Unknown system error -${errno}` });
  const quota = systemFailure(ATTEMPT, unnamed(122));
  assert.equal(quota.code, 'no-space');
  assert.equal(quota.errno, 'EDQUOT');
  assert.match(quota.message, /: disk quota exceeded \(EDQUOT\)$/);
  assert.equal(errnoOf(unnamed(116)), 'ESTALE');
  assert.equal(errnoOf(unnamed(117)), 'EUCLEAN');
  assert.equal(errnoOf(unnamed(4000)), undefined);
  assert.equal(systemFailure(ATTEMPT, unnamed(4000)).code, 'io');
});

test('there is a hint where there is an obvious remedy', () => {
  for (const errno of ['EACCES', 'EPERM']) {
    assert.match(systemFailure(ATTEMPT, systemError(errno)).hint ?? '', /permissions/);
  }
  assert.match(systemFailure(ATTEMPT, systemError('EROFS')).hint ?? '', /read-only/);
  assert.equal(systemFailure(ATTEMPT, systemError('EIO')).hint, undefined);
});

test("a SnapError passes as it is, and what is not the system's keeps its text", () => {
  const known = new SnapError('damage', 'known');
  assert.equal(systemFailure(ATTEMPT, known), known);
  const odd = systemFailure(ATTEMPT, new Error('odd'));
  assert.equal(odd.message, 'cannot read disk.img at offset 4096: odd');
  assert.equal(odd.errno, undefined);
  assert.equal(systemFailure({ verb: 'open', path: 'a' }, 'text').message, 'cannot open a: text');
});

test('network and FUSE file systems are not coherent, local ones are', () => {
  const far = [
    0x6969n,
    0x517bn,
    0xff534d42n,
    0xfe534d42n,
    0x65735546n,
    0x01021997n,
    0x00c36400n,
    0x786f4256n,
  ];
  for (const type of far) assert.equal(isCoherentType(type), false, type.toString(16));
  const near = { ext4: 0xef53n, xfs: 0x58465342n, btrfs: 0x9123683en, tmpfs: 0x01021994n, zfs: 0x2fc12fc1n };
  for (const [name, type] of Object.entries(near)) assert.equal(isCoherentType(type), true, name);
  assert.equal(isCoherentType(-0xacb2ben), false, 'CIFS as a 32-bit system signs it');
});
