// How large a new image file will be at most, without making it: qemu-img measure (OPS-31, appendix A of the rows).
//
//   luks area | header | L2 tables | L1 table | refcount table and blocks | data
//
// Both numbers count the tables of a full disk, so `required` is an upper bound too (T84).

import { assert } from '../../base/assert.ts';
import { Fault } from '../../base/fault.ts';
import { alignUp, countMax, divideUp } from '../../base/integers.ts';
import { bitmapEntryLength } from '../format/bitmap-directory.ts';
import type { Geometry } from '../format/geometry.ts';
import { guestOffset } from '../format/offsets.ts';
import type { ImageParts } from '../image-parts.ts';
import type { Layer } from '../layer/layer.ts';
import { luksAreaLengthOf } from '../transform/new-luks.ts';
import type { LuksCipher } from '../transform/new-luks.ts';
import { judgeSpec } from './create-rules.ts';
import type { CreateSpec } from './create-spec.ts';
import { ExtentPace } from './extent-pace.ts';
import type { Steps } from './steps.ts';

/** The file that is thought of; its size is asked for apart. */
export interface MeasureSpec extends Omit<CreateSpec, 'virtualSize' | 'encryption'> {
  /** Undefined without LUKS; the old AES scheme takes no place. */
  readonly luks: LuksCipher | undefined;
}

/** In bytes, upper bounds. */
export interface MeasuredSize {
  /** With the data that is there now. */
  readonly required: number;
  /** When the guest has written everything. */
  readonly fullyAllocated: number;
  /** What the persistent bitmaps of the source would add; left out where source or target cannot hold any. */
  readonly bitmaps?: number;
}

/**
 * Measures a new, empty image. Faults `invalid-geometry` and `unsupported-option` as making it would, and
 * `invalid-geometry` also where the full file would pass 2^53 bytes.
 */
export function measureNew(spec: MeasureSpec, virtualSize: number): MeasuredSize {
  return sizesOf(spec, virtualSize, 0);
}

/**
 * Measures a copy of an image: of all that `layer`, its live disk or a snapshot, shows with the layers below it. Faults
 * like {@link measureNew}.
 */
export function* measureImage(
  parts: ImageParts,
  options: { readonly layer: Layer; readonly spec: MeasureSpec },
): Steps<MeasuredSize> {
  const { layer, spec } = options;
  const sizes = yield* measureLayer(spec, layer);
  if (parts.version === 2 || spec.compat === '0.10') return sizes;
  return { ...sizes, bitmaps: measureBitmaps(parts, spec.clusterSize) };
}

function* measureLayer(spec: MeasureSpec, layer: Layer): Steps<MeasuredSize> {
  const { geometry } = judgeSpec({ ...spec, virtualSize: layer.size });
  // Nobody knows what the new backing file holds of it: the worst is that it holds nothing.
  if (spec.backing !== undefined) return sizesOf(spec, layer.size, alignUp(layer.size, geometry.clusterSize));
  return sizesOf(spec, layer.size, yield* dataLength(layer, geometry.clusterSize));
}

/** The clusters that data touches, in bytes; progress in guest bytes. */
function* dataLength(layer: Layer, clusterSize: number): Steps<number> {
  let length = 0;
  const pace = new ExtentPace();
  for (let offset = 0; offset < layer.size;) {
    const extent = layer.extentAt(guestOffset(offset), layer.size - offset);
    assert(extent.length > 0 && extent.length <= layer.size - offset, 'an extent makes progress inside its layer');
    let end = offset + extent.length;
    if (extent.kind === 'data' && extent.preallocated !== true) {
      // What is left of a cluster that data has touched is counted with it, whatever it is.
      end = alignUp(end, clusterSize);
      length += end - (offset - (offset % clusterSize));
    }
    offset = end;
    if (pace.isFullWith(0)) yield { done: Math.min(offset, layer.size), total: layer.size };
  }
  return length;
}

function sizesOf(spec: MeasureSpec, size: number, data: number): MeasuredSize {
  const { geometry } = judgeSpec({ ...spec, virtualSize: size });
  const { clusterSize } = geometry;
  const virtualSize = alignUp(size, clusterSize);
  const fullyAllocated = luksLength(spec.luks, clusterSize) + tablesLength(geometry, virtualSize) + virtualSize;
  if (fullyAllocated > countMax) {
    const reason = `a full image would be larger than ${countMax} bytes`;
    throw new Fault('invalid-geometry', { option: 'virtualSize', value: size, reason });
  }
  const all = spec.preallocation === 'falloc' || spec.preallocation === 'full';
  return { required: fullyAllocated - virtualSize + (all ? virtualSize : data), fullyAllocated };
}

/** Header, L1 and L2 tables and refcount structures of a full disk, as QEMU counts them: in whole clusters. */
function tablesLength(geometry: Geometry, virtualSize: number): number {
  const { clusterSize, l2Entries } = geometry;
  const dataClusters = virtualSize / clusterSize;
  const l2Tables = divideUp(dataClusters, l2Entries);
  const l1Clusters = divideUp(l2Tables * 8, clusterSize);
  const counted = 1 + l2Tables + l1Clusters;
  return (counted + refcountClusters(geometry, counted + dataClusters)) * clusterSize;
}

/** Clusters of the refcount structures that count `clusters` and themselves (appendix A). */
function refcountClusters(geometry: Geometry, clusters: number): number {
  const { clusterSize, refcountsPerBlock } = geometry;
  let blocks = 0;
  let table = 0;
  for (;;) {
    const blocksNeeded = divideUp(clusters + table + blocks, refcountsPerBlock);
    const tableNeeded = divideUp(blocksNeeded * 8, clusterSize);
    if (blocksNeeded === blocks && tableNeeded === table) return blocks + table;
    blocks = blocksNeeded;
    table = tableNeeded;
  }
}

function luksLength(cipher: LuksCipher | undefined, clusterSize: number): number {
  return cipher === undefined ? 0 : alignUp(luksAreaLengthOf(cipher), clusterSize);
}

/**
 * Bytes that the bitmaps of an image would take in another file: bits, tables and a directory. They are those of the live
 * disk, also where a snapshot is measured; inconsistent ones are nothing to copy.
 */
function measureBitmaps({ bitmaps }: ImageParts, clusterSize: number): number {
  let total = 0;
  let directoryLength = 0;
  for (const { bits, entry, inconsistent } of bitmaps.list) {
    if (inconsistent) continue;
    const clusters = divideUp(divideUp(bits, 8), clusterSize);
    total += clusters * clusterSize + alignUp(clusters * 8, clusterSize);
    directoryLength += bitmapEntryLength({ nameBytes: entry.nameBytes, extra: noExtra });
  }
  return total + alignUp(directoryLength, clusterSize);
}

/** A copy has no extra data: nobody knows any. */
const noExtra = new Uint8Array(0);
