/** Milliseconds that only rise. The `performance` that is everywhere has them too, but Node loads a millisecond's worth for it. */
export function monotonicMs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e3 + nanoseconds / 1e6;
}
