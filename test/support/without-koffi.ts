/** The commands as they are for a user who has not got the optional package. */
import { copyFileSync, mkdirSync, symlinkSync } from 'node:fs';
import type { CommandName, Workplace } from './commands.ts';
import { packagePath } from './process.ts';

/** The path of a command where only the packages are that it cannot do without. */
export function withoutKoffi(work: Workplace, name: CommandName): string {
  const directory = work.path('without');
  mkdirSync(`${directory}/node_modules`, { recursive: true });
  const addon = 'node_modules/fs-native-extensions';
  symlinkSync(packagePath(addon), `${directory}/${addon}`);
  copyFileSync(packagePath(`dist/${name}.cjs`), `${directory}/${name}.cjs`);
  return `${directory}/${name}.cjs`;
}
