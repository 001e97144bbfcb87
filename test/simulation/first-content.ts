// The image that a simulated life begins with.

import { MemoryFile } from '../../src/engine/file/memory-file.ts';
import { guestOffset } from '../../src/engine/format/offsets.ts';
import { createImage } from '../../src/engine/operations/create.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import type { Prng } from '../support/prng.ts';
import { contentOf, openOver } from './crash-judge.ts';
import type { LifePlan } from './life-plan.ts';

/** A fresh image, written up to where the plan says, and what the guest sees of it. */
export function firstContent(
  plan: LifePlan,
  contents: Prng,
): { readonly file: MemoryFile; readonly guest: Uint8Array } {
  const file = MemoryFile.empty();
  runToEnd(createImage(file, plan.spec));
  const image = openOver(file, plan.backing);
  if (plan.prefilledLength > 0) {
    image.write(guestOffset(0), contents.bytes(plan.prefilledLength), { detectZeroes: false });
  }
  const guest = contentOf(image);
  image.close();
  return { file, guest };
}
