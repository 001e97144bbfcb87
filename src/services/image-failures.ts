// Failures that end an open image, and what they make of its record.

import type { FaultCode } from '../base/fault-codes.ts';
import { Fault } from '../base/fault.ts';
import type { OpeningParts } from './opening.ts';

const codes: readonly FaultCode[] = ['engine-lost', 'image-failed', 'io-error'];

/** Whether nobody knows any more what the thread still has of the image, so that it must be opened again. */
export function leavesImageUnknown(error: unknown): error is Fault {
  return error instanceof Fault && codes.includes(error.code);
}

/** A broken assertion inside an image ends it: whatever is in the file, nobody is to make it worse. */
export async function failIfBroken(parts: OpeningParts, imageId: string, error: unknown): Promise<void> {
  if (!(error instanceof Fault) || error.code !== 'image-failed') return;
  const { reason } = error.context;
  // Without a reason the image was gone before the call came.
  if (typeof reason !== 'string') return;
  await parts.catalog.failImage(imageId, { reason, nowMs: parts.clock() });
}
