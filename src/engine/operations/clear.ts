// Zeroing and discarding as runs: some dozens of slices a step.

import { assert } from '../../base/assert.ts';
import type { ByteSpan } from '../../base/byte-span.ts';
import { discard, zero } from '../data/zeroing.ts';
import type { ZeroOptions } from '../data/zeroing.ts';
import type { WriteParts } from '../image-parts.ts';
import type { Steps } from './steps.ts';

/** Slices of L2 tables that one step passes. */
const slicesPerStep = 32;

/** Makes a span, which lies inside the disk, read as zeroes; progress in bytes. See {@link zero}. */
export function zeroInSteps(parts: WriteParts, span: ByteSpan, options: ZeroOptions): Steps<void> {
  return paced(zero(parts, span, options), span);
}

/** Gives up the whole clusters inside a span; progress in bytes. See {@link discard}. */
export function discardInSteps(parts: WriteParts, span: ByteSpan): Steps<void> {
  return paced(discard(parts, span), span);
}

/** `slices` yields the offset up to which it is done, one slice after the other. */
function* paced(slices: Generator<number, void, undefined>, span: ByteSpan): Steps<void> {
  let count = 0;
  for (const done of slices) {
    assert(done >= span.offset, 'work goes forwards');
    count += 1;
    if (count % slicesPerStep === 0) yield { done: done - span.offset, total: span.length };
  }
}
