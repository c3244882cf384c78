/**
 * The store's header: whose store it is and how it is laid out. Written once, when the snapshot is made, and
 * never again. A store is this sidecar's if and only if its header says so (invariant 9).
 */

import { readSafeU64, writeU64 } from '../base/bytes.ts';
import { SnapError } from '../base/errors.ts';
import { NIL_UUID, uuidBytes, uuidText } from '../base/uuid.ts';
import { xxh64 } from '../base/xxh64.ts';
import {
  clusterCount,
  FORMAT_VERSION,
  type Geometry,
  isClusterSize,
  MAX_CLUSTER_COUNT,
  MAX_SEQUENCE,
  regions,
  STORE_FEATURE,
  STORE_HEADER,
} from './layout.ts';
import type { Part } from './part.ts';

export interface StoreIdentity extends Geometry {
  readonly sidecarUuid: string;
  /** The snapshot's UUID too, but for a part of one, which has its own. */
  readonly storeUuid: string;
  readonly snapshotNumber: number;
  /** Of a store that goes on where another file of the same snapshot was full. */
  readonly part?: Part | undefined;
}

/** XXH64 of the two bitmaps that a store with candidates has; 0 where it has none. */
export interface CandidateHashes {
  readonly candidateHash: bigint;
  readonly neededHash: bigint;
}

export type StoreHeader = StoreIdentity & CandidateHashes;

export function isSameStore(a: StoreIdentity, b: StoreIdentity): boolean {
  return (
    a.sidecarUuid === b.sidecarUuid &&
    a.storeUuid === b.storeUuid &&
    a.snapshotNumber === b.snapshotNumber &&
    a.part?.ofUuid === b.part?.ofUuid &&
    a.part?.index === b.part?.index &&
    a.sizeBytes === b.sizeBytes &&
    a.clusterSizeBytes === b.clusterSizeBytes &&
    (a.hasCandidates ?? false) === (b.hasCandidates ?? false)
  );
}

const F = STORE_HEADER.fields;
const MAGIC = { store: STORE_HEADER.magicText, clone: STORE_HEADER.cloneMagicText } as const;

/** @param of what file it is the header of: a clone's stands at its end */
export function encodeStoreHeader(
  identity: StoreIdentity & Partial<CandidateHashes>,
  of: 'store' | 'clone' = 'store',
): Buffer {
  const bytes = Buffer.alloc(STORE_HEADER.sizeBytes);
  const layout = regions(identity);
  bytes.write(MAGIC[of], F.magic.at, 'latin1');
  bytes.writeUInt32LE(FORMAT_VERSION, F.version.at);
  bytes.writeUInt32LE(identity.hasCandidates ? STORE_FEATURE.candidates : 0, F.incompatibleFeatures.at);
  bytes.writeUInt32LE(identity.clusterSizeBytes, F.clusterSizeBytes.at);
  uuidBytes(identity.sidecarUuid).copy(bytes, F.sidecarUuid.at);
  uuidBytes(identity.storeUuid).copy(bytes, F.storeUuid.at);
  writeU64(bytes, identity.snapshotNumber, F.snapshotNumber.at);
  writeU64(bytes, identity.sizeBytes, F.snapshotSizeBytes.at);
  writeU64(bytes, clusterCount(identity), F.clusterCount.at);
  writeU64(bytes, layout.bitmapOffsetBytes, F.bitmapOffsetBytes.at);
  writeU64(bytes, layout.tableOffsetBytes, F.tableOffsetBytes.at);
  writeU64(bytes, layout.dataOffsetBytes, F.dataOffsetBytes.at);
  bytes.writeBigUInt64LE(identity.candidateHash ?? 0n, F.candidateHash.at);
  bytes.writeBigUInt64LE(identity.neededHash ?? 0n, F.neededHash.at);
  if (identity.part !== undefined) {
    uuidBytes(identity.part.ofUuid).copy(bytes, F.partOfUuid.at);
    bytes.writeUInt32LE(identity.part.index, F.partIndex.at);
  }
  bytes.writeBigUInt64LE(xxh64(bytes.subarray(0, F.check.at)), F.check.at);
  return bytes;
}

function readPart(bytes: Buffer): Part | undefined {
  const ofUuid = uuidText(bytes.subarray(F.partOfUuid.at));
  return ofUuid === NIL_UUID ? undefined : { ofUuid, index: bytes.readUInt32LE(F.partIndex.at) };
}

function damaged(path: string, what: string): SnapError {
  return new SnapError('damage', `${path}: ${what}`, {
    path,
    offsetBytes: STORE_HEADER.offsetBytes,
    hint: 'restore the file from a backup of the sidecar, or remove the snapshots that need it with snap-gc',
  });
}

/**
 * Whose store the bytes say it is.
 * @throws `damage` where they are no header, or not a whole one; `newer-version` where they are a later format's
 */
export function decodeStoreHeader(bytes: Buffer, path: string, of: 'store' | 'clone' = 'store'): StoreHeader {
  if (bytes.length < STORE_HEADER.sizeBytes || bytes.toString('latin1', 0, 8) !== MAGIC[of]) {
    throw damaged(path, `not a ${of} (its header is missing or overwritten)`);
  }
  if (bytes.readBigUInt64LE(F.check.at) !== xxh64(bytes.subarray(0, F.check.at))) {
    throw damaged(path, "the store's header does not match its check");
  }
  const features = bytes.readUInt32LE(F.incompatibleFeatures.at);
  if (bytes.readUInt32LE(F.version.at) > FORMAT_VERSION || (features & ~STORE_FEATURE.candidates) !== 0) {
    throw new SnapError('newer-version', `${path}: made by a newer imgsnap`, {
      path,
      hint: 'use that version',
    });
  }
  const identity = {
    sidecarUuid: uuidText(bytes.subarray(F.sidecarUuid.at)),
    storeUuid: uuidText(bytes.subarray(F.storeUuid.at)),
    snapshotNumber: readSafeU64(bytes, F.snapshotNumber.at),
    sizeBytes: readSafeU64(bytes, F.snapshotSizeBytes.at),
    clusterSizeBytes: bytes.readUInt32LE(F.clusterSizeBytes.at),
    part: readPart(bytes),
    hasCandidates: features !== 0,
    candidateHash: features === 0 ? 0n : bytes.readBigUInt64LE(F.candidateHash.at),
    neededHash: features === 0 ? 0n : bytes.readBigUInt64LE(F.neededHash.at),
  };
  const { sizeBytes, snapshotNumber } = identity;
  if (sizeBytes === undefined || snapshotNumber === undefined || !isClusterSize(identity.clusterSizeBytes))
    throw damaged(path, "the store's header is absurd");
  if (snapshotNumber > MAX_SEQUENCE || sizeBytes > identity.clusterSizeBytes * MAX_CLUSTER_COUNT)
    throw damaged(path, "the store's header is absurd");
  const whole = { ...identity, sizeBytes, snapshotNumber };
  // But for compatible features, a header of ours has one form only: whatever else passes the check was forged.
  const expected = encodeStoreHeader(whole, of);
  for (const field of [F.compatibleFeatures, F.check]) {
    bytes.copy(expected, field.at, field.at, field.at + field.bytes);
  }
  if (!expected.equals(bytes.subarray(0, STORE_HEADER.sizeBytes))) {
    throw damaged(path, "the store's header contradicts itself");
  }
  return whole;
}
