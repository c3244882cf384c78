/**
 * Preloaded into a command (`node --require`): after each of its calls to the file system it looks at everything below
 * IMGSNAP_MOMENTS_BELOW, and adds what it has not seen yet to the file IMGSNAP_MOMENTS_INTO, a line of JSON each. Between
 * two calls nothing changes, so that no moment in the life of a file is missed, however short.
 */
const fs = require('node:fs');
const { join } = require('node:path');

const below = process.env.IMGSNAP_MOMENTS_BELOW;
const into = process.env.IMGSNAP_MOMENTS_INTO;
const { appendFileSync, lstatSync, readdirSync } = fs;
const seen = new Set();

function look(directory, prefix) {
  for (const name of readdirSync(directory)) {
    const path = join(directory, name);
    const { mode, uid, gid } = lstatSync(path);
    const moment = JSON.stringify({ path: `${prefix}${name}`, mode: mode & 0o7777, uid, gid });
    if (!seen.has(moment)) appendFileSync(into, `${moment}\n`);
    seen.add(moment);
    if ((mode & 0o170000) !== 0o040000) continue;
    try {
      look(path, `${prefix}${name}/`);
    } catch (error) {
      // A directory that this user may not look into has nothing of its making in it.
      if (error.code !== 'EACCES') throw error;
    }
  }
}

let isLooking = false;

for (const name of ['openSync', 'mkdirSync', 'renameSync', 'fchmodSync', 'fchownSync']) {
  const original = fs[name];
  fs[name] = function watched(...args) {
    try {
      return original.apply(this, args);
    } finally {
      // Looking opens files as well.
      if (!isLooking) {
        isLooking = true;
        look(below, '');
        isLooking = false;
      }
    }
  };
}
