/**
 * The part of fs-native-extensions that we use; the package brings no types. This is its binding, without the checks and
 * the twelve small modules around it. A bigint, NaN, null or a string becomes 0 here, and locks, frees or punches the
 * wrong range, and the number of arguments must be right, so nobody but `range-lock.ts` and its like calls it.
 */
declare module 'fs-native-extensions/binding.js' {
  /** Throws an Error with code EAGAIN where another open file description holds a conflicting lock. */
  export function tryLock(
    descriptor: number,
    offsetBytes: number,
    lengthBytes: number,
    isExclusive: boolean,
  ): void;
  export function unlock(descriptor: number, offsetBytes: number, lengthBytes: number): void;
  /** Punches a hole; the size stays. */
  export function trimSync(descriptor: number, offsetBytes: number, lengthBytes: number): void;
}
