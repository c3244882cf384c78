/**
 * One simulated process, as far as files know it: what it has open, whether it lives, and the hook that sees
 * every operation before it happens.
 */
import { errnoOf, systemFailure } from '../../core/io/system-error.ts';
import type { FileInode } from './name-tree.ts';
import { KilledError } from './system-error.ts';

const VERBS = {
  open: 'open',
  create: 'create',
  read: 'read',
  write: 'write',
  fileStat: 'look at',
  dataFrom: 'look at',
  truncate: 'set the size of',
  syncData: 'flush',
  syncAll: 'flush',
  tryLock: 'lock',
  unlock: 'unlock',
  close: 'close',
  stat: 'look at',
  linkStat: 'look at',
  realPath: 'resolve',
  list: 'list',
  makeDirectory: 'make the directory',
  removeDirectory: 'remove the directory',
  remove: 'remove',
  rename: 'rename',
  syncDirectory: 'flush the directory',
  setPermissions: 'set the permissions of',
  setOwner: 'set the owner of',
  isCoherent: 'look at the file system of',
} as const;

export type OperationKind = keyof typeof VERBS;

export interface Operation {
  readonly kind: OperationKind;
  readonly path: string;
  /** Where a rename leads. */
  readonly to?: string;
  /** Of a read, a write or a lock. */
  readonly offsetBytes?: number;
  /** Of a read or a write; the new size of a truncation. */
  readonly lengthBytes?: number;
  /** The file that is flushed, whatever its name is by now. */
  readonly inode?: FileInode;
}

const CHANGES: ReadonlySet<OperationKind> = new Set([
  'create',
  'write',
  'truncate',
  'syncData',
  'syncAll',
  'makeDirectory',
  'removeDirectory',
  'remove',
  'rename',
  'syncDirectory',
]);

/** Whether an operation changes what the disk may hold after a power loss. */
export function isChange({ kind }: Operation): boolean {
  return CHANGES.has(kind);
}

/**
 * Called before each operation; what it throws, the operation throws instead of happening: a `systemError` as
 * the SnapError that the real file system would make of it, anything else as it is. `tryLock` and `unlock` are
 * synchronous and do not wait for a promise.
 */
export type OperationHook = (operation: Operation) => void | Promise<void>;

export interface Closable {
  /** Drops locks and the hold on the inode; called once. */
  drop(): void;
}

export class Session {
  onOperation: OperationHook | undefined;
  readonly #parent: Session | undefined;
  readonly #open = new Set<Closable>();
  #isAlive = true;

  constructor(parent?: Session, onOperation?: OperationHook) {
    this.#parent = parent;
    this.onOperation = onOperation;
  }

  get isAlive(): boolean {
    return this.#isAlive;
  }

  get openCount(): number {
    return this.#open.size;
  }

  add(file: Closable): void {
    this.#open.add(file);
  }

  /** Drops `file` unless that was done before. */
  drop(file: Closable): void {
    if (this.#open.delete(file)) file.drop();
  }

  dropAll(): void {
    for (const file of this.#open) this.drop(file);
  }

  kill(): void {
    this.#isAlive = false;
    this.dropAll();
  }

  assertAlive(): void {
    if (!this.#isAlive) throw new KilledError();
  }

  async perform<Result>(operation: Operation, work: () => Result): Promise<Result> {
    this.assertAlive();
    try {
      const pending = this.#hook()?.(operation);
      if (pending !== undefined) await pending;
      // The hook, or somebody else while it waited, may have killed us.
      this.assertAlive();
      return work();
    } catch (error) {
      throw failureOf(operation, error);
    }
  }

  performSync<Result>(operation: Operation, work: () => Result): Result {
    this.assertAlive();
    try {
      this.#hook()?.(operation);
      this.assertAlive();
      return work();
    } catch (error) {
      throw failureOf(operation, error);
    }
  }

  #hook(): OperationHook | undefined {
    return this.onOperation ?? this.#parent?.onOperation;
  }
}

function failureOf(operation: Operation, error: unknown): unknown {
  if (errnoOf(error) === undefined) return error;
  const isData = operation.kind === 'read' || operation.kind === 'write';
  const attempt = {
    verb: VERBS[operation.kind],
    path: operation.path,
    tail: tailOf(operation),
    offsetBytes: isData ? operation.offsetBytes : undefined,
  };
  return systemFailure(attempt, error);
}

function tailOf(operation: Operation): string {
  if (operation.to !== undefined) return ` to ${operation.to}`;
  return operation.kind === 'truncate' ? ` to ${operation.lengthBytes} bytes` : '';
}
