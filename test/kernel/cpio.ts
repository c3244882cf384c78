/** An archive for the kernel's first file system, in cpio's newc format: so small that no program is needed for it. */

export interface ArchiveFile {
  readonly path: string;
  readonly content: Buffer | string;
  readonly mode: number;
}

const TRAILER = 'TRAILER!!!';
const DIRECTORY = 0o040755;
const REGULAR = 0o100000;

/** The files, and the directories that lead to them. */
export function archive(files: readonly ArchiveFile[]): Buffer {
  const pieces: Buffer[] = [];
  const made = new Set<string>();
  const makeParents = (path: string) => {
    const parts = path.split('/').slice(0, -1);
    for (let depth = 1; depth <= parts.length; depth += 1) {
      const directory = parts.slice(0, depth).join('/');
      if (directory === '' || made.has(directory)) continue;
      made.add(directory);
      pieces.push(...member(directory, DIRECTORY, Buffer.alloc(0), made.size));
    }
  };
  for (const { path, content, mode } of files) {
    const name = path.replace(/^\/+/, '');
    makeParents(name);
    made.add(name);
    pieces.push(...member(name, REGULAR | mode, Buffer.from(content), made.size));
  }
  pieces.push(...member(TRAILER, 0, Buffer.alloc(0), 0));
  return Buffer.concat(pieces);
}

function member(name: string, mode: number, content: Buffer, inode: number): Buffer[] {
  const fields = [inode, mode, 0, 0, 1, 0, content.length, 0, 0, 0, 0, name.length + 1, 0];
  const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}${name}\0`;
  return [padded(Buffer.from(header)), padded(content)];
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
}
