// What a check starts from: the header of a file and what follows from it, read without touching the tables.

import { Fault } from '../../base/fault.ts';
import { divideUp } from '../../base/integers.ts';
import type { ByteFile } from '../file/byte-file.ts';
import { autoclearBits, hasBit, incompatibleBits, unknownIncompatibleBits } from '../format/features.ts';
import { viewOf } from '../format/big-endian.ts';
import { clusterBitsMax, clusterBitsMin } from '../format/geometry.ts';
import type { Geometry } from '../format/geometry.ts';
import { decodeExtensions, judgeExtensions } from '../format/header-extensions.ts';
import type { HeaderExtensions } from '../format/header-extensions.ts';
import { decodeHeader, headerGeometry, judgeTables } from '../format/header.ts';
import type { Header } from '../format/header.ts';
import { hostOffset } from '../format/offsets.ts';

/** CHK-18: QEMU counts host clusters in a signed 32-bit number. */
export const hostClustersMax = 2 ** 31 - 1;

/** `cluster_bits` is the word before it. */
const clusterBitsEnd = 24;

export interface CheckSubject {
  readonly file: ByteFile;
  readonly header: Header;
  readonly geometry: Geometry;
  readonly extensions: HeaderExtensions;
  /** Guest data lies in another file: data clusters have no refcounts here (DAT-01). */
  readonly hasDataFile: boolean;
}

/**
 * Reads the header area. Faults of the format codecs for what no check can get behind, and `feature-unknown` for
 * features whose owners a census could not know (T78).
 */
export function readSubject(file: ByteFile): CheckSubject {
  const area = readArea(file);
  const header = decodeHeader(area);
  const bits = unknownIncompatibleBits(header.incompatible);
  if (bits.length > 0) throw new Fault('feature-unknown', { bits });
  const geometry = headerGeometry(header);
  judgeTables(header, geometry, { forCheck: true });
  return {
    file,
    header,
    geometry,
    extensions: readExtensions(header, geometry, area),
    hasDataFile: hasBit(header.incompatible, incompatibleBits.externalDataFile),
  };
}

/** The first cluster, or as much of it as there is; of a file that is no image just the beginning. */
function readArea(file: ByteFile): Uint8Array {
  const start = new Uint8Array(Math.min(2 ** clusterBitsMin, file.size));
  file.readAt(hostOffset(0), start);
  const clusterBits = start.length < clusterBitsEnd ? 0 : viewOf(start).getUint32(clusterBitsEnd - 4);
  if (clusterBits <= clusterBitsMin || clusterBits > clusterBitsMax) return start;
  const area = new Uint8Array(Math.min(2 ** clusterBits, file.size));
  file.readAt(hostOffset(0), area);
  return area;
}

function readExtensions(header: Header, geometry: Geometry, area: Uint8Array): HeaderExtensions {
  const cluster = new Uint8Array(geometry.clusterSize);
  cluster.set(area.subarray(0, geometry.clusterSize));
  const end = header.backingNameOffset === 0 ? geometry.clusterSize : header.backingNameOffset;
  const extensions = decodeExtensions(cluster, { start: header.length, end });
  judgeExtensions(extensions, {
    clusterSize: geometry.clusterSize,
    bitmapsConsistent: hasBit(header.autoclear, autoclearBits.bitmaps),
    luks: header.encryptionMethod === 2,
  });
  return extensions;
}

/** How many host clusters the file has, the last one perhaps in part. */
export function hostClusters(subject: CheckSubject): number {
  return divideUp(subject.file.size, subject.geometry.clusterSize);
}
