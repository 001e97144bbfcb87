// Before an L2 table is changed it must be there and be ours alone (MAP-08, T03, ORD-05).

import { assert } from '../../base/assert.ts';
import { clusterAt } from '../allocation/refcount-growth.ts';
import { viewOf } from '../format/big-endian.ts';
import { entryOffset, ownedBit } from '../format/l1-entry.ts';
import { hostCluster, hostOffset } from '../format/offsets.ts';
import type { HostOffset } from '../format/offsets.ts';
import type { WriteParts } from '../image-parts.ts';
import { isOwnedPlace, readEntry, writeEntry } from './l2-entries.ts';

/**
 * The L2 table of a slot, made if it is not there, copied if it is shared. The slot reaches the disk after the table
 * (see `WriteOrder`); a shared table's reference is dropped with the next flush.
 */
export function ensureOwnTable(parts: WriteParts, l1Index: number): HostOffset {
  const { mapping, overlap, geometry, file } = parts;
  assert(l1Index < mapping.l1Entries, 'the L1 table covers the disk');
  const before = mapping.l2Table(l1Index);
  if (before !== undefined && mapping.ownsL2Table(l1Index)) {
    overlap.admitActiveTable(before);
    return before;
  }
  const bytes = new Uint8Array(geometry.clusterSize);
  if (before !== undefined) {
    readTable(parts, before, bytes);
    disownShared(parts, bytes);
  }
  const run = parts.allocator.allocateUpTo(1);
  const table = hostOffset(run.first * geometry.clusterSize);
  try {
    file.writeAt(table, bytes);
  } catch (error) {
    parts.allocator.undo(run);
    throw error;
  }
  // What the cache still knows of this place belonged to a table that is gone (T47).
  parts.mappingCache.forget(table, geometry.clusterSize);
  overlap.claim(run, 'activeL2');
  mapping.setL2Table(l1Index, { offset: table, owned: true });
  if (before === undefined) return table;
  const old = { first: clusterAt(before, geometry), count: 1 };
  overlap.release(old, 'activeL2');
  parts.order.drop(old, { punch: false });
  return table;
}

/** A table as the cache has it: slices that were changed are newer than the file. */
function readTable(parts: WriteParts, table: HostOffset, target: Uint8Array): void {
  const { mapping, geometry } = parts;
  let at = 0;
  while (at < target.length) {
    const { bytes } = mapping.slice(table, at / geometry.l2EntrySize);
    target.set(bytes, at);
    at += bytes.length;
  }
}

/**
 * A shared table may hold flags that are older than the sharing. Believed, they would let a write into a cluster that a
 * snapshot reads: in the copy only a refcount of 1 keeps the flag (MAP-04, T01).
 */
function disownShared(parts: WriteParts, table: Uint8Array): void {
  const { geometry, refcounts } = parts;
  // Clusters of a data file are never shared.
  if (geometry.externalData) return;
  const view = viewOf(table);
  for (let index = 0; index < geometry.l2Entries; index += 1) {
    const entry = readEntry(view, geometry, index);
    const offset = entryOffset(entry.high, entry.low);
    // A broken place is met, and told, by whoever asks for its cluster.
    if (!isOwnedPlace(entry, geometry) || offset % geometry.clusterSize !== 0) continue;
    if (refcounts.get(hostCluster(offset / geometry.clusterSize)) === 1) continue;
    writeEntry(view, geometry, index, { ...entry, high: (entry.high & ~ownedBit) >>> 0 });
  }
}
