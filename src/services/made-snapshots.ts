// Snapshots that a request with a key has made without living to say so.

import { Fault } from '../base/fault.ts';
import type { SettledKey, WorkTrace } from '../catalog/catalog.ts';
import type { EngineHandle } from '../pool/engine-pool.ts';
import type { SnapshotDescription } from '../pool/protocol.ts';
import type { ServiceParts } from './service-parts.ts';

/** The keys of the requests whose snapshot is in the file of an image that was just mended, with what they have made. */
export async function keysOfMade(
  parts: Pick<ServiceParts, 'catalog'>,
  handle: EngineHandle,
): Promise<readonly SettledKey[]> {
  const { imageId } = handle;
  const keys: SettledKey[] = [];
  for (const { id, subject } of await parts.catalog.idempotency.listUnsettled(imageId)) {
    if (subject?.snapshotId === undefined) continue;
    const snapshot = await findReadable(handle, subject.snapshotId);
    if (snapshot === undefined || !isMadeAs(snapshot, subject)) continue;
    keys.push({ id, outcome: { kind: 'snapshot', imageId, snapshot } });
  }
  return keys;
}

/** An image whose snapshots are too broken to be found is opened all the same, so that it can be checked. */
async function findReadable(handle: EngineHandle, snapshot: string): Promise<SnapshotDescription | undefined> {
  try {
    return (await handle.call('findSnapshot', { snapshot }, { signal: undefined })).found?.snapshot;
  } catch (error) {
    if (error instanceof Fault && error.kind === 'corrupt') return undefined;
    throw error;
  }
}

/** Whether a snapshot is the one that was to be made: an id that was not used is given to the next one. */
export function isMadeAs(snapshot: SnapshotDescription, trace: WorkTrace): boolean {
  return snapshot.id === trace.snapshotId && snapshot.name === trace.snapshotName;
}
