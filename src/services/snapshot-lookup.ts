// Finds a snapshot of an open image by what a client calls it.

import { Fault } from '../base/fault.ts';
import type { SnapshotDescription } from '../pool/protocol.ts';
import type { Visit } from './visit.ts';

/** By id in the file or by name, the id first. Faults `snapshot-not-found`. */
export async function findSnapshot(visit: Visit, snapshot: string): Promise<SnapshotDescription> {
  const { found } = await visit.call('findSnapshot', { snapshot });
  if (found === undefined) throw new Fault('snapshot-not-found', { imageId: visit.imageId, snapshot });
  return found.snapshot;
}

/** By id alone; undefined without such a snapshot. */
export async function snapshotWithId(visit: Visit, id: string): Promise<SnapshotDescription | undefined> {
  const { found } = await visit.call('findSnapshot', { snapshot: id });
  return found?.snapshot.id === id ? found.snapshot : undefined;
}
