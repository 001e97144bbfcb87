// Opens an image when all threads are full of others: those that nobody uses make room.

import { Fault } from '../base/fault.ts';
import type { ImageRecord } from '../catalog/catalog.ts';
import type { EngineHandle } from '../pool/engine-pool.ts';
import type { VolumeKeys } from '../pool/protocol.ts';
import type { CallerOptions } from './image-caller.ts';
import { failIfBroken } from './image-failures.ts';
import type { ImageInUseParts } from './image-in-use-parts.ts';
import { openImage } from './opening.ts';
import type { Opening } from './opening.ts';

/** See {@link openImage}; an image that breaks on the way is `failed` from then on. */
export async function openWithRoom(
  parts: Omit<ImageInUseParts<never>, 'unused'>,
  record: ImageRecord,
  options: Pick<CallerOptions, 'changes'> & { readonly earlier: readonly EngineHandle[] },
): Promise<Opening> {
  const epochOf = (): number => parts.leases.epochOf(record.id);
  const keysOf = (chain: readonly string[]): VolumeKeys => parts.keys.ofImages(chain);
  for (;;) {
    try {
      return await openImage(parts, record, { ...options, epochOf, keysOf });
    } catch (error) {
      const full = error instanceof Fault && error.code === 'engine-busy';
      if (full && (await parts.makeRoom())) continue;
      await failIfBroken(parts, record.id, error);
      throw error;
    }
  }
}
