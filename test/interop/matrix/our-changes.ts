// What we do to an image of the matrix, and to a copy of its bytes: the copy is what QEMU has to find afterwards.

import { guestOffset } from '../../../src/engine/format/offsets.ts';
import type { Image } from '../../../src/engine/image.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { Prng } from '../../support/prng.ts';
import type { MatrixCase, StoryStep } from './matrix-case.ts';

/** Bytes of the guest. */
export interface Span {
  readonly offset: number;
  readonly length: number;
}

/** Changes both in places that hold every kind of cluster, and in between; where. */
export function changeBoth(image: Image, bytes: Uint8Array, choice: MatrixCase): readonly Span[] {
  const spans: Span[] = [];
  const cluster = 2 ** choice.clusterBits;
  const random = new Prng(choice.clusterBits);
  const write = (offset: number, length: number): void => {
    const source = random.bytes(length);
    image.write(guestOffset(offset), source, { detectZeroes: false });
    bytes.set(source, offset);
    spans.push({ offset, length });
  };
  write(cluster / 2, cluster);
  write(2 * cluster + 100, 300);
  write(5 * cluster - 7, 14);
  write(9 * cluster + cluster / 4, cluster);
  write(12 * cluster + 17, 2 * cluster);
  write(bytes.length - 77, 77);
  const zero = (offset: number, length: number, unmap: boolean): void => {
    runToEnd(image.zero(guestOffset(offset), length, { unmap }));
    bytes.fill(0, offset, offset + length);
    spans.push({ offset, length });
  };
  zero(7 * cluster, cluster + 3, true);
  zero(13 * cluster - 5, cluster + 5, false);
  // Nothing else touches it: a bitmap has it from here.
  zero(17 * cluster, cluster, true);
  // What a discarded cluster reads as is the format's business only in version 3.
  if (choice.version === 2) return spans;
  for (const offset of [6 * cluster, 19 * cluster]) {
    runToEnd(image.discard(guestOffset(offset), cluster));
    bytes.fill(0, offset, offset + cluster);
    spans.push({ offset, length: cluster });
  }
  return spans;
}

/** The story, told by us. */
export function tellBoth(image: Image, bytes: Uint8Array, story: readonly StoryStep[]): void {
  for (const { kind, offset, length, value } of story) {
    bytes.fill(value, offset, offset + length);
    const at = guestOffset(offset);
    const source = bytes.subarray(offset, offset + length);
    if (kind === 'write') image.write(at, source, { detectZeroes: false });
    else if (kind === 'compress') runToEnd(image.writeCompressed(at, source, { detectZeroes: false }));
    else runToEnd(image.zero(at, length, { unmap: kind === 'unmap' }));
  }
}
