// The image that a simulated life begins with.

import { MemoryFile } from '../../src/engine/file/memory-file.ts';
import { guestOffset } from '../../src/engine/format/offsets.ts';
import { createImage } from '../../src/engine/operations/create.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import type { Prng } from '../support/prng.ts';
import type { ModelSnapshot } from '../support/model-disk.ts';
import { contentOf, vmStateOf } from './crash-judge.ts';
import { addForeign } from './foreign-content.ts';
import type { LifePlan } from './life-plan.ts';
import { openPlanned } from './life-steps.ts';

export interface FirstContent {
  readonly file: MemoryFile;
  /** What the guest sees. */
  readonly guest: Uint8Array;
  readonly snapshots: readonly ModelSnapshot[];
}

/** A fresh image, written up to where the plan says, with what another tool has left in it. */
export function firstContent(plan: LifePlan, contents: Prng): FirstContent {
  const file = MemoryFile.empty();
  runToEnd(createImage(file, plan.spec));
  if (plan.foreign !== undefined) addForeign(file, plan.foreign, contents);
  const image = openPlanned(file, plan);
  if (plan.prefilledLength > 0) {
    image.write(guestOffset(0), contents.bytes(plan.prefilledLength), { detectZeroes: false });
  }
  const guest = contentOf(image);
  const snapshots = image.snapshots({ from: 0, limit: 1000 }).map((snapshot) => {
    const bytes = new Uint8Array(snapshot.virtualSize);
    image.readSnapshot(snapshot.id, guestOffset(0), bytes);
    return { name: snapshot.name, bytes, vmState: vmStateOf(image, snapshot) };
  });
  image.close();
  return { file, guest, snapshots };
}
