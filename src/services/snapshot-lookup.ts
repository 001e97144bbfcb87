// Finds a snapshot of an open image by what a client calls it.

import { Fault } from '../base/fault.ts';
import type { SnapshotDescription } from '../pool/protocol.ts';
import type { Visit } from './visit.ts';

/** By id in the file or by name, the id first. Faults `snapshot-not-found`. */
export function requireSnapshot(
  snapshots: readonly SnapshotDescription[],
  wanted: { readonly imageId: string; readonly snapshot: string },
): SnapshotDescription {
  const { snapshot } = wanted;
  const found = snapshots.find(({ id }) => id === snapshot) ?? snapshots.find(({ name }) => name === snapshot);
  if (found === undefined) throw new Fault('snapshot-not-found', wanted);
  return found;
}

/** The same, asking the image. */
export async function findSnapshot(visit: Visit, snapshot: string): Promise<SnapshotDescription> {
  const { snapshots } = await visit.call('describe', {});
  return requireSnapshot(snapshots, { imageId: visit.imageId, snapshot });
}
