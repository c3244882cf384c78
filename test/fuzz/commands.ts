/**
 * The declarations and bodies of the installed commands, inside this process. A command's file runs the command when it
 * is imported; here it is bundled anew with another `runCommand`, which only takes both down. All else it imports stays
 * the module that everybody has.
 */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build, type Plugin } from 'esbuild';
import type { CommandBody } from '../../cmd/shared/command.ts';
import type { Argument, CommandSpec, OptionSpec } from '../../cmd/shared/options.ts';
import { packagePath } from '../support/process.ts';

type Options = Record<string, OptionSpec>;
type Arguments = Record<string, Argument>;

export interface Command {
  readonly spec: CommandSpec<Options, Arguments>;
  readonly body: CommandBody<Options, Arguments>;
}

const RECORDER = `
export const commands = [];
export const runCommand = (spec, body) => { commands.push({ spec, body }); };
`;

const recordCommands: Plugin = {
  name: 'record-commands',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /(?:^recorder|shared\/command\.ts)$/ }, () => ({
      path: 'recorder',
      namespace: 'recorder',
    }));
    onResolve({ filter: /^\.\.?\// }, ({ path, resolveDir, kind, importer }) => {
      if (kind === 'entry-point' || importer === '<stdin>') return undefined;
      return { path: pathToFileURL(resolve(resolveDir, path)).href, external: true };
    });
    onLoad({ filter: /.*/, namespace: 'recorder' }, () => ({ contents: RECORDER }));
  },
};

/** Every command of `cmd/`, by its name. */
export async function loadCommands(): Promise<ReadonlyMap<string, Command>> {
  const names = readdirSync(packagePath('cmd')).filter((name) => /^snap-.*\.ts$/.test(name));
  const contents = [
    ...names.map((name) => `import './${name}';`),
    `export { commands } from 'recorder';`,
  ].join('\n');
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: packagePath('cmd'), loader: 'ts' },
    bundle: true,
    write: false,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    plugins: [recordCommands],
    logLevel: 'error',
  });
  const directory = mkdtempSync(join(tmpdir(), 'imgsnap-fuzz-'));
  try {
    const path = join(directory, 'commands.mjs');
    writeFileSync(path, outputFiles[0]?.text ?? '');
    const { commands } = (await import(pathToFileURL(path).href)) as {
      readonly commands: readonly Command[];
    };
    return new Map(commands.map((command) => [command.spec.name, command]));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
