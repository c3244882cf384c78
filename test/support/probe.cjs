/**
 * Loaded into a command before anything else (`node --require`), this sees every call that it makes to the system by
 * Node's file functions and the lock addon. It can log them, and at one of them, before or after it, kill or stop the
 * process, fail the call, or cut it short. So the bundles that users get are tried at chosen points, and hold no hook.
 *
 * What it shall do is in the environment, as JSON: see `Probe` in probe.ts.
 */
'use strict';
const fs = require('node:fs');
const { createRequire } = require('node:module');
const { constants } = require('node:os');
const path = require('node:path');

const probe = JSON.parse(process.env.IMGSNAP_PROBE ?? '{}');
const PAGE_BYTES = 4096;
const HAVE_LENGTH = new Set(['read', 'write']);
const { openSync, writeSync } = fs;
const log = probe.log === undefined ? undefined : openSync(probe.log, 'a');
const waits = probe.waits === undefined ? undefined : openSync(probe.waits, 'a');
const paths = new Map([
  [0, '<stdin>'],
  [1, '<stdout>'],
  [2, '<stderr>'],
]);
const times = new Map();
let calls = 0;
let struck = false;
/** Whether Node is inside a call that makes others, as `readFileSync` opens, reads and closes: they are one. */
let inside = false;

/** What chance puts into names is left out, so that a point has the same name in each run. */
function nameOf(target) {
  if (typeof target !== 'string') return '';
  return path
    .basename(target)
    .replace(/[0-9a-f]{16}(?=\.|$)/g, 'H')
    .replace(/\.[0-9a-f]{12}(?=\.tmp$)/g, '.H')
    .replace(/-[0-9a-f]{8}(?=\.cow)/g, '-H')
    .replace(/^.*-H(?=\.cow)/, (store) => (probe.anyStore === true ? '*' : store));
}

/** Numbers this call; says whether it is the one. */
function arrive(verb, target) {
  const point = `${verb} ${nameOf(target)}`;
  calls += 1;
  const time = (times.get(point) ?? 0) + 1;
  times.set(point, time);
  if (log !== undefined) writeSync(log, `${point}\n`);
  if (struck) return probe.stays === true && (probe.call !== undefined || probe.point === point);
  struck =
    probe.call === undefined ? probe.point === point && (probe.nth ?? 1) === time : probe.call === calls;
  return struck;
}

function act() {
  if (probe.action === 'kill') process.kill(process.pid, 'SIGKILL');
  if (probe.action === 'stop') process.kill(process.pid, 'SIGSTOP');
}

function errorFor(verb) {
  const error = new Error(`${probe.errno}: put in by a test, ${verb}`);
  return Object.assign(error, {
    code: probe.errno,
    errno: -(constants.errno[probe.errno] ?? 0),
    syscall: verb,
  });
}

/** Node loads modules by the same functions, and a command its bundle. */
function isOurs([target]) {
  return (
    typeof target === 'string' && !/\.cjs(\.compiled)?$/.test(target) && !target.includes('node_modules')
  );
}

/** A call that is made of others, which are no points then. */
function within(call) {
  const outer = inside;
  inside = true;
  try {
    return call();
  } finally {
    inside = outer;
  }
}

/** (buffer, offset, length, position) of a `read` or `write`, of which the last three may be left out. */
function rangeOf([buffer, offset = 0, lengthBytes = buffer.length - offset, position = null]) {
  return { buffer, offset, lengthBytes, position };
}

/** The arguments of a `read` or `write` with a shorter length. */
function shortened(args) {
  const { buffer, offset, lengthBytes, position } = rangeOf(args);
  return [buffer, offset, Math.min(lengthBytes, Math.max(1, Math.floor(lengthBytes / 2))), position];
}

/** The arguments for what a kill within a write leaves: whole pages of it, or all where it has no boundary of pages. */
function torn(args) {
  const { buffer, offset, lengthBytes, position } = rangeOf(args);
  const half = position + Math.ceil(lengthBytes / 2);
  const firstBytes = half - (half % PAGE_BYTES) - position;
  return [buffer, offset, firstBytes > 0 ? firstBytes : lengthBytes, position];
}

/** `original` is given the arguments, and answers, or gives a promise. `hasLength`: it reads or writes. */
function through(verb, target, args, original, hasLength = false) {
  if (inside) return original(args);
  const call = (given) => within(() => original(given));
  if (!arrive(verb, target)) return call(args);
  if (probe.action === 'fail') throw errorFor(verb);
  if (probe.action === 'short') return call(hasLength ? shortened(args) : args);
  if (probe.when !== 'after' && probe.when !== 'half') {
    act();
    return call(args);
  }
  const answer = call(probe.when === 'half' && hasLength ? torn(args) : args);
  if (typeof answer?.then !== 'function') {
    act();
    return answer;
  }
  return answer.then((value) => {
    act();
    return value;
  });
}

/** Calls on a path that answer at once, by the name that points have. */
for (const verb of ['stat', 'lstat', 'readdir', 'mkdir', 'rmdir', 'unlink', 'rename', 'statfs', 'readFile']) {
  const original = fs[`${verb}Sync`];
  fs[`${verb}Sync`] = (...args) =>
    isOurs(args)
      ? through(verb, args[0], args, (given) => original(...given))
      : within(() => original(...args));
}

const { native } = fs.realpathSync;
fs.realpathSync.native = (...args) => through('realpath', args[0], args, (given) => native(...given));

fs.openSync = (...args) => {
  const descriptor = through('open', args[0], args, (given) => openSync(...given));
  paths.set(descriptor, args[0]);
  return descriptor;
};

/** Calls on an open file that answer at once. */
for (const [name, verb] of [
  ['readSync', 'read'],
  ['writeSync', 'write'],
  ['fstatSync', 'stat'],
  ['fchmodSync', 'chmod'],
  ['fchownSync', 'chown'],
  ['closeSync', 'close'],
  ['fdatasyncSync', 'datasync'],
  ['fsyncSync', 'sync'],
]) {
  const original = fs[name];
  fs[name] = (fd, ...rest) =>
    through(verb, paths.get(fd), rest, (given) => original(fd, ...given), HAVE_LENGTH.has(verb));
}

/** Calls on an open file that a thread is asked for. */
for (const [name, verb] of [
  ['read', 'read'],
  ['write', 'write'],
  ['ftruncate', 'truncate'],
  ['fdatasync', 'datasync'],
  ['fsync', 'sync'],
]) {
  const original = fs[name];
  fs[name] = (fd, ...rest) => {
    const done = rest.pop();
    const call = (given) =>
      new Promise((resolve, reject) => {
        original(fd, ...given, (error, result) => (error ? reject(error) : resolve(result)));
      });
    // What throws at once is a mistake in the arguments, or the failure that is put in.
    const answer = new Promise((resolve) => {
      resolve(through(verb, paths.get(fd), rest, call, HAVE_LENGTH.has(verb)));
    });
    answer.then(
      (result) => done(null, result),
      (error) => done(error),
    );
  };
}

/** The turnstile's two bytes, as in core/io/lock-offsets.ts; since when a descriptor wants in, and is in. */
const [NEXT, ACTIVE] = [2 ** 52, 2 ** 52 + 1];
const wantedSince = new Map();
const heldSince = new Map();

/** Notes how long it took from the first try at the turnstile until it was passed, and from there until it was left. */
function noteLock(word, [fd, offset], { atMs, granted }) {
  if (word === 'lock' && offset === NEXT && !wantedSince.has(fd)) wantedSince.set(fd, atMs);
  if (offset !== ACTIVE || (word === 'lock' && !granted)) return;
  const [from, to] = word === 'lock' ? [wantedSince, heldSince] : [heldSince, undefined];
  const ms = performance.now() - (from.get(fd) ?? Number.NaN);
  from.delete(fd);
  to?.set(fd, performance.now());
  // When, by a clock that all processes share.
  const atUs = process.hrtime.bigint() / 1000n;
  const verb = word === 'lock' ? 'waited' : 'held';
  writeSync(waits, `${verb} ${ms.toFixed(3)} ${path.basename(process.argv[1])} ${atUs}\n`);
}

const addon = createRequire(process.argv[1])(
  `fs-native-extensions/prebuilds/linux-${process.arch}/fs-native-extensions.node`,
);
for (const [verb, word] of [
  ['tryLock', 'lock'],
  ['unlock', 'unlock'],
]) {
  const original = addon[verb];
  addon[verb] = (...args) => {
    const atMs = waits === undefined ? 0 : performance.now();
    let granted = false;
    try {
      through(word, paths.get(args[0]), args, (given) => original(...given));
      granted = true;
    } finally {
      if (waits !== undefined) noteLock(word, args, { atMs, granted });
    }
  };
}
