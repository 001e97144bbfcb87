// Which scope each operation asks for: the one table that tokens are judged by and that the document shows.

import type { Demand } from '../src/http/authentication.ts';

const free = ['getWelcome', 'getLiveness', 'getReadiness', 'getOpenApi', 'listProblems', 'getProblem'] as const;

const read = [
  'getServiceInfo',
  'getMetrics',
  'getUsage',
  'listImages',
  'getImage',
  'getImageInfo',
  'getChain',
  // A repair asks for more: see its route.
  'checkImage',
  'compareImages',
  'measureImage',
  'readImageData',
  'listExtents',
  'listChanges',
  'digestImage',
  'exportImage',
  'listSnapshots',
  'getSnapshot',
  'readSnapshotData',
  'listSnapshotExtents',
  'readVmState',
  'listBitmaps',
  'getBitmap',
  'listDirtyExtents',
  'listLeases',
  'listJobs',
  'getJob',
] as const;

const write = [
  'createImage',
  'copyImage',
  'compactImage',
  'updateImage',
  'deleteImage',
  'resizeImage',
  'amendImage',
  'emptyImage',
  'commitImage',
  'rebaseImage',
  'flattenImage',
  'updateImageRuntime',
  'unlockImage',
  'lockImage',
  'detachImage',
  'attachImage',
  'writeImageData',
  'zeroImageData',
  'discardImageData',
  'flushImage',
  'importImage',
  'createSnapshot',
  'deleteSnapshot',
  'revertSnapshot',
  'writeVmState',
  'createBitmap',
  'updateBitmap',
  'deleteBitmap',
  'clearBitmap',
  'mergeBitmaps',
  'acquireLease',
  'renewLease',
  'releaseLease',
  'cancelJob',
] as const;

/** What takes something away from somebody else. */
const admin = ['breakLease'] as const;

const demands: ReadonlyMap<string, Demand> = new Map<string, Demand>([
  ...free.map((operation) => [operation, 'free'] as const),
  ...read.map((operation) => [operation, 'read'] as const),
  ...write.map((operation) => [operation, 'write'] as const),
  ...admin.map((operation) => [operation, 'admin'] as const),
]);

/** What an operation asks for; one without a row is for nobody but admins. */
export function demandOf(operation: string | undefined): Demand {
  return (operation === undefined ? undefined : demands.get(operation)) ?? 'admin';
}

/** Whether an operation has its row. */
export function hasDemand(operation: string): boolean {
  return demands.has(operation);
}
