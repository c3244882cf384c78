/**
 * Holds the tree to its rules, which no compiler knows: layers, dead files and exports, lengths, calls that have a
 * better replacement here, and words that belong in no file. Every exception stands here with its reason; one that is
 * not needed any more fails too.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { test } from 'node:test';
import { packagePath } from './support/process.ts';

const FILE_LINES = 350;
const FUNCTION_LINES = 70;
/** From the lowest; a file imports from its own layer or a lower one. */
const LAYERS = ['core/base', 'core/io', 'core/store', 'core/contents', 'core/snapshot', 'core/stream', 'cmd'];
const LEFT_OUT = new Set(['node_modules', 'dist', '.git', 'coverage']);
const BINARY = /\.(gz|png|jpg|cow|img)$/;

interface Source {
  readonly path: string;
  readonly text: string;
  /** The text with comments, strings and regular expressions blanked, line for line. */
  readonly code: string;
}

function walk(directory: string): string[] {
  return readdirSync(packagePath(directory), { withFileTypes: true }).flatMap((entry) => {
    const path = normalize(join(directory, entry.name));
    if (LEFT_OUT.has(entry.name) || BINARY.test(entry.name)) return [];
    return entry.isDirectory() ? walk(path) : entry.isFile() ? [path] : [];
  });
}

function load(path: string): Source {
  const text = readFileSync(packagePath(path), 'utf8');
  return { path, text, code: path.endsWith('.ts') ? blank(text) : text };
}

/** One token that is no code, at the start of what is left. A `/` after a value divides. */
const TOKENS = [/^\/\*[\s\S]*?\*\//, /^\/\/[^\n]*/, /^'(?:\\.|[^'\\\n])*'/, /^"(?:\\.|[^"\\\n])*"/];
const EXPRESSION = /^\/(?![/*])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\[\n])+\/[a-z]*/;
const AFTER_VALUE = /(?:[\w)\]}$]|\+\+|--)\s*$/;
const BEFORE_EXPRESSION = /\b(?:return|typeof|case|of|in)\s*$/;

function blank(text: string): string {
  let code = '';
  // What was a value still is one, so that a `/` behind it divides.
  const hide = (token: string) => {
    const spaces = token.replace(/[^\n]/g, ' ');
    return /^\/[/*]|\$\{$/.test(token) ? spaces : `${spaces.slice(0, -1)}0`;
  };
  /** Depths of braces at which a `}` ends a substitution and goes on with its template. */
  const templates: number[] = [];
  let depth = 0;
  for (let at = 0; at < text.length; ) {
    const char = text.charAt(at);
    const rest = text.slice(at, at + 20_000);
    const isTemplate = char === '`' || (char === '}' && templates.at(-1) === depth);
    if (isTemplate) {
      if (char === '}') templates.pop();
      const token = /^[`}](?:\\[\s\S]|\$(?!\{)|[^`\\$])*(?:`|\$\{)/.exec(rest)?.[0] ?? char;
      if (token.endsWith('${')) templates.push(depth);
      code += hide(token);
      at += token.length;
      continue;
    }
    const divides = AFTER_VALUE.test(code.slice(-40)) && !BEFORE_EXPRESSION.test(code.slice(-40));
    const patterns = char === '/' && !divides ? [...TOKENS, EXPRESSION] : TOKENS;
    const token = /['"/]/.test(char) ? patterns.map((it) => it.exec(rest)?.[0]).find(Boolean) : undefined;
    if (char === '{') depth += 1;
    if (char === '}') depth -= 1;
    code += token === undefined ? char : hide(token);
    at += token?.length ?? 1;
  }
  return code;
}

const everything = walk('.').map(load);
const isScript = ({ path }: Source) => path.endsWith('.ts') || path.endsWith('.mjs');
const scripts = everything.filter(isScript);
const ours = scripts.filter(({ path }) => /^(?:core|cmd)\//.test(path));

interface Import {
  readonly from: string;
  readonly to: string;
  /** Empty where the whole module is taken, or nothing by name. */
  readonly names: readonly string[];
  readonly whole: boolean;
}

const IMPORT = /\b(?:import|export)\s+(?:type\s+)?([^;'"]*?)\s*from\s*'([^']+)'|\bimport\s*\(?\s*'([^']+)'/g;

function importsOf({ path, text }: Source): Import[] {
  return [...text.matchAll(IMPORT)].map(([, clause = '', from, bare]) => {
    const target = from ?? bare ?? '';
    const to = target.startsWith('.') ? normalize(join(dirname(path), target)) : target;
    const names = /\{([^}]*)\}/.exec(clause)?.[1]?.split(',') ?? [];
    const bareName = (name: string) =>
      name
        .trim()
        .replace(/^type\s+/, '')
        .split(/\s+as\s+/)[0] ?? '';
    return { from: path, to, names: names.map(bareName), whole: clause.includes('*') || from === undefined };
  });
}

const imports = scripts.flatMap(importsOf);
const layerOf = (path: string) => LAYERS.findIndex((layer) => path.startsWith(`${layer}/`));

/** Asserts that nothing is found but the exceptions, and that each of those still is. */
function assertNone(
  found: readonly string[],
  rule: string,
  exceptions: Readonly<Record<string, string>> = {},
): void {
  const isExcepted = (line: string) => Object.keys(exceptions).some((each) => line.startsWith(each));
  assert.deepEqual(
    found.filter((line) => !isExcepted(line)),
    [],
    rule,
  );
  const stale = Object.keys(exceptions).filter((each) => !found.some((line) => line.startsWith(each)));
  assert.deepEqual(stale, [], `exceptions that are not needed any more: ${rule}`);
}

test('a file imports from its own layer or a lower one', () => {
  const upwards = imports.filter(({ from, to }) => {
    if (layerOf(from) < 0 || !to.endsWith('.ts')) return false;
    return layerOf(to) < 0 || layerOf(to) > layerOf(from);
  });
  assertNone(
    upwards.map(({ from, to }) => `${from} imports ${to}`),
    `only downwards: ${LAYERS.toReversed().join(' -> ')}`,
  );
});

test('cmd/shared imports no command, and no command another', () => {
  const found = imports.filter(({ from, to }) => from.startsWith('cmd/') && /^cmd\/[^/]+\.ts$/.test(to));
  assertNone(
    found.map(({ from, to }) => `${from} imports ${to}`),
    'what is shared stands in cmd/shared',
  );
});

test('no import leads back to where it began', () => {
  const done = new Set<string>();
  const cycles: string[] = [];
  const visit = (path: string, trail: readonly string[]): void => {
    if (trail.includes(path)) cycles.push([...trail.slice(trail.indexOf(path)), path].join(' -> '));
    if (done.has(path) || trail.includes(path)) return;
    for (const { from, to } of imports) if (from === path) visit(to, [...trail, path]);
    done.add(path);
  };
  for (const { path } of ours) visit(path, []);
  assertNone(cycles, 'no cycles between files');
});

test('every file of core and cmd belongs to some command', () => {
  const reached = new Set<string>();
  const visit = (path: string): void => {
    if (reached.has(path)) return;
    reached.add(path);
    for (const { from, to } of imports) if (from === path) visit(to);
  };
  for (const { path } of ours) if (/^cmd\/snap-[a-z]+\.ts$/.test(path)) visit(path);
  const dead = ours.filter(({ path }) => !reached.has(path) && !path.endsWith('.d.ts'));
  assertNone(
    dead.map(({ path }) => path),
    'a file that no command imports: remove it, or import it',
  );
});

test('every export of core is imported somewhere', () => {
  const unused: string[] = [];
  const declaration = /^export (?:async )?(function\*?|class|const|let|type|interface) (\w+)/gm;
  for (const { path, code } of ours.filter((it) => it.path.startsWith('core/'))) {
    const importers = imports.filter(({ from, to }) => to === path && from !== path);
    // A lazy import takes the module whole and its names from that; one in a test says nothing about use.
    const lazily = importers
      .filter(({ whole, from }) => whole && !from.startsWith('test/'))
      .map(({ from }) => from);
    for (const [, kind = '', name = ''] of code.matchAll(declaration)) {
      const isNamed = importers.some(({ names }) => names.includes(name));
      const word = new RegExp(`\\b${name}\\b`, 'g');
      const isLazy = scripts.some((it) => lazily.includes(it.path) && word.test(it.code));
      // A type is exported with the function whose signature has it.
      const isInSignature = /type|interface/.test(kind) && (code.match(word)?.length ?? 0) > 1;
      if (!isNamed && !isLazy && !isInSignature) unused.push(`${path}: ${name}`);
    }
  }
  const within = 'used in its own file alone: the word export can go when that file is changed next';
  assertNone(unused, 'not exported, or removed', {
    'core/snapshot/reference.ts: NAME_PATTERN': within,
    'core/snapshot/remove.ts: neededByOlder': within,
    'core/store/proof.ts: tableEntries': within,
  });
});

/** Where in `code` the `(` or `{` stands that `at` closes. */
function openingOf(code: string, at: number): number {
  let depth = 0;
  for (let index = at; index >= 0; index -= 1) {
    if (/[)\]}]/.test(code.charAt(index))) depth += 1;
    if (/[([{]/.test(code.charAt(index)) && --depth === 0) return index;
  }
  return 0;
}

/** What stands before a block: back to the end of the statement before it. */
function headOf(code: string, opening: number): string {
  let index = opening - 1;
  for (; index >= 0 && !/[;{}]/.test(code.charAt(index)); index -= 1) {
    if (/[)\]]/.test(code.charAt(index))) index = openingOf(code, index);
  }
  return code.slice(index + 1, opening).trim();
}

function isFunctionHead(head: string): boolean {
  if (/=>$/.test(head) || /\bfunction\b/.test(head)) return true;
  return (
    /\)\s*(?::[^()]*)?$/.test(head) && !/^(?:else\s+)?(?:if|for|while|switch|catch|do|with)\b/.test(head)
  );
}

test('the measures measure', () => {
  const sample = ["const a = 'x{' + `b{$", '{c ? `d{` : /e{/.source}f{`; // g{\nreturn /[/{]/ / 2 / h;'].join(
    '',
  );
  assert.equal(blank(sample).replace(/\s+/g, ' '), 'const a = 0 + c ? 0 : 0.source 0; return 0 / 2 / h;');
  for (const head of ['foo(a: { b: 1 }): void', 'async ({ a }) =>', 'function* f()', 'constructor(a)']) {
    assert.ok(isFunctionHead(headOf(`; ${head} {`, head.length + 3)), head);
  }
  for (const head of ['if (a)', 'for (const a of b())', 'class A', 'x =']) {
    assert.ok(!isFunctionHead(headOf(`; ${head} {`, head.length + 3)), head);
  }
  assert.ok(imports.length > 300 && ours.length > 60, 'there is something to measure');
});

test(`functions have at most ${FUNCTION_LINES} lines, files ${FILE_LINES}`, () => {
  const found: string[] = [];
  for (const { path, text, code } of ours) {
    const lines = text.split('\n').length - 1;
    if (lines > FILE_LINES) found.push(`${path}: ${lines} lines have two reasons to exist`);
    for (const { index } of code.matchAll(/\}/g)) {
      const opening = openingOf(code, index);
      const count = code.slice(opening, index).split('\n').length;
      if (count <= FUNCTION_LINES) continue;
      const head = headOf(code, opening);
      const firstLine = code.slice(0, opening).split('\n').length;
      if (isFunctionHead(head)) found.push(`${path}:${firstLine}: ${count} lines: ${head.slice(0, 60)}`);
    }
  }
  assertNone(found, 'shorter');
});

interface Ban {
  readonly pattern: RegExp;
  /** What it finds, so that nobody trusts a pattern that finds nothing. */
  readonly example: string;
  readonly instead: string;
  /** Where it holds; all of core and cmd where absent. */
  readonly where?: RegExp;
  /** In comments and strings too. */
  readonly raw?: boolean;
  readonly exceptions?: Readonly<Record<string, string>>;
}

const BANS: readonly Ban[] = [
  {
    pattern: /\bconsole\./,
    example: 'console.log(1)',
    instead: 'throw a SnapError, call context.warn, or use the Reporter',
  },
  {
    pattern: /\bprocess\.exit\b/,
    example: 'process.exit(1)',
    instead: 'return the status, or throw',
    exceptions: { 'cmd/shared/command.ts': 'the one place where a command ends' },
  },
  {
    pattern: /\bprocess\.(?:stdout|stderr)\b/,
    example: 'process.stdout.write(x)',
    instead: 'the Reporter, or createFdSink: these lose data',
  },
  {
    pattern: /\bprocess\./,
    example: 'process.env',
    where: /^core\//,
    instead: 'what the caller knows comes by arguments and Context',
    exceptions: {
      'core/base/xxh64.ts': 'which binary fits the processor',
      'core/io/monotonic.ts': 'a clock: performance takes a millisecond to load',
      'core/io/range-lock.ts': 'which binary fits the processor',
      'core/io/lock-holder.ts': 'its own number: it is not in its own way',
      'core/stream/stdin-source.ts': 'a pipe is read by process.stdin: a blocked thread holds up the end',
    },
  },
  {
    pattern: /\.pipe\(/,
    example: 'a.pipe(b)',
    instead: "stream-chain's pipe and drain: .pipe() loses errors",
  },
  {
    pattern: /\bcreate(?:Read|Write)Stream\b/,
    example: 'fs.createReadStream(x)',
    instead: 'RandomAccessFile, FdSink or StdinSource',
  },
  {
    pattern: /\b(?:read|write|append)FileSync\b/,
    example: 'fs.readFileSync(x)',
    where: /^core\/(?!io\/)/,
    instead: 'FileSystem',
  },
  {
    pattern: /from\s+'node:(?!path')/,
    example: "import fs from 'node:fs'",
    where: /^core\/(?:base|store|snapshot)\//,
    raw: true,
    instead: 'the contracts of core/io, so that tests can stand in for the machine',
    exceptions: { 'core/base/lazy-require.ts': 'loads packages, and nothing of a user' },
  },
  {
    pattern: /\bMath\.random\b/,
    example: 'Math.random()',
    instead: 'host.randomBytes: tests repeat a run from its seed',
  },
  {
    pattern: /\bDate\.now\b|\bnew Date\(\)/,
    example: 'new Date()',
    instead: 'host.now(), or host.monotonicMs() for differences',
    exceptions: { 'core/io/node-host.ts': 'this is host.now()' },
  },
  {
    pattern: /\b(?:setTimeout|setInterval|setImmediate)\b/,
    example: 'setTimeout(f, 1)',
    where: /^core\//,
    instead: 'host.sleep: tests do not wait for real time',
    exceptions: {
      'core/io/node-host.ts': 'this is host.sleep',
      'core/stream/fd-sink.ts': 'waits for the reader of a real pipe, which no simulated clock knows',
    },
  },
  { pattern: /\bas any\b|:\s*any\b|<any>|\bany\[\]/, example: 'x as any', instead: 'unknown, and a check' },
  {
    pattern: /[\w)\]]!(?=[.[;:,)\s])(?!=)/,
    example: 'list[0]!.name',
    instead: 'a check, or a default with ??',
  },
  {
    pattern: /@ts-(?:ignore|nocheck|expect-error)|biome-ignore/,
    example: '// @ts-ignore',
    raw: true,
    instead: 'code that needs none',
  },
  {
    pattern: /\bcatch\s*(?:\([^)]*\))?\s*\{\s*\}/,
    example: 'catch (error) { }',
    instead: 'say what may fail, and rethrow the rest',
  },
  {
    pattern:
      /\b(?:tryLock|unlock|tryRangeLock|dropRangeLock|pollLock|trimSync)\([^;]*(?:\b\d+n\b|\bBigInt\()/,
    example: 'tryLock(fd, 5n)',
    instead: 'numbers: the addon takes a bigint for 0 and locks the whole file',
  },
  {
    pattern: /\bfs-native-extensions'/,
    example: "from 'fs-native-extensions'",
    raw: true,
    instead: 'range-lock.ts, which checks every argument',
    exceptions: {
      'core/io/range-lock.ts': 'the one caller',
    },
  },
];

for (const { pattern, example, instead, where = /^(?:core|cmd)\//, raw = false, exceptions } of BANS) {
  test(`not ${example}, but ${instead}`, () => {
    assert.match(example, pattern);
    const found: string[] = [];
    for (const source of ours.filter(({ path }) => where.test(path))) {
      const subject = raw ? source.text : source.code;
      for (const { index } of subject.matchAll(new RegExp(pattern, 'g'))) {
        found.push(`${source.path}:${subject.slice(0, index).split('\n').length}`);
      }
    }
    assertNone(found, `instead: ${instead}`, exceptions);
  });
}

test('every source file begins by saying why it exists', () => {
  const found = scripts.filter(({ path, text }) => path.endsWith('.ts') && !text.startsWith('/**'));
  assertNone(
    found.map(({ path }) => path),
    'a doc comment first',
  );
});

test('no words that belong to one machine, one registry or another day', () => {
  // In pieces, so that this file does not find itself.
  const banned: readonly (readonly [RegExp, string])[] = [
    [
      new RegExp(`(?:^|[\\s'"\`=(:])/(?:${['home', 'work', 'root', 'Users'].join('|')})/`, 'm'),
      'a path of one machine',
    ],
    [new RegExp(`https?://${'registry'}`), 'the address of a registry'],
    [new RegExp(`\\b${'TO'}DO\\b(?!: .{20})`), 'say what and why behind a colon, or do it'],
    [new RegExp(`\\b(?:${['FIX', 'HA'].join('ME|')}CK)\\b`), 'do it, or say what is'],
  ];
  const found = everything.flatMap(({ path, text }) =>
    banned.filter(([pattern]) => pattern.test(text)).map(([, why]) => `${path}: ${why}`),
  );
  assertNone(found, 'forbidden words', {
    'fixtures/make-ext4.sh': 'a path inside the file system that it makes',
  });
});

test('docs name only files that exist, and ARCHITECTURE.md every file of core and cmd', () => {
  const paths = new Set(everything.map(({ path }) => path));
  const docs = everything.filter(({ path }) => path.startsWith('docs/') && path.endsWith('.md'));
  const missing = docs.flatMap(({ path, text }) =>
    [...text.matchAll(/`((?:core|cmd|test|fixtures|scripts|docs)\/[\w./-]+\.\w+)`/g)]
      .map(([, named = '']) => named)
      .filter((named) => !paths.has(named) && !BINARY.test(named))
      .map((named) => `${path} names ${named}`),
  );
  assertNone(missing, 'a file that is not there');
  const architecture = docs.find(({ path }) => path === 'docs/ARCHITECTURE.md')?.text ?? '';
  const sections = new Map(
    architecture
      .split(/^### /m)
      .map((section) => [section.split('\n')[0]?.replaceAll('`', '') ?? '', section]),
  );
  const silent = ours.filter(({ path }) => {
    const row = `| \`${path.slice(dirname(path).length + 1)}\` |`;
    return sections.get(dirname(path))?.includes(row) !== true;
  });
  assertNone(
    silent.map(({ path }) => path),
    'a row in the table of its folder in docs/ARCHITECTURE.md',
  );
});
