/**
 * An image with its sidecar, as one command works on it: finds the two, takes the lock around every look and every
 * change, and gives each a `Hold`. What happens under the lock is for the callers; that it is taken right, that
 * repair comes first, and that a change from outside is noticed, is here.
 */
import * as path from 'node:path';
import { quietly, SnapError } from '../base/errors.ts';
import { closeAll } from '../io/close-all.ts';
import type { FileStat, RandomAccessFile } from '../io/file-system.ts';
import { Mutex } from '../io/mutex.ts';
import { acquire, pollLock, release } from '../io/turnstile.ts';
import { RepairNeeded } from '../store/append.ts';
import { isAlive } from '../store/catalog.ts';
import { findSidecar, Sidecar, STATE_FILE, sidecarPath } from '../store/sidecar.ts';
import { isSettled } from '../store/state.ts';
import type { Context } from './context.ts';
import { Hold, type HoldCache } from './hold.ts';
import { checkCoherent, checkLinks, checkNoStore, resolveImage } from './origin.ts';
import { recordOutsideChange } from './outside-change.ts';
import { checkTogether, giveUp, repair } from './recover.ts';
import { StoreSet } from './store-set.ts';

/** What a command may do: `look` opens everything for reading, `change` the sidecar for writing, `write` the image too. */
export type Access = 'look' | 'change' | 'write';
export type LockKind = 'shared' | 'exclusive';

interface Attached {
  readonly sidecar: Sidecar;
  readonly stores: StoreSet;
  readonly cache: HoldCache;
}

export class Volume {
  readonly context: Context;
  /** As the user gave it: for messages and results. */
  readonly image: string;
  readonly imagePath: string;
  readonly origin: RandomAccessFile;
  readonly #access: Access;
  readonly #mutex = new Mutex();
  #attached: Attached | undefined;
  /** Whether somebody else had the lock when it was taken the last time. */
  hadToWait = false;

  private constructor(
    context: Context,
    image: string,
    imagePath: string,
    origin: RandomAccessFile,
    access: Access,
  ) {
    this.context = context;
    this.image = image;
    this.imagePath = imagePath;
    this.origin = origin;
    this.#access = access;
  }

  static async open(context: Context, image: string, access: Access): Promise<Volume> {
    const imagePath = await resolveImage(context, image);
    // By the name that the user gave, which is what errors then tell; that it is this file is checked in every hold.
    const origin = await context.host.files.open(image, access === 'write' ? 'update' : 'read');
    try {
      if (access === 'write') await checkNoStore(context.host.files, image, imagePath, origin);
    } catch (error) {
      await quietly(() => origin.close());
      throw error;
    }
    return new Volume(context, image, imagePath, origin, access);
  }

  /** `look` is given undefined where the image has no sidecar. */
  shared<T>(look: (hold: Hold | undefined) => Promise<T>): Promise<T> {
    return this.#locked('shared', (hold) => look(hold));
  }

  /**
   * `change` is given undefined where the image has no sidecar; the image itself is locked then. If it fails with
   * work in flight, that is given up and repaired before the lock is dropped.
   */
  exclusive<T>(change: (hold: Hold | undefined) => Promise<T>): Promise<T> {
    return this.#locked('exclusive', async (hold) => {
      if (hold === undefined) return change(undefined);
      await recordOutsideChange(hold);
      if (hold.repairDue) await repair(hold);
      // After a power loss the state may not have told of an origin that is shorter now.
      await recordOutsideChange(hold);
      await ensureActiveCounts(hold);
      try {
        return await change(hold);
      } catch (error) {
        await giveUp(hold);
        throw error;
      }
    });
  }

  /**
   * As `exclusive`, but does nothing, and returns undefined, where there is no sidecar, repair is due, or the origin was
   * changed outside: for whoever must not change more than what was asked for.
   */
  exclusiveIfSettled<T>(change: (hold: Hold) => Promise<T>): Promise<T | undefined> {
    return this.#locked('exclusive', async (hold) => {
      if (hold === undefined || hold.repairDue || hold.originChangedOutside) return undefined;
      try {
        return await change(hold);
      } catch (error) {
        await giveUp(hold);
        throw error;
      }
    });
  }

  /** For what must not run twice at a time beside the lock: one byte of `state`, held while `work` runs. */
  async withByteLock<T>(offsetBytes: number, work: () => Promise<T>): Promise<T> {
    await this.shared(async () => undefined);
    const file = this.#attached?.sidecar.stateFile;
    if (file === undefined) return work();
    await pollLock(this.context.host, file, offsetBytes, 'exclusive', this.#wait());
    try {
      return await work();
    } finally {
      file.unlock(offsetBytes);
    }
  }

  #wait(): { deadlineMs: number; signal: AbortSignal; subject: string } {
    const { host, waitMs, signal } = this.context;
    return { deadlineMs: host.monotonicMs() + waitMs, signal, subject: this.image };
  }

  #locked<T>(kind: LockKind, work: (hold: Hold | undefined) => Promise<T>): Promise<T> {
    return this.#mutex.run(async () => {
      const lockFile = await this.#lock(kind);
      try {
        const originStat = await this.#checkOrigin();
        const hold = this.#attached && (await this.#hold(this.#attached, kind, originStat));
        return await work(hold);
      } finally {
        release(lockFile);
      }
    });
  }

  /**
   * Locks `state`, or the image where there is no sidecar. Either may change hands while we wait: a first snapshot
   * is taken under a running writer, a sidecar is replaced. So what was locked is compared with what is there now.
   */
  async #lock(kind: LockKind): Promise<RandomAccessFile> {
    const { host } = this.context;
    const wait = this.#wait();
    for (;;) {
      const directory = this.#attached?.sidecar.directory ?? (await findSidecar(host.files, this.imagePath));
      if (directory === undefined) {
        const originKind = this.#access === 'write' ? kind : 'shared';
        this.hadToWait = await acquire(host, this.origin, originKind, wait);
        if ((await findSidecar(host.files, this.imagePath)) === undefined) return this.origin;
        release(this.origin);
        continue;
      }
      this.#attached ??= await this.#attach(directory);
      const file = this.#attached.sidecar.stateFile;
      this.hadToWait = await acquire(host, file, kind, wait);
      // By the image's own way to it: a link may lead elsewhere by now.
      const there = await host.files.stat(path.join(sidecarPath(this.imagePath), STATE_FILE));
      const held = await file.stat();
      if (there !== undefined && held.inode === there.inode && held.device === there.device) return file;
      release(file);
      throw new SnapError('io', `${this.image}: its sidecar was moved or replaced meanwhile`, {
        path: directory,
        hint: 'run the command again',
      });
    }
  }

  async #attach(directory: string): Promise<Attached> {
    await checkCoherent(this.context, this.image, directory);
    const mode = this.#access === 'look' ? 'read' : 'update';
    const sidecar = await Sidecar.open(this.context.host, directory, mode);
    return { sidecar, stores: new StoreSet(this.context.host.files, sidecar, mode), cache: {} };
  }

  /** The image that we have open must be the one that its path names: one renamed over it is another image. */
  async #checkOrigin(): Promise<FileStat> {
    const held = await this.origin.stat();
    const there = await this.context.host.files.stat(this.imagePath);
    if (there === undefined || there.inode !== held.inode || there.device !== held.device) {
      throw new SnapError('io', `${this.image}: the image was replaced meanwhile`, {
        path: this.image,
        hint: 'nothing more was read from or written to either; run the command again',
      });
    }
    checkLinks(this.image, held);
    return held;
  }

  async #hold(attached: Attached, kind: LockKind, originStat: FileStat): Promise<Hold> {
    const { sidecar, stores, cache } = attached;
    const state = await sidecar.readState();
    const bootId = await this.context.host.bootId();
    const stamp = state && `${state.sidecarUuid}/${state.generation}`;
    let repairDue = !isSettled(state, bootId);
    let catalog = cache.catalog?.catalog;
    if (repairDue || catalog === undefined || cache.catalog?.stamp !== stamp) {
      catalog = await sidecar.readCatalog();
      checkTogether(sidecar, catalog, state);
      // A catalog ahead of `state` is legal: whoever committed it did not get further.
      if (state !== undefined && catalog.generation > state.generation) repairDue = true;
      cache.catalog = repairDue || stamp === undefined ? undefined : { stamp, catalog };
    }
    const { context, image, imagePath, origin } = this;
    return new Hold({
      context,
      image,
      imagePath,
      kind,
      origin,
      originStat,
      sidecar,
      stores,
      cache,
      bootId,
      state,
      catalog,
      repairDue,
    });
  }

  async close(): Promise<void> {
    const { stores, sidecar } = this.#attached ?? {};
    await closeAll([stores, sidecar, this.origin]);
  }
}

/** A bitmap that does not count is repaired; a store that is beyond that is told by whoever needs it. */
async function ensureActiveCounts(hold: Hold): Promise<void> {
  // A store that nobody needs any more may be as it will, as a transient one is after a reboot.
  if (!hold.catalog.snapshots.some(isAlive)) return;
  try {
    await hold.active();
  } catch (error) {
    if (error instanceof RepairNeeded) await repair(hold);
    else if (!(error instanceof SnapError)) throw error;
  }
}
