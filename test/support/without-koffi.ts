/** The commands as they are for a user who has not got the optional package. */
import { copyFileSync, mkdirSync, symlinkSync } from 'node:fs';
import type { CommandName, Workplace } from './commands.ts';
import { packagePath } from './process.ts';

/** The path of a command where only the packages are that it cannot do without. */
export function withoutKoffi(work: Workplace, name: CommandName): string {
  const directory = work.path('without');
  mkdirSync(`${directory}/bundles`, { recursive: true });
  mkdirSync(`${directory}/node_modules`);
  for (const addon of ['node_modules/fs-native-extensions', 'node_modules/@node-rs']) {
    symlinkSync(packagePath(addon), `${directory}/${addon}`);
  }
  for (const file of [`${name}.cjs`, `bundles/${name}.cjs`]) {
    copyFileSync(packagePath(`dist/${file}`), `${directory}/${file}`);
  }
  return `${directory}/${name}.cjs`;
}
