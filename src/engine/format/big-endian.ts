// Reading and writing the format's big-endian integers as safe numbers.

import { assert } from '../../base/assert.ts';
import { Fault } from '../../base/fault.ts';
import { decimalOf, highHalf, isSafePair, joinHalves, lowHalf } from '../../base/integers.ts';
import type { Mask64 } from './features.ts';
import { virtualSizeMax } from './offsets.ts';

/** A view over exactly the given bytes. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Reads an offset, size or count; 2^53 or more is the fault `number-too-large` naming `field`. */
export function readUint64(view: DataView, at: number, field: string): number {
  const high = view.getUint32(at);
  if (!isSafePair(high)) throw new Fault('number-too-large', { field });
  return joinHalves(high, view.getUint32(at + 4));
}

/** Reads the size of a disk in bytes, below 8 PiB = 2^53; more is the fault `virtual-size-too-large`. */
export function readVirtualSize(view: DataView, at: number): number {
  const high = view.getUint32(at);
  const low = view.getUint32(at + 4);
  const size = joinHalves(high, low);
  if (!Number.isSafeInteger(size)) {
    throw new Fault('virtual-size-too-large', { size: decimalOf(high, low), sizeMax: virtualSizeMax });
  }
  return size;
}

/** Reads an opaque 64-bit value. */
export function readMask64(view: DataView, at: number): Mask64 {
  return { high: view.getUint32(at), low: view.getUint32(at + 4) };
}

export function writeUint64(view: DataView, at: number, value: number): void {
  assert(Number.isSafeInteger(value) && value >= 0, 'a written number is a safe whole number');
  writeHalves(view, at, value);
}

/** Writes the size of a disk in bytes, below 8 PiB = 2^53. */
export function writeVirtualSize(view: DataView, at: number, size: number): void {
  assert(Number.isSafeInteger(size) && size >= 0, 'a disk has less than 8 PiB');
  writeHalves(view, at, size);
}

function writeHalves(view: DataView, at: number, value: number): void {
  view.setUint32(at, highHalf(value));
  view.setUint32(at + 4, lowHalf(value));
}

export function writeMask64(view: DataView, at: number, mask: Mask64): void {
  view.setUint32(at, mask.high);
  view.setUint32(at + 4, mask.low);
}
