/** An image with holes costs what its data costs; only a digest of everything takes what hashing the zeros takes. */
import type { Comparison, Question } from '../harness/question.ts';
import { programs } from '../harness/question.ts';
import { sparseFiles } from './parts.ts';

/** The sizes of images, as bash computes them. */
const HUGE = 'HUGE_MIB';
const LARGE = 'LARGE_MIB';
const DENSE = '16 * PIECES';

/** `$PIECES` pieces of 16 MiB of data, spread evenly; under a snapshot the first MiB of every eighth is overwritten. */
const make = (image: string, sizeMib: string) => `
  apart=$((${sizeMib} / PIECES))
  truncate -s $((${sizeMib}))M ${image}
  for ((piece = 0; piece < PIECES; piece++)); do
    dd if=data of=${image} bs=16M count=1 skip=$piece seek=$((piece * apart / 16)) conv=notrunc status=none
  done
  snap-create -q ${image}@one
  for ((piece = 0; piece < PIECES; piece += 8)); do
    head -c 1M /dev/urandom | snap-write -q ${image} --offset $((piece * apart))M
  done
  sync -f .`;

/** As many bytes as the image has, all of them from the page cache. */
const hash = (sizeMib: string) =>
  `names=$(printf 'data %.0s' $(seq $((${sizeMib} / (16 * PIECES))))); xxhsum -q -H1 $names`;

const hashed = (name: string, note: string, image: string, sizeMib: string, run: string): Comparison => ({
  name,
  note,
  reach: 1.2,
  needs: programs('xxhsum'),
  ours: { label: 'ours', prepare: `cat data ${image}.snap/*.cow >/dev/null; rm -f out`, run },
  beside: { label: '`xxhsum -H1` of as many bytes', prepare: 'cat data >/dev/null', run: hash(sizeMib) },
});

const digest = (image: string) => `snap-verify --digest ${image}@one`;
const output = (image: string) => `snap-read -q ${image}@one -o out`;

export const sparse: Question = {
  name: 'sparse',
  title: 'an image with holes, with 1 GiB of data',
  sizes: {
    full: { HUGE_MIB: 2 ** 20, LARGE_MIB: 2 ** 14, PIECES: 64 },
    small: { HUGE_MIB: 128, LARGE_MIB: 32, PIECES: 1 },
  },
  async setup({ bash }) {
    await bash(`
      noise data $((16 * PIECES))
      ${make('huge.img', HUGE)}
      ${make('large.img', LARGE)}
      ${make('dense.img', DENSE)}`);
  },
  comparisons: [
    {
      name: 'verify',
      note: 'verify 1 TiB',
      rounds: 21,
      reach: 1.2,
      needs: [sparseFiles('1T')],
      ours: {
        label: 'of 1 TiB',
        prepare: 'cat huge.img.snap/*.cow >/dev/null',
        run: 'snap-verify -q huge.img',
      },
      beside: {
        label: 'the same data without holes',
        prepare: 'cat dense.img.snap/*.cow >/dev/null',
        run: 'snap-verify -q dense.img',
      },
    },
    hashed('digest', 'digest of 16 GiB', 'large.img', LARGE, digest('large.img')),
    hashed('output', '-o FILE of 16 GiB', 'large.img', LARGE, output('large.img')),
    { ...hashed('digest-1t', 'digest of 1 TiB', 'huge.img', HUGE, digest('huge.img')), rounds: 1 },
    { ...hashed('output-1t', '-o FILE of 1 TiB', 'huge.img', HUGE, output('huge.img')), rounds: 1 },
  ],
};
