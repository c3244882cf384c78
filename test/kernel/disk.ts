/** The one disk of the machine, in parts: each is a device of its own there, and bytes here. */
import { closeSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';

const ALIGNMENT_BYTES = 1 << 20;
const SECTOR_BYTES = 512;

export class JobDisk {
  readonly path: string;
  readonly #fd: number;
  readonly #parts = new Map<string, { readonly offsetBytes: number; readonly sizeBytes: number }>();
  #endBytes = 0;

  constructor(directory: string) {
    this.path = join(directory, 'disk');
    this.#fd = openSync(this.path, 'w+');
  }

  /** A part of whole sectors; what there is besides the content is zeros. */
  add(name: string, content: Buffer | number): void {
    const lengthBytes = typeof content === 'number' ? content : content.length;
    const sizeBytes = lengthBytes - (lengthBytes % SECTOR_BYTES);
    const offsetBytes = this.#endBytes;
    this.#parts.set(name, { offsetBytes, sizeBytes });
    this.#endBytes += Math.ceil(sizeBytes / ALIGNMENT_BYTES) * ALIGNMENT_BYTES;
    ftruncateSync(this.#fd, this.#endBytes);
    if (typeof content !== 'number') writeSync(this.#fd, content, 0, sizeBytes, offsetBytes);
  }

  /** What stands in a part, after the machine is off. */
  read(name: string): Buffer {
    const { offsetBytes, sizeBytes } = this.#part(name);
    const bytes = Buffer.alloc(sizeBytes);
    readSync(this.#fd, bytes, 0, sizeBytes, offsetBytes);
    return bytes;
  }

  sectors(name: string): number {
    return this.#part(name).sizeBytes / SECTOR_BYTES;
  }

  /** The words that make the parts devices, as /dev/mapper/NAME. */
  script(): string[] {
    return [...this.#parts].map(([name, { offsetBytes, sizeBytes }]) => {
      const table = `0 ${sizeBytes / SECTOR_BYTES} linear /dev/vda ${offsetBytes / SECTOR_BYTES}`;
      return `dmsetup create ${name} --table '${table}'`;
    });
  }

  close(): void {
    closeSync(this.#fd);
  }

  #part(name: string): { readonly offsetBytes: number; readonly sizeBytes: number } {
    const part = this.#parts.get(name);
    if (part === undefined) throw new Error(`no part ${name}`);
    return part;
  }
}
