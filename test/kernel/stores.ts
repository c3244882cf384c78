/**
 * Stores that the kernel makes, and what must be read from them. The same are kept in `fixtures/`, so that every machine
 * has what one of the kernel's gave.
 */
import type { SectorWrite } from '../dm/written.ts';

export interface KernelStore {
  readonly name: string;
  readonly sectors: number;
  readonly chunkSectors: number;
  readonly cowSectors: number;
  /** Written to the origin, in this order. */
  readonly writes: readonly SectorWrite[];
  /** Written to the snapshot itself, after that. */
  readonly snapshotWrites: readonly SectorWrite[];
  /** What `dmsetup status` says of it in the end. */
  readonly status: string;
  readonly shows: string;
}

const every = (stride: number, count: number, length: number, from = 0): SectorWrite[] =>
  Array.from({ length: count }, (_, index) => ({ at: from + index * stride, count: length }));

export const KERNEL_STORES: readonly KernelStore[] = [
  {
    name: 'two-areas',
    sectors: 8195,
    chunkSectors: 8,
    cowSectors: 4096,
    writes: [
      ...every(24, 150, 5).reverse(),
      { at: 4000, count: 1200 },
      { at: 8190, count: 5 },
      { at: 0, count: 8 },
    ],
    snapshotWrites: [],
    status: '',
    shows:
      'more exceptions than one area has, out of order; a short last chunk; chunks that were written to twice',
  },
  {
    name: 'full-area',
    sectors: 2048,
    chunkSectors: 1,
    cowSectors: 512,
    writes: [
      { at: 96, count: 16 },
      { at: 8, count: 16 },
    ],
    snapshotWrites: [],
    status: '',
    shows: 'chunks of one sector; an area that is just full, so that an empty one follows',
  },
  {
    name: 'written-to',
    sectors: 4096,
    chunkSectors: 128,
    cowSectors: 4096,
    writes: [
      { at: 10, count: 300 },
      { at: 3000, count: 1 },
    ],
    snapshotWrites: [
      { at: 200, count: 3 },
      { at: 2000, count: 130 },
    ],
    status: '',
    shows: 'a snapshot that was written to as well; chunks of 64 KiB',
  },
  {
    name: 'fresh',
    sectors: 1024,
    chunkSectors: 16,
    cowSectors: 256,
    writes: [],
    snapshotWrites: [],
    status: '',
    shows: 'nothing was copied yet',
  },
  {
    name: 'invalid',
    sectors: 4096,
    chunkSectors: 8,
    cowSectors: 256,
    writes: [{ at: 0, count: 4096 }],
    snapshotWrites: [],
    status: 'Invalid',
    shows: 'a store that became too small: it has ended',
  },
];
