// Where the cells of a tracked disk lie in its bytes: the first sector of every stride holds a value, the rest is filling.

import assert from 'node:assert/strict';

import { sectorSize } from '../../src/base/units.ts';

/** A shape of images for concurrent requests. All in bytes. */
export interface CellLayout {
  readonly clusterSize: number;
  /** From one cell to the next: a multiple of a sector. */
  readonly stride: number;
  readonly cellCount: number;
  /** Whether nothing lies between the cells. */
  readonly isSparse: boolean;
  /** How many cells one change reaches over at most. */
  readonly reach: { readonly write: number; readonly zero: number; readonly discard: number };
}

/** Bytes of cells with these values; a value of 0 is zeroes all over. */
export function bytesOf({ stride, isSparse }: CellLayout, values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * stride);
  for (const [index, value] of values.entries()) {
    const at = index * stride;
    if (value === 0) continue;
    for (let word = at; word < at + sectorSize; word += 4) bytes.writeUInt32LE(value, word);
    if (!isSparse) bytes.fill(filling, at + sectorSize, at + stride);
  }
  return bytes;
}

/** The values of the cells in these bytes; fails when a sector is neither one nor the other. */
export function valuesIn({ stride }: CellLayout, bytes: Buffer): readonly number[] {
  assert.equal(bytes.length % stride, 0, 'bytes of whole cells');
  return Array.from({ length: bytes.length / stride }, (_, index) => {
    const sector = bytes.subarray(index * stride, index * stride + sectorSize);
    const value = sector.readUInt32LE(0);
    for (let at = 0; at < sectorSize; at += 4) assert.equal(sector.readUInt32LE(at), value, 'a sector is of one write');
    return value;
  });
}

/** The cells of `[from, to)` that lie together in clusters: no more is promised to change at once. */
export function* togetherIn(
  { clusterSize, stride }: CellLayout,
  span: { readonly from: number; readonly to: number },
): Generator<{ readonly from: number; readonly to: number }> {
  const cellsPerCluster = Math.max(1, Math.floor(clusterSize / stride));
  for (let { from } = span; from < span.to;) {
    const to = Math.min(span.to, (Math.floor(from / cellsPerCluster) + 1) * cellsPerCluster);
    yield { from, to };
    from = to;
  }
}

const filling = 0xf1;
