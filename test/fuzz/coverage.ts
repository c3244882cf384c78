/**
 * Which characters of the sources were executed, from V8's own counters: what makes an input worth keeping is that it
 * came somewhere for the first time. Counted in the text that runs, which has no types any more.
 *
 * Counting begins when this is imported, so that is to be done first: functions that are compiled earlier have no counters
 * for their parts.
 */
import { type Debugger, type Profiler, Session } from 'node:inspector';
import { setFlagsFromString } from 'node:v8';
import { packagePath } from '../support/process.ts';

/** By file, a 1 for every character that was executed. */
export type Seen = Map<string, Uint8Array>;

const PREFIX = `file://${packagePath('')}`;
/** What is fuzzed; the tests themselves do not count. */
const WATCHED = /^(?:core|cmd)\//;
const SOURCE_MAP = /\n\/\/# sourceMappingURL=.*\s*$/;

/** The path of a script from the root, where it is watched. */
function watchedPath(url: string): string | undefined {
  if (!url.startsWith(PREFIX)) return undefined;
  const path = url.slice(PREFIX.length).replace(/\?.*/, '');
  return WATCHED.test(path) ? path : undefined;
}

class Coverage {
  readonly #session = new Session();
  /** Functions that had counters for their parts; V8 drops them now and then, and what was executed is not known then. */
  readonly #counted = new Set<string>();

  constructor() {
    // A function whose code is dropped while nobody calls it comes back without counters.
    setFlagsFromString('--no-flush-bytecode');
    this.#session.connect();
    this.#session.post('Profiler.enable');
    this.#session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  }

  stop(): void {
    this.#session.disconnect();
  }

  /** Adds to `seen` what was executed since the last call, and returns how many characters are new in it. */
  takeNew(seen: Seen): number {
    let found = 0;
    let scripts: Profiler.ScriptCoverage[] = [];
    this.#session.post('Profiler.takePreciseCoverage', (_, { result }) => {
      scripts = result;
    });
    for (const { url, functions } of scripts) {
      const path = watchedPath(url);
      if (path === undefined) continue;
      found += add(seen, path, paint(functions.map((each) => this.#known(path, each))));
    }
    return found;
  }

  #known(
    path: string,
    { isBlockCoverage, ranges }: Profiler.FunctionCoverage,
  ): readonly Profiler.CoverageRange[] {
    const key = `${path}:${ranges[0]?.startOffset}`;
    if (isBlockCoverage) this.#counted.add(key);
    else if (this.#counted.has(key)) return ranges.map((range) => ({ ...range, count: 0 }));
    return ranges;
  }

  /** How many characters each watched file has that was loaded. */
  sizes(): ReadonlyMap<string, number> {
    const found = new Map<string, number>();
    const onScript = ({ params }: { params: Debugger.ScriptParsedEventDataType }) => {
      const path = watchedPath(params.url);
      if (path === undefined) return;
      this.#session.post('Debugger.getScriptSource', { scriptId: params.scriptId }, (_, { scriptSource }) => {
        found.set(path, scriptSource.replace(SOURCE_MAP, '').length);
      });
    };
    this.#session.on('Debugger.scriptParsed', onScript);
    this.#session.post('Debugger.enable');
    this.#session.post('Debugger.disable');
    this.#session.off('Debugger.scriptParsed', onScript);
    return found;
  }
}

export const coverage = new Coverage();

/** An inner range says more than the one around it, so they are painted from the outermost on. */
function paint(functions: readonly (readonly Profiler.CoverageRange[])[]): Uint8Array {
  const ranges = functions.flat();
  ranges.sort((a, b) => a.startOffset - b.startOffset || b.endOffset - a.endOffset);
  const painted = new Uint8Array(Math.max(0, ...ranges.map(({ endOffset }) => endOffset)));
  for (const { startOffset, endOffset, count } of ranges)
    painted.fill(count > 0 ? 1 : 0, startOffset, endOffset);
  return painted;
}

function add(seen: Seen, path: string, painted: Uint8Array): number {
  const before = seen.get(path) ?? new Uint8Array(0);
  const after = before.length < painted.length ? new Uint8Array(painted.length) : before;
  if (after !== before) after.set(before);
  let found = 0;
  for (let at = 0; at < painted.length; at += 1) {
    if (painted[at] !== 1 || after[at] === 1) continue;
    after[at] = 1;
    found += 1;
  }
  seen.set(path, after);
  return found;
}
