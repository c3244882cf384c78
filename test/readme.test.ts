/**
 * The README's commands are run as a reader would run them, one after another in one directory, and must answer what
 * stands there. What differs between runs and machines (times, sizes on the disk, widths of columns) is not compared.
 *
 * - `console` blocks: commands after `$ `, and their output
 * - `bash` blocks: scripts; the second line says what each is called
 * - `crontab` blocks: every job must succeed without a word, since cron mails what is said
 * - `sh` blocks are about the clone itself, and are left out
 *
 * With IMGSNAP_README=write the answers are put into the README instead: read the difference before it is committed.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { test } from 'node:test';
import { packagePath, runProcess } from './support/process.ts';
import { temporaryDirectory } from './support/temp.ts';

const README = packagePath('README.md');
const COMMANDS = ['create', 'write', 'read', 'verify', 'gc', 'list'];
const NEEDED = ['bash', 'zstd', 'sqlite3', 'xxhsum', 'tar', 'mke2fs', 'debugfs', 'e2fsck'];
/** The places in the README; they are below the test's directory here. */
const PLACES = /(?<=^|[\s'"])\/(?:srv\/images|backup|elsewhere)(?=[/\s'"]|$)/gm;
const MARK = '@@README@@';

interface Block {
  readonly language: string;
  readonly lines: readonly string[];
  /** Counted from 0: the line after the fence. */
  readonly startLine: number;
}

interface Command {
  readonly text: string;
  readonly output: string;
  /** In the README, counted from 1. */
  readonly line: number;
  /** Whether it begins a block, with the shell's options as they are by default. */
  readonly first: boolean;
}

interface Answer {
  readonly output: string;
  readonly status: number;
}

function blocksOf(text: string): Block[] {
  const blocks: Block[] = [];
  const lines = text.split('\n');
  for (let at = 0; at < lines.length; at += 1) {
    const language = /^```(\w+)$/.exec(lines[at] ?? '')?.[1];
    if (language === undefined) continue;
    const end = lines.indexOf('```', at);
    blocks.push({ language, lines: lines.slice(at + 1, end), startLine: at + 1 });
    at = end;
  }
  return blocks;
}

function commandsOf({ language, lines, startLine }: Block): Command[] {
  const place = (index: number) => ({ line: startLine + index + 1, first: index === 0 });
  if (language === 'crontab') {
    const jobs = lines.map((line, index) => ({ text: /^(?:\S+ ){5}(.*)$/.exec(line)?.[1], index }));
    return jobs.flatMap(({ text, index }) =>
      text === undefined ? [] : { text, output: '', ...place(index) },
    );
  }
  const starts = lines.flatMap((line, index) => (line.startsWith('$ ') ? index : []));
  return starts.map((index, at) => ({
    text: (lines[index] ?? '').slice(2),
    output: lines.slice(index + 1, starts[at + 1]).join('\n'),
    ...place(index),
  }));
}

/** What is the same in every run. */
function stable(output: string): string {
  return output
    .replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ/g, 'TIME')
    .replace(/\d{8}T\d{6}Z/g, 'STAMP')
    .replace(/\b\d+(\.\d+)?[KMG]\b/g, 'SIZE')
    .replace(/ +/g, ' ');
}

/** A place with the commands and the scripts on PATH, the images of the recipes, and another machine. */
function prepare(directory: string, blocks: readonly Block[]): { cwd: string; path: string } {
  const bin = join(directory, 'bin');
  const cwd = join(directory, 'srv/images');
  const host = join(directory, 'backup-host');
  for (const path of [bin, cwd, host, join(directory, 'backup'), join(directory, 'elsewhere')])
    mkdirSync(path, { recursive: true });
  const script = (name: string, text: string) => {
    writeFileSync(join(bin, name), text);
    chmodSync(join(bin, name), 0o755);
  };
  for (const name of COMMANDS) symlinkSync(packagePath(`dist/snap-${name}.cjs`), join(bin, `snap-${name}`));
  for (const { language, lines } of blocks) {
    const name = /^# (\S+)/.exec(lines[1] ?? '')?.[1];
    if (language === 'bash') script(name ?? assert.fail('a script without a name'), `${lines.join('\n')}\n`);
  }
  script('ssh', `#!/bin/sh\nshift\ncd '${host}' && exec sh -c "$*"\n`);
  for (const image of ['vm.img', 'data.img']) writeFileSync(join(cwd, image), Buffer.alloc(100_000, image));
  return { cwd, path: `${bin}${delimiter}${process.env.PATH}` };
}

/** Runs the commands in one shell, as a reader who types them. */
async function answersTo(commands: readonly Command[], directory: string, blocks: readonly Block[]) {
  const { cwd, path } = prepare(directory, blocks);
  const steps = commands.map(({ text, first }) => {
    const here = text.replace(PLACES, (place) => directory + place);
    const keep = `__status=$?; printf '\\n${MARK}%d\\n' $__status; (exit $__status)`;
    return `${first ? 'set +o pipefail\n' : ''}{ ${here}\n} 2>&1\n${keep}`;
  });
  const { stdout } = await runProcess(['bash', '-c', steps.join('\n')], { cwd, env: { PATH: path } });
  const parts = stdout
    .toString()
    .replaceAll(directory, '')
    .split(new RegExp(`\\n${MARK}(\\d+)\\n`));
  const answers = commands.map((_, at): Answer => {
    const output = (parts[2 * at] ?? '').replace(/\n$/, '');
    return { output, status: Number(parts[2 * at + 1]) };
  });
  return answers;
}

/** The README with the answers in the place of those it has. */
function rewritten(text: string, commands: readonly Command[], answers: readonly Answer[]): string {
  const lines = text.split('\n');
  for (let at = commands.length - 1; at >= 0; at -= 1) {
    const [command, answer] = [commands[at], answers[at]];
    if (command === undefined || answer === undefined) continue;
    const old = command.output === '' ? 0 : command.output.split('\n').length;
    lines.splice(command.line, old, ...(answer.output === '' ? [] : answer.output.split('\n')));
  }
  return lines.join('\n');
}

test('the README tells the truth', async (t) => {
  const missing = NEEDED.filter((program) => spawnSync('sh', ['-c', `command -v ${program}`]).status !== 0);
  if (missing.length > 0) return t.skip(`not on this machine: ${missing.join(', ')}`);
  const text = readFileSync(README, 'utf8');
  const blocks = blocksOf(text);
  const commands = blocks.filter(({ language }) => /^(console|crontab)$/.test(language)).flatMap(commandsOf);
  assert.ok(commands.length > 40);
  const answers = await answersTo(commands, await temporaryDirectory(t), blocks);
  if (process.env.IMGSNAP_README === 'write') writeFileSync(README, rewritten(text, commands, answers));
  for (const [at, command] of commands.entries()) {
    const where = `README.md:${command.line}: ${command.text}`;
    const told = commands[at + 1]?.text === 'echo $?';
    if (!told) assert.equal(answers[at]?.status, 0, `${where}\n${answers[at]?.output}`);
    if (process.env.IMGSNAP_README === 'write') continue;
    assert.equal(stable(answers[at]?.output ?? ''), stable(command.output), where);
  }
});
