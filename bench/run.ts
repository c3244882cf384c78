/**
 * How the commands compare with what copies the same bytes: `npm run bench`. Every figure is a ratio to a peer that ran
 * in the same minute, turn and turn about; the median of five, and the spread. The first round is thrown away, since the
 * first touch of fresh disk blocks costs more. A size in MiB may be given.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROUNDS = 5;

interface Question {
  readonly name: string;
  readonly peer: string;
  /** Run before each of the two, and not measured. */
  readonly prepare: string;
  readonly ours: string;
  readonly theirs: string;
}

const QUESTIONS: readonly Question[] = [
  {
    name: 'create a snapshot',
    peer: 'node -e 0',
    prepare: 'snap-gc -q disk.img@new 2>/dev/null; true',
    ours: 'snap-create -q disk.img@new',
    theirs: 'node -e 0',
  },
  {
    name: 'stream a snapshot into a pipe',
    peer: 'cat of the image into the same pipe',
    prepare: 'cat disk.img disk.img.snap/*.cow >/dev/null',
    ours: 'snap-read disk.img@one | cat >/dev/null',
    theirs: 'cat disk.img | cat >/dev/null',
  },
  {
    name: 'overwrite all under a fresh snapshot',
    peer: 'dd: the old to a new file, the new over the old, both fdatasync',
    prepare: 'snap-gc -q disk.img@new 2>/dev/null; rm -f copy; snap-create -q disk.img@new; sync',
    ours: 'snap-write -q disk.img <new',
    theirs:
      'dd if=plain of=copy bs=1M conv=fdatasync 2>/dev/null; dd if=new of=plain bs=1M conv=notrunc,fdatasync 2>/dev/null',
  },
  {
    name: 'overwrite it again, all copied',
    peer: 'dd conv=notrunc,fdatasync',
    prepare: 'sync',
    ours: 'snap-write -q disk.img <new',
    theirs: 'dd if=new of=plain bs=1M conv=notrunc,fdatasync 2>/dev/null',
  },
];

function measure(command: string, directory: string, path: string): number {
  const start = performance.now();
  execFileSync('bash', ['-c', command], { cwd: directory, env: { ...process.env, PATH: path } });
  return performance.now() - start;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

function ask(question: Question, directory: string, path: string): void {
  const ratios: number[] = [];
  for (let round = 0; round <= ROUNDS; round += 1) {
    measure(question.prepare, directory, path);
    const ours = measure(question.ours, directory, path);
    measure(question.prepare, directory, path);
    const ratio = ours / measure(question.theirs, directory, path);
    if (round > 0) ratios.push(ratio);
  }
  const spread = `${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}`;
  console.log(`${question.name}: ${median(ratios).toFixed(2)} times ${question.peer} (${spread})`);
}

const sizeMib = Number(process.argv[2] ?? 256);
const directory = mkdtempSync(join(tmpdir(), 'imgsnap-bench-'));
try {
  const dist = fileURLToPath(new URL('../dist', import.meta.url));
  const path = `${directory}/bin:${process.env.PATH}`;
  measure(
    `mkdir bin; for each in ${dist}/*.cjs; do ln -s $each bin/$(basename $each .cjs); done`,
    directory,
    path,
  );
  const fill = `head -c ${sizeMib}M /dev/urandom`;
  measure(`${fill} >disk.img; ${fill} >new; cp disk.img plain; snap-create -q disk.img@one`, directory, path);
  console.log(`${sizeMib} MiB, ratios of wall time, less is better; other machines give other ratios`);
  for (const question of QUESTIONS) ask(question, directory, path);
} finally {
  rmSync(directory, { recursive: true, force: true });
}
