/** The frame of a program of the benchmark: what signals do, and how it ends. */

/**
 * Runs `main` with this process's words, and takes its answer for the exit status. A signal aborts what it is given, so
 * that it leaves nothing behind; the status then is a shell's for that signal.
 * @param tell is given what `main` throws, unless a signal ended it
 */
export async function runProgram(
  main: (words: readonly string[], signal: AbortSignal) => Promise<number>,
  tell: (error: unknown) => void = (error) => console.error(error),
): Promise<void> {
  const stop = new AbortController();
  for (const [signal, status] of [
    ['SIGHUP', 129],
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    process.once(signal, () => stop.abort(status));
  }
  try {
    process.exitCode = await main(process.argv.slice(2), stop.signal);
  } catch (error) {
    if (!stop.signal.aborted) tell(error);
    process.exitCode = stop.signal.aborted ? Number(stop.signal.reason) : 2;
  }
}
