/** A writer and a reader of one image share the machine, and neither starves. */
import type { Question } from '../harness/question.ts';
import { retake } from './parts.ts';

/** The first half is overwritten; the snapshot that is read has that half copied and shares the other with the image. */
const prepare = `${retake('disk.img@new')}; cat disk.img disk.img.snap/*.cow new >/dev/null; sync -f .; warm $((2 * MIB))`;
const write = 'snap-write -q disk.img <new';
const read = 'snap-read disk.img@one | cat >/dev/null';

export const together: Question = {
  name: 'together',
  title: 'write 1 GiB under a fresh snapshot while another of 2 GiB is streamed',
  sizes: { full: { MIB: 1024 }, small: { MIB: 4 } },
  async setup({ bash }) {
    await bash(`
      noise disk.img $((2 * MIB)); noise new "$MIB"
      snap-create -q disk.img@one; snap-write -q disk.img <new`);
  },
  comparisons: [
    {
      name: 'writer',
      note: 'the writer',
      reach: 2.5,
      ours: { label: 'beside the reader', prepare, run: write, meanwhile: read },
      beside: { label: 'alone', prepare, run: write },
    },
    {
      name: 'reader',
      note: 'the reader',
      reach: 2.5,
      ours: {
        label: 'beside the writer',
        prepare,
        run: read,
        meanwhile: `${retake('disk.img@new')}; ${write}`,
      },
      beside: { label: 'alone', prepare, run: read },
    },
  ],
};
