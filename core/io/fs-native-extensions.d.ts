/**
 * The part of fs-native-extensions that we use; the package brings no types. Its arguments are not checked: a
 * bigint, NaN, null or a string becomes 0 and locks, frees or punches the wrong range, so nobody but
 * `range-lock.ts` and its like calls it.
 */
declare module 'fs-native-extensions' {
  /** False where another open file description holds a conflicting lock. A length of 0 means "to the end". */
  export function tryLock(
    descriptor: number,
    offsetBytes: number,
    lengthBytes: number,
    options?: { readonly shared?: boolean },
  ): boolean;
  export function unlock(descriptor: number, offsetBytes: number, lengthBytes: number): void;
  /** Punches a hole; the size stays. */
  export function trimSync(descriptor: number, offsetBytes: number, lengthBytes: number): void;
}
