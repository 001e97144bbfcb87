// Failures that end an open image, and what they make of its record.

import type { FaultCode } from '../base/fault-codes.ts';
import { Fault } from '../base/fault.ts';
import type { ImageRecord } from '../catalog/catalog.ts';
import { closeImage, learn } from './opening.ts';
import type { Opening, OpeningParts } from './opening.ts';

const losses: readonly FaultCode[] = ['engine-lost', 'image-failed'];

/**
 * Whether nobody knows any more what there is of the image, so that it must be opened again: its thread has lost it, or
 * the disk has failed a change. (After a failed sync the system may call the next one a success, without the bytes.)
 */
export function leavesImageUnknown(error: unknown, verb: { readonly changes: boolean }): error is Fault {
  if (!(error instanceof Fault)) return false;
  return losses.includes(error.code) || (verb.changes && leavesDoubts(error));
}

/** Whether the disk has failed a change: what was not flushed may be there or not. */
export function leavesDoubts(error: unknown): boolean {
  return error instanceof Fault && (error.code === 'io-error' || error.context['diskFailed'] === true);
}

/** Another write epoch, where the disk has failed a change: nobody knows what it has kept of what was not flushed. */
export function countDoubt(
  { doubts }: { readonly doubts: Map<string, number> },
  imageId: string,
  error: unknown,
): void {
  if (leavesDoubts(error)) doubts.set(imageId, (doubts.get(imageId) ?? 0) + 1);
}

/** See {@link closeImage}; an image that could not be closed as it should have been is verified before anybody gets in again. */
export async function closeOrDoubt(
  parts: OpeningParts & { readonly doubts: Map<string, number> },
  opening: Opening,
): Promise<void> {
  const { record, writable } = opening;
  try {
    await closeImage(parts, opening);
  } catch (error) {
    if (writable && leavesDoubts(error)) {
      countDoubt(parts, record.id, error);
      await markDoubtful(parts, record.id);
    }
    throw error;
  }
}

/** What to do about an image that was given up. */
export async function settleLoss(parts: OpeningParts, imageId: string, lost: Fault): Promise<void> {
  if (leavesDoubts(lost)) await markDoubtful(parts, imageId);
  await failIfBroken(parts, imageId, lost);
}

/** An image whose disk failed a change is verified by a repair before anybody gets in again. */
async function markDoubtful(parts: OpeningParts, imageId: string): Promise<void> {
  const record = await parts.catalog.findImage(imageId);
  if (record !== undefined && record.structural === undefined) await parts.catalog.markStructural(imageId, 'repair');
}

/**
 * The record after an error: where a caller has met corruption, the open file says so by now, and everybody is told
 * (CHK-17). A blob that cannot be unpacked spoils its own bytes only.
 */
export async function recordAfter(parts: OpeningParts, opening: Opening, error: unknown): Promise<ImageRecord> {
  const { record, handle, writable } = opening;
  if (!(error instanceof Fault) || error.kind !== 'corrupt' || error.code === 'compressed-data-invalid') return record;
  return writable && record.facts?.corrupt === false ? learn(parts, handle, record) : record;
}

/** A broken assertion inside an image ends it: whatever is in the file, nobody is to make it worse. */
export async function failIfBroken(parts: OpeningParts, imageId: string, error: unknown): Promise<void> {
  if (!(error instanceof Fault) || error.code !== 'image-failed') return;
  const { reason } = error.context;
  // Without a reason the image was gone before the call came.
  if (typeof reason !== 'string') return;
  await parts.catalog.failImage(imageId, { reason, nowMs: parts.clock() });
}
