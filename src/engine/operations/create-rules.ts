// What a new image may be: the rules of the create options (CRE-01…CRE-11, LIM-01, LIM-05, LIM-07).

import { Fault } from '../../base/fault.ts';
import { alignUp, isPowerOfTwo } from '../../base/integers.ts';
import { sectorSize } from '../../base/units.ts';
import {
  clusterBitsMax,
  clusterBitsMin,
  extendedClusterBitsMin,
  geometryOf,
  l1EntriesFor,
  refcountOrderMax,
} from '../format/geometry.ts';
import type { Geometry } from '../format/geometry.ts';
import { bytesOf } from '../format/header-extensions.ts';
import { backingNameLengthMax, l1EntriesMax } from '../format/header.ts';
import { virtualSizeMax } from '../format/offsets.ts';
import type { CreateSpec } from './create-spec.ts';

/** What a judged spec comes to; `virtualSize` in bytes, rounded up to sectors (CRE-01). */
export interface NewImage {
  readonly geometry: Geometry;
  readonly virtualSize: number;
  readonly l1Entries: number;
}

/** Judges a spec. Faults `invalid-geometry`, `unsupported-option`, both {option, value, reason}. */
export function judgeSpec(spec: CreateSpec): NewImage {
  const geometry = judgeGeometry(spec);
  judgeVersion(spec);
  judgeBacking(spec);
  judgeDataFile(spec);

  if (!Number.isInteger(spec.virtualSize) || spec.virtualSize < 0 || spec.virtualSize > virtualSizeMax) {
    throw invalid('virtualSize', spec.virtualSize, `must be from 0 to ${virtualSizeMax} bytes`);
  }
  const virtualSize = alignUp(spec.virtualSize, sectorSize);
  const l1Entries = l1EntriesFor(geometry, virtualSize);
  if (l1Entries > l1EntriesMax) {
    const max = l1EntriesMax * geometry.l2Span;
    throw invalid('virtualSize', virtualSize, `must be at most ${max} bytes with clusters of ${geometry.clusterSize}`);
  }
  return { geometry, virtualSize, l1Entries };
}

function judgeGeometry(spec: CreateSpec): Geometry {
  const { clusterSize, refcountBits, extendedL2 } = spec;
  if (!isPowerOfTwo(clusterSize) || clusterSize < 2 ** clusterBitsMin || clusterSize > 2 ** clusterBitsMax) {
    throw invalid('clusterSize', clusterSize, 'must be a power of two from 512 to 2097152');
  }
  if (!isPowerOfTwo(refcountBits) || refcountBits > 2 ** refcountOrderMax) {
    throw unsupported('refcountBits', refcountBits, 'must be 1, 2, 4, 8, 16, 32 or 64');
  }
  const clusterBits = Math.log2(clusterSize);
  if (extendedL2 && clusterBits < extendedClusterBitsMin) {
    throw invalid('extendedL2', true, 'needs clusters of 16384 bytes or more');
  }
  const externalData = spec.dataFile !== undefined;
  return geometryOf({ clusterBits, extendedL2, refcountOrder: Math.log2(refcountBits), externalData });
}

/** Version 2 has no feature bits and one refcount width (CRE-02). */
function judgeVersion(spec: CreateSpec): void {
  if (spec.compat === '1.1') return;
  const needed = 'needs compat 1.1';
  if (spec.lazyRefcounts) throw unsupported('lazyRefcounts', true, needed);
  if (spec.refcountBits !== 16) throw unsupported('refcountBits', spec.refcountBits, `${needed} unless it is 16`);
  if (spec.extendedL2) throw unsupported('extendedL2', true, needed);
  if (spec.compressionType !== 'zlib') throw unsupported('compressionType', spec.compressionType, needed);
}

function judgeBacking(spec: CreateSpec): void {
  if (spec.backing === undefined) return;
  const { fileName } = spec.backing;
  const length = bytesOf(fileName).length;
  if (length === 0 || length > backingNameLengthMax) {
    throw invalid('backing', fileName, `the name must have 1 to ${backingNameLengthMax} bytes`);
  }
  // SUB-10: only an extended entry can have a place and still let the file below show through.
  if (spec.preallocation !== 'off' && !spec.extendedL2) {
    throw unsupported('preallocation', spec.preallocation, 'needs extendedL2 where there is a backing image');
  }
}

/** CRE-10, CRE-11. */
function judgeDataFile(spec: CreateSpec): void {
  if (spec.dataFile === undefined) return;
  if (spec.compat !== '1.1') throw unsupported('dataFile', spec.dataFile.fileName, 'needs compat 1.1');
  if (spec.dataFile.raw && spec.backing !== undefined) {
    throw unsupported('dataFile', 'raw', 'a raw data file cannot have a backing file below it');
  }
}

/** What is preallocated: all of a raw data file is data to the tables (DAT-04). */
export function preallocationOf(spec: CreateSpec): CreateSpec['preallocation'] {
  return spec.preallocation === 'off' && spec.dataFile?.raw === true ? 'metadata' : spec.preallocation;
}

function invalid(option: keyof CreateSpec, value: unknown, reason: string): Fault {
  return new Fault('invalid-geometry', { option, value, reason });
}

function unsupported(option: keyof CreateSpec, value: unknown, reason: string): Fault {
  return new Fault('unsupported-option', { option, value, reason });
}
