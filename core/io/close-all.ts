/** Closes several things: one that fails keeps no other open, and with it its locks. */

export async function closeAll(closables: Iterable<{ close(): Promise<void> } | undefined>): Promise<void> {
  const failures: unknown[] = [];
  for (const closable of closables) {
    await closable?.close().catch((error: unknown) => failures.push(error));
  }
  if (failures.length > 0) throw failures[0];
}
