/**
 * Which file systems are not coherent for everyone who sees a file: on a network the lock, the cache or the time
 * may be the client's own, and behind FUSE may be anything. The numbers are `f_type` of statfs(2).
 */

const INCOHERENT_TYPES: ReadonlySet<bigint> = new Set([
  0x6969n, // NFS
  0x517bn, // SMB
  0xff534d42n, // CIFS
  0xfe534d42n, // SMB2 and later
  0x564cn, // NCP
  0x65735546n, // FUSE; virtiofs, too
  0x01021997n, // 9p; also WSL's view of Windows
  0x5346414fn, // AFS
  0x6b414653n, // AFS, the kernel's own
  0x73757245n, // Coda
  0x00c36400n, // Ceph
  0x0bd00bd0n, // Lustre
  0x01161970n, // GFS2
  0x7461636fn, // OCFS2
  0x20030528n, // OrangeFS
  0x47504653n, // GPFS
  0x61636673n, // ACFS
  0x19830326n, // BeeGFS
  0xaad7aaean, // PanFS
  0xbeefdeadn, // SNFS
  0x786f4256n, // VirtualBox shared folders
  0xbacbacbcn, // VMware shared folders
  0x7c7c6673n, // Parallels shared folders
  0x00c0ffeen, // hostfs of user-mode Linux
]);

/** Whether `type` (`f_type` of statfs) is a file system whose locks and caches hold for all who see it. */
export function isCoherentType(type: bigint): boolean {
  // A 32-bit system gives the ones from 2^31 up with their sign extended.
  return !INCOHERENT_TYPES.has(BigInt.asUintN(32, type));
}
