/** All questions, in the order of the results. */
import type { Question } from '../harness/question.ts';
import { again } from './again.ts';
import { create } from './create.ts';
import { manyRead } from './many-read.ts';
import { manyWrite } from './many-write.ts';
import { memory } from './memory.ts';
import { overwrite } from './overwrite.ts';
import { remove } from './remove.ts';
import { scattered } from './scattered.ts';
import { sparse } from './sparse.ts';
import { stream } from './stream.ts';
import { together } from './together.ts';
import { transient } from './transient.ts';
import { verify } from './verify.ts';

export const QUESTIONS: readonly Question[] = [
  stream,
  overwrite,
  transient,
  again,
  scattered,
  create,
  manyWrite,
  together,
  manyRead,
  verify,
  remove,
  sparse,
  memory,
];
