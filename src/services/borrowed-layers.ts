// The images below one that is committed: nobody has them open meanwhile, and nobody else stands on them.

import { Fault } from '../base/fault.ts';
import type { ImageAccess } from './image-access.ts';
import { leavesImageUnknown } from './image-failures.ts';
import { requireUnprotected } from './opening.ts';
import type { ServiceParts } from './service-parts.ts';

type BorrowingParts = Pick<ServiceParts, 'catalog'> & { readonly access: ImageAccess };

/**
 * Does a work that changes the last of the images `below`, and with it what those above it show; all get another
 * generation. The last one is marked until the work is done or undone; `work` is told whether an earlier one was cut.
 * Faults `image-has-dependents`, `image-protected`, `image-locked`, `image-in-use`.
 */
export async function borrowLayers(
  parts: BorrowingParts,
  layers: { readonly overlayId: string; readonly below: readonly string[] },
  work: (mend: boolean) => Promise<unknown>,
): Promise<void> {
  const { access, catalog } = parts;
  const { overlayId, below } = layers;
  const [id, ...deeper] = below;
  if (id === undefined) return;
  access.admit(id, undefined, { changes: true });
  await requireUnprotected(catalog, id);
  using visit = await access.enter(id, { changes: false, signal: undefined });
  await access.lend(visit, async () => {
    await requireOneDependent(parts, { id, overlayId });
    await catalog.reserveGenerations(id, { jump: true });
    if (deeper.length > 0) await borrowLayers(parts, { overlayId: id, below: deeper }, work);
    else await whileMarked(parts, id, work);
  });
  await visit.learn();
}

async function requireOneDependent(
  { catalog }: BorrowingParts,
  { id, overlayId }: { readonly id: string; readonly overlayId: string },
): Promise<void> {
  const dependents = await catalog.listDependents(id);
  if (dependents.length === 1 && dependents[0]?.id === overlayId) return;
  const record = await catalog.findImage(id);
  throw new Fault('image-has-dependents', { imageId: id, name: record?.name, dependents });
}

/** What a cut commit leaves unmended stays so until the next one, or until nobody stands on the image any more. */
async function whileMarked(
  { catalog }: BorrowingParts,
  id: string,
  work: (mend: boolean) => Promise<unknown>,
): Promise<void> {
  const before = await catalog.findImage(id);
  const wasCut = before?.structural !== undefined;
  await catalog.markStructural(id, 'commit');
  try {
    await work(wasCut);
  } catch (error) {
    if (!wasCut && !leavesImageUnknown(error, { changes: true })) await catalog.clearStructural(id, []);
    throw error;
  }
  await catalog.clearStructural(id, []);
}
