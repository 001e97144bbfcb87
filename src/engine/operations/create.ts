// Writes a whole new image into an empty file: places by arithmetic, everything else before the header.

import { assert } from '../../base/assert.ts';
import { Fault } from '../../base/fault.ts';
import { divideUp } from '../../base/integers.ts';
import { MiB, sectorSize } from '../../base/units.ts';
import type { ByteFile } from '../file/byte-file.ts';
import type { EncryptionMethod } from '../format/header.ts';
import { guestOffset, hostOffset } from '../format/offsets.ts';
import { EncryptedData } from '../guest-data.ts';
import { judgeSpec, preallocationOf } from './create-rules.ts';
import type { NewImage } from './create-rules.ts';
import type { CreateSpec, NewEncryption } from './create-spec.ts';
import { encodeNewHeader } from './new-header.ts';
import { fillPointers, fillRefcounts, fillRefcountTable, layoutOf } from './sequential-layout.ts';
import type { SequentialLayout } from './sequential-layout.ts';
import { stepLengthMax } from './steps.ts';
import type { Steps } from './steps.ts';
import { cipherOf } from './unlock.ts';

/** How much one step reserves: no byte of it is touched, but the file system takes its time. */
const reserveLengthMax = 64 * MiB;

/** How much one write of tables or zeroes brings. */
const pieceLengthMax = 1 * MiB;

/** Bulk writing starts write-back and waits for the disk so often, so that the last flush stays short. */
const writeBackInterval = 8 * MiB;
const flushInterval = 64 * MiB;

/**
 * Makes an image in `file`, and its data in `dataFile` if the spec wants one; both are empty. Until the last step the file
 * has no magic and is no image to anybody; after it, the image is durable. A cancelled or failed run leaves a file without
 * a header: whoever made it removes both.
 * Faults before the first write: `invalid-geometry`, `unsupported-option` {option, value, reason}, `header-full`.
 */
export function* createImage(file: ByteFile, spec: CreateSpec, dataFile?: ByteFile): Steps<void> {
  assert(file.size === 0, 'an image is made in an empty file');
  assert((dataFile === undefined) === (spec.dataFile === undefined), 'a data file is given if it is wanted');
  assert((dataFile?.size ?? 0) === 0, 'data begins in an empty file');
  const image = judgeSpec(spec);
  const layout = placesOf(image, spec);
  const encryptionMethod = methodOf(spec.encryption);
  const header = encodeNewHeader({ ...spec, ...image, encryptionMethod }, layout);
  const areas = [...areasOf(image, layout, { spec, dataFile })];
  const total = areas.reduce((sum, area) => sum + area.length, 0);

  let done = 0;
  dataFile?.resize(image.virtualSize);
  for (const area of areas) {
    for (let at = 0; at < area.length;) {
      at += area.write(area.file ?? file, at);
      yield { done: done + at, total };
    }
    done += area.length;
  }
  file.resize(lengthOf(layout));
  dataFile?.flush();

  // The header is what makes the file an image, so it comes last (write order, line 4): the sector with the magic behind
  // all else, as only one sector is written whole or not at all.
  if (header.length > sectorSize) file.writeAt(hostOffset(sectorSize), header.subarray(sectorSize));
  file.flush();
  file.writeAt(hostOffset(0), header.subarray(0, sectorSize));
  file.flush();
}

/** Without preallocation there are no L2 tables at all (CRE-05a); with it, all of them, and every cluster. */
function placesOf(image: NewImage, spec: CreateSpec): SequentialLayout {
  const { geometry, virtualSize, l1Entries } = image;
  const preallocated = preallocationOf(spec) !== 'off';
  const layout = layoutOf(geometry, {
    l1Entries,
    l2Tables: preallocated ? l1Entries : 0,
    dataClusters: preallocated && !geometry.externalData ? divideUp(virtualSize, geometry.clusterSize) : 0,
    luksLength: spec.encryption?.format === 'luks' ? spec.encryption.area.length : 0,
  });
  if (layout !== undefined) return layout;
  throw new Fault('invalid-geometry', {
    option: preallocated ? 'preallocation' : 'virtualSize',
    value: preallocated ? spec.preallocation : virtualSize,
    reason: 'the image would pass the limits of its refcount table: use larger clusters or narrower refcounts',
  });
}

/** An image without data ends with its L1 table, inside a cluster (FMT-14). */
function lengthOf(layout: SequentialLayout): number {
  const clustersEnd = layout.clusters * layout.clusterSize;
  return layout.dataOffset === clustersEnd && layout.l2Tables === 0
    ? layout.l1Offset + layout.l1Entries * 8
    : clustersEnd;
}

/** A part of the file that is made in pieces. */
interface Area {
  readonly length: number;
  /** Left out: the image file. */
  readonly file?: ByteFile | undefined;
  /** Makes the piece at `at` (bytes from the start of the area) and tells how long it was; one step. */
  readonly write: (file: ByteFile, at: number) => number;
}

/** The parts in the order of making: first what may find the disk full. */
function* areasOf(
  image: NewImage,
  layout: SequentialLayout,
  wish: { readonly spec: CreateSpec; readonly dataFile: ByteFile | undefined },
): Generator<Area> {
  const { geometry, virtualSize } = image;
  const { spec, dataFile: file } = wish;
  const mappedLength = layout.l2Tables === 0 ? 0 : virtualSize;
  const dataLength = file === undefined ? layout.dataClusters * layout.clusterSize : mappedLength;
  const dataOffset = file === undefined ? layout.dataOffset : 0;
  if (spec.preallocation === 'falloc') yield { ...reserved(dataOffset, dataLength), file };
  if (spec.encryption !== undefined) yield { ...secretZeroes(spec.encryption, dataOffset, dataLength), file };
  else if (spec.preallocation === 'full') yield { ...zeroes(dataOffset, dataLength), file };
  if (spec.encryption?.format === 'luks') yield copied(layout.luksOffset, spec.encryption.area);

  // Only the used front of each table is written: behind it, a new file has zeroes already.
  yield table(layout.refcountTableOffset, layout.refcountBlocks * 8, (at, target) => {
    fillRefcountTable(layout, at / 8, target);
  });
  const refcountsLength = divideUp(layout.clusters * geometry.refcountBits, 8);
  yield table(layout.refcountBlocksOffset, refcountsLength, (from, target) => {
    fillRefcounts(target, { from, refcountOrder: geometry.refcountOrder, used: layout.clusters });
  });
  const { clusterSize, l2EntrySize } = geometry;
  yield table(layout.l1Offset, layout.l2Tables * 8, (at, target) => {
    fillRow(target, { start: layout.l2Offset + (at / 8) * clusterSize, entrySize: 8, clusterSize });
  });
  // Without L2 tables no cluster is mapped; with them all are, in the data file at their guest offsets (DAT-01).
  const mapped = layout.l2Tables === 0 ? 0 : divideUp(virtualSize, clusterSize);
  yield table(layout.l2Offset, mapped * l2EntrySize, (at, target) => {
    fillRow(target, {
      start: dataOffset + (at / l2EntrySize) * clusterSize,
      entrySize: l2EntrySize,
      clusterSize,
    });
  });
}

/**
 * Fills `target` with entries that point to neighbouring clusters from `start` on. The second word of an extended entry
 * stays empty: a place without content (SUB-10).
 */
function fillRow(
  target: Uint8Array,
  row: { readonly start: number; readonly entrySize: number; readonly clusterSize: number },
): void {
  const { start, entrySize, clusterSize } = row;
  target.fill(0);
  fillPointers(target, { at: 0, count: target.length / entrySize, offset: start, clusterSize, entrySize, owned: true });
}

function table(start: number, length: number, fill: (at: number, target: Uint8Array) => void): Area {
  const piece = new Uint8Array(Math.min(length, pieceLengthMax));
  return {
    length,
    write: (file, at) => {
      const target = piece.subarray(0, Math.min(piece.length, length - at));
      fill(at, target);
      file.writeAt(hostOffset(start + at), target);
      pace(file, start, at + target.length);
      return target.length;
    },
  };
}

function reserved(start: number, length: number): Area {
  return {
    length,
    write: (file, at) => {
      const pieceLength = Math.min(reserveLengthMax, length - at);
      file.preallocate(hostOffset(start + at), pieceLength);
      return pieceLength;
    },
  };
}

function zeroes(start: number, length: number): Area {
  const piece = new Uint8Array(Math.min(length, stepLengthMax));
  return {
    length,
    write: (file, at) => {
      const source = piece.subarray(0, Math.min(piece.length, length - at));
      file.writeAt(hostOffset(start + at), source);
      pace(file, start, at + source.length);
      return source.length;
    },
  };
}

/** What was never written would be noise to the guest, so every place gets its zeroes, whatever the mode. */
function secretZeroes(encryption: NewEncryption, start: number, length: number): Area {
  const zeroesOfStep = new Uint8Array(Math.min(length, stepLengthMax));
  return {
    length,
    write: (file, at) => {
      const data = new EncryptedData(file, encryption.format === 'luks' ? 'host' : 'guest');
      data.unlock(cipherOf(encryption));
      const source = zeroesOfStep.subarray(0, Math.min(zeroesOfStep.length, length - at));
      data.writeAt(hostOffset(start + at), guestOffset(at), source);
      pace(file, start, at + source.length);
      return source.length;
    },
  };
}

function copied(start: number, source: Uint8Array): Area {
  return {
    length: source.length,
    write: (file, at) => {
      const piece = source.subarray(at, at + pieceLengthMax);
      file.writeAt(hostOffset(start + at), piece);
      return piece.length;
    },
  };
}

function methodOf(encryption: NewEncryption | undefined): EncryptionMethod {
  if (encryption === undefined) return 0;
  return encryption.format === 'luks' ? 2 : 1;
}

/** After every piece: `written` bytes of the area stand. Pieces divide both intervals. */
function pace(file: ByteFile, start: number, written: number): void {
  if (written % flushInterval === 0) {
    file.flush();
    return;
  }
  if (written % writeBackInterval === 0)
    file.startWriteBack(hostOffset(start + written - writeBackInterval), writeBackInterval);
}
