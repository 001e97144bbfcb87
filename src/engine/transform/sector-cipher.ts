// Sectors of 512 bytes to noise and back, in place.

import { assert } from '../../base/assert.ts';
import { sectorSize } from '../../base/units.ts';

/** A key at work. Whole sectors only; `firstSector` numbers the first of them. */
export interface SectorCipher {
  encrypt(sectors: Uint8Array, firstSector: number): void;
  decrypt(sectors: Uint8Array, firstSector: number): void;
}

/** Fills one block a sector with what makes equal sectors differ. */
export type SectorTweak = (firstSector: number, count: number) => Uint8Array;

/** How many sectors these bytes are. */
export function sectorsIn(bytes: Uint8Array): number {
  assert(bytes.length % sectorSize === 0, 'ciphers work on whole sectors');
  return bytes.length / sectorSize;
}
