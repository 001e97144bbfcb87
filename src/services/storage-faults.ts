// Faults about space, with the figures that tell a client what to do.

import { Fault } from '../base/fault.ts';
import type { DataDirectory } from '../store/data-directory.ts';

/** Adds to `insufficient-storage` how much space there is; anything else is as it came. */
export async function explainStorage(directory: DataDirectory, error: unknown): Promise<unknown> {
  if (!(error instanceof Fault) || error.code !== 'insufficient-storage') return error;
  const { freeBytes } = await directory.space();
  return new Fault('insufficient-storage', {
    required: error.context['length'],
    ...error.context,
    available: freeBytes,
  });
}

/** Refuses what cannot fit before anything is made of it. Faults `insufficient-storage`. */
export async function requireSpace(directory: DataDirectory, required: number): Promise<void> {
  const { freeBytes } = await directory.space();
  if (required > freeBytes) throw new Fault('insufficient-storage', { required, available: freeBytes });
}
