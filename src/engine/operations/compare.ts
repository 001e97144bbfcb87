// Whether two disks hold the same, as `qemu-img compare` judges it; what the tables say of both is not read.

import { assert } from '../../base/assert.ts';
import { MiB } from '../../base/units.ts';
import { isZeroes } from '../../base/zero-bytes.ts';
import { guestOffset } from '../format/offsets.ts';
import { askBelow } from '../layer/below.ts';
import type { Layer, LayerExtent } from '../layer/layer.ts';
import type { BackingFile } from '../layer/open-gate.ts';
import { ExtentPace } from './extent-pace.ts';
import type { Steps } from './steps.ts';

/** With which disk an image is compared, and how. */
export interface ComparisonWish {
  /** The files of the other image, itself first. Nobody changes them meanwhile. */
  readonly chain: readonly BackingFile[];
  /** Where the file of this image lies: the other one may stand on it. */
  readonly path: string;
  /** Whether sizes and allocation have to be the same, too. */
  readonly strict: boolean;
}

export interface Comparison {
  readonly identical: boolean;
  /** In bytes from the start of the disks; undefined when they are identical, or their sizes alone tell them apart. */
  readonly firstDifference: number | undefined;
}

/** One of the two disks. */
export interface ComparedDisk {
  readonly layer: Layer;
  /** Of how many files it is made. */
  readonly fileCount: number;
  /** From which depth on, counted from 0 for its own file, both disks have the same files. */
  readonly sharedFrom: number;
}

/** How much is read and compared at once, and in one step at most. */
const windowLength = 1 * MiB;

/**
 * Compares two disks up to their first difference; the rest of the longer one is to be zero. `strict`: their sizes, and
 * what the tables say of each extent, are to be the same (the block status of QEMU). Progress in bytes.
 */
export function* compare(
  one: ComparedDisk,
  other: ComparedDisk,
  { strict }: Pick<ComparisonWish, 'strict'>,
): Steps<Comparison> {
  if (strict && one.layer.size !== other.layer.size) return { identical: false, firstDifference: undefined };
  const total = Math.max(one.layer.size, other.layer.size);
  const windows = [new Uint8Array(windowLength), new Uint8Array(windowLength)] as const;
  const pace = new ExtentPace();
  for (let at = 0; at < total;) {
    const mine = stretchOf(one, at, total);
    const theirs = askBelow(() => stretchOf(other, at, total));
    let length = Math.min(mine.length, theirs.length);
    assert(length > 0, 'a comparison goes forwards');
    if (strict && mine.status !== theirs.status) return { identical: false, firstDifference: at };
    const isKnown = (mine.isZero && theirs.isZero) || (mine.isShared && theirs.isShared);
    if (!isKnown) {
      length = Math.min(length, windowLength);
      const bytes = mine.isZero ? undefined : readWindow(one, at, windows[0].subarray(0, length));
      const others = theirs.isZero ? undefined : askBelow(() => readWindow(other, at, windows[1].subarray(0, length)));
      const differsAt = firstDifference(bytes, others);
      if (differsAt !== undefined) return { identical: false, firstDifference: at + differsAt };
    }
    at += length;
    if (pace.isFullWith(isKnown ? 0 : windowLength)) yield { done: at, total };
  }
  return { identical: true, firstDifference: undefined };
}

/** What is known of a stretch before it is read. */
interface Stretch {
  readonly length: number;
  readonly isZero: boolean;
  /** Whether it comes from a file of both. */
  readonly isShared: boolean;
  /** What a strict comparison goes by. */
  readonly status: string;
}

function stretchOf({ layer, fileCount, sharedFrom }: ComparedDisk, at: number, total: number): Stretch {
  if (at >= layer.size) return { length: total - at, isZero: true, isShared: false, status: '' };
  const extent = layer.extentAt(guestOffset(at), layer.size - at);
  const isLast = at + extent.length === layer.size;
  return {
    length: extent.length,
    isZero: isZeroByTables(extent),
    isShared: extent.depth >= sharedFrom,
    status: `${statusOf(extent, fileCount)}${isLast ? ', last' : ''}`,
  };
}

function isZeroByTables(extent: LayerExtent): boolean {
  return extent.kind !== 'data' || extent.preallocated === true;
}

/**
 * The flags of QEMU's block status: data, zero, allocated, and whether there is a place. (QEMU flags the end of the lowest
 * image, too, where nothing is allocated: two chains whose extents differ behind it differ for QEMU some bytes earlier.)
 */
function statusOf(extent: LayerExtent, fileCount: number): string {
  const { kind, depth, host } = extent;
  // Where an image below has ended, QEMU takes the zeroes for allocated ones without a place.
  if (kind === 'absent' && depth < fileCount - 1) return 'zero';
  const status = kind === 'data' && extent.preallocated === true ? 'preallocated' : kind;
  return host === undefined ? status : `${status}, placed`;
}

function readWindow({ layer }: ComparedDisk, at: number, target: Uint8Array): Uint8Array {
  layer.read(guestOffset(at), target);
  return target;
}

/** The index of the first byte that differs; undefined for none. Bytes that are not there are zeroes. */
function firstDifference(one: Uint8Array | undefined, other: Uint8Array | undefined): number | undefined {
  if (one !== undefined && other !== undefined) {
    if (Buffer.compare(one, other) === 0) return undefined;
    return one.findIndex((byte, index) => byte !== other[index]);
  }
  const bytes = one ?? other;
  if (bytes === undefined || isZeroes(bytes)) return undefined;
  return bytes.findIndex((byte) => byte !== 0);
}
