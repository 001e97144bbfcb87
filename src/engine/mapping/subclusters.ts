// Which subclusters a write touches, which bytes must be copied around it, and what the bitmap says afterwards.
//
//   subcluster   0 1 2 3 4 5 6 7 …        a allocated, z reads as zero, . neither
//   before       . z a a . a z . …
//   written            ───                 part of 4
//   in place     . z a a a a z .           copied: 4 only, its rest from what the guest saw
//   moved        . z A A A A z .           copied: from the first to the last allocated one (SUB-06)

import { assert } from '../../base/assert.ts';
import type { ByteSpan } from '../../base/byte-span.ts';
import type { Geometry } from '../format/geometry.ts';
import { subclusterCount } from '../format/geometry.ts';
import { isCompressed } from '../format/l2-entry.ts';
import { allSubclusters } from './l2-entries.ts';
import type { L2Entry } from './l2-entries.ts';

export interface SubclusterPlan {
  /** The bytes of the cluster that are written: the request and what is copied around it; offsets within the cluster. */
  readonly copied: ByteSpan;
  /** The second word of the entry afterwards. */
  readonly bits: { readonly zeroes: number; readonly allocated: number };
}

/** Plans a write of a span inside one cluster. `owned`: the entry's own place is written. */
export function planSubclusters(
  entry: L2Entry,
  geometry: Geometry,
  write: ByteSpan & { readonly owned: boolean },
): SubclusterPlan {
  assert(write.length > 0, 'something is written');
  const { subclusterSize } = geometry;
  let first = Math.floor(write.offset / subclusterSize);
  let last = Math.floor((write.offset + write.length - 1) / subclusterSize);
  if (isCompressed(entry.high)) {
    first = 0;
    last = subclusterCount - 1;
  } else if (!write.owned && entry.allocated !== 0) {
    first = Math.min(first, lowestBit(entry.allocated));
    last = Math.max(last, highestBit(entry.allocated));
  }
  const touched = bitsBetween(first, last);
  const allocated = ((isCompressed(entry.high) ? 0 : entry.allocated) | touched) >>> 0;
  const zeroes = isCompressed(entry.high) ? 0 : (entry.zeroes & ~touched) >>> 0;
  const copied = write.owned
    ? copiedInPlace(entry, geometry, write)
    : { offset: first * subclusterSize, length: (last - first + 1) * subclusterSize };
  return { copied, bits: { zeroes, allocated } };
}

/** In place only the boundary subclusters that hold nothing yet need their rest written. */
function copiedInPlace(entry: L2Entry, geometry: Geometry, write: ByteSpan): ByteSpan {
  const { subclusterSize } = geometry;
  const first = Math.floor(write.offset / subclusterSize);
  const last = Math.floor((write.offset + write.length - 1) / subclusterSize);
  const isData = (index: number): boolean => ((entry.allocated >>> index) & 1) === 1;
  const start = isData(first) ? write.offset : first * subclusterSize;
  const end = isData(last) ? write.offset + write.length : (last + 1) * subclusterSize;
  return { offset: start, length: end - start };
}

/** A word with the bits from `first` to `last` set. */
export function bitsBetween(first: number, last: number): number {
  assert(first <= last && last < subclusterCount, 'subclusters are numbered from 0 to 31');
  const upTo = last === subclusterCount - 1 ? allSubclusters : (1 << (last + 1)) - 1;
  const below = (1 << first) - 1;
  return (upTo & ~below) >>> 0;
}

function lowestBit(word: number): number {
  return 31 - Math.clz32(word & -word);
}

function highestBit(word: number): number {
  return 31 - Math.clz32(word);
}
