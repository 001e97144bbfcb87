// Snapshots and bitmaps that a request with a key has made without living to say so.

import { Fault } from '../base/fault.ts';
import type { Outcome, SettledKey, WorkTrace } from '../catalog/catalog.ts';
import type { EngineHandle } from '../pool/engine-pool.ts';
import type { BitmapDescription, SnapshotDescription } from '../pool/protocol.ts';
import type { ServiceParts } from './service-parts.ts';

/**
 * The keys of the requests whose snapshot or bitmap is in the file of an image, with what they have made. Asked when an
 * image is opened that was not closed in order, before anybody can take away again what is there.
 */
export async function keysOfMade(
  parts: Pick<ServiceParts, 'catalog'>,
  handle: EngineHandle,
): Promise<readonly SettledKey[]> {
  const { imageId } = handle;
  const keys: SettledKey[] = [];
  for (const { id, subject } of await parts.catalog.idempotency.listUnsettled(imageId)) {
    const outcome = subject === undefined ? undefined : await outcomeOf(handle, subject);
    if (outcome !== undefined) keys.push({ id, outcome });
  }
  return keys;
}

async function outcomeOf(handle: EngineHandle, subject: WorkTrace): Promise<Outcome | undefined> {
  const { imageId } = handle;
  const { snapshotId, bitmapName } = subject;
  if (bitmapName !== undefined) {
    const bitmap = await findBitmap(handle, bitmapName);
    return bitmap === undefined ? undefined : { kind: 'bitmap', imageId, bitmap };
  }
  if (snapshotId === undefined) return undefined;
  const snapshot = await findReadable(handle, snapshotId);
  if (snapshot === undefined || !isMadeAs(snapshot, subject)) return undefined;
  return { kind: 'snapshot', imageId, snapshot };
}

async function findBitmap(handle: EngineHandle, bitmap: string): Promise<BitmapDescription | undefined> {
  try {
    return await handle.run('showBitmap', { bitmap }, { signal: undefined, onProgress: undefined });
  } catch (error) {
    if (error instanceof Fault && (error.kind === 'not_found' || error.kind === 'corrupt')) return undefined;
    throw error;
  }
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
