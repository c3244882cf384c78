/** Images, stores and what is done with them on a simulated machine. */
import type { Context } from '../../core/snapshot/context.ts';
import { type DmExportOptions, exportDm } from '../../core/snapshot/dm-export.ts';
import type { MemoryHost } from '../sim/memory-host.ts';
import { CollectingSink, IMAGE } from '../support/image.ts';

export const STORE = '/kernel.cow';

export async function exported(
  context: Context,
  name: string,
  options: Partial<DmExportOptions> = {},
  sink = new CollectingSink(),
): Promise<Buffer> {
  await exportDm(context, { image: IMAGE, name }, { allowModifiedOrigin: false, ...options }, sink);
  return sink.bytes();
}

export async function putFile(host: MemoryHost, path: string, content: Buffer): Promise<void> {
  const file = await host.files.open(path, 'create', 0o600);
  await file.write(content, 0);
  await file.close();
}
