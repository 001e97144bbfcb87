// The first answer of a creating request, for one that is repeated after the process has died over it.

import type { Answer } from '../src/http/answer.ts';
import type { Made } from '../src/services/services.ts';
import { bitmapAnswer, createdAnswer, grantedAnswer } from './answers.ts';
import { snapshotAnswer } from './long-work.ts';

/** What was made may be gone since: the answer is the first one all the same. */
export function madeAnswer(made: Made): Answer {
  switch (made.kind) {
    case 'image':
      return createdAnswer(made.image);
    case 'snapshot':
      return snapshotAnswer(made.snapshot, made.imageId);
    case 'bitmap':
      return bitmapAnswer(made);
    case 'lease':
      return grantedAnswer(made.lease);
  }
}
