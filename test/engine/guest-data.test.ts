// Guest data at rest: plain as it is, encrypted by sectors, whatever part of a sector is asked for.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { MemoryFile } from '../../src/engine/file/memory-file.ts';
import { guestOffset, hostOffset } from '../../src/engine/format/offsets.ts';
import { EncryptedData, PlainData } from '../../src/engine/guest-data.ts';
import type { SectorNumbering } from '../../src/engine/guest-data.ts';
import type { SectorCipher } from '../../src/engine/transform/sector-cipher.ts';
import { faultCodeOf } from '../support/faults.ts';
import { Prng } from '../support/prng.ts';

/** Adds to every byte a number of its sector and of its place, so that every mistake in either shows. */
const toyCipher: SectorCipher = {
  encrypt: (sectors, firstSector) => {
    for (let at = 0; at < sectors.length; at += 1) sectors[at] = (sectors[at] ?? 0) + maskOf(firstSector, at);
  },
  decrypt: (sectors, firstSector) => {
    for (let at = 0; at < sectors.length; at += 1) sectors[at] = (sectors[at] ?? 0) - maskOf(firstSector, at);
  },
};

function maskOf(firstSector: number, at: number): number {
  return 1 + ((firstSector + Math.floor(at / 512)) * 37 + (at % 512)) * 3;
}

const host = 0x30000;
const guest = 0x1_0000_0000;
const length = 8 * 512;

function encrypted(numbering: SectorNumbering): { readonly file: MemoryFile; readonly data: EncryptedData } {
  const file = MemoryFile.empty();
  const data = new EncryptedData(file, numbering);
  data.unlock(toyCipher);
  data.writeAt(hostOffset(host), guestOffset(guest), new Uint8Array(length));
  return { file, data };
}

describe('guest data', () => {
  it('lies plain in the file, and reads as zeroes from the end of the file on', () => {
    const file = MemoryFile.empty();
    const data = new PlainData(file);
    data.writeAt(hostOffset(host), guestOffset(0), Uint8Array.of(1, 2, 3));
    const bytes = new Uint8Array(4);
    data.readAt(hostOffset(host), guestOffset(0), bytes);
    assert.deepEqual(bytes, Uint8Array.of(1, 2, 3, 0));
    assert.equal(data.zeroesFrom, host + 3);
  });

  for (const numbering of ['host', 'guest'] as const) {
    it(`numbers sectors by ${numbering} offset when encrypted (ENC-01, ENC-03)`, () => {
      const { file } = encrypted(numbering);
      const stored = new Uint8Array(length);
      file.readAt(hostOffset(host), stored);
      const number = (numbering === 'host' ? host : guest) / 512;
      assert.deepEqual(
        stored,
        Uint8Array.from(stored, (_, at) => maskOf(number, at)),
      );
    });

    it(`keeps what a write does not touch, at any offset and length, numbered by ${numbering} offset`, () => {
      const chance = new Prng(9);
      const { data } = encrypted(numbering);
      const model = new Uint8Array(length);
      for (let round = 0; round < 400; round += 1) {
        const at = chance.below(length);
        const source = chance.bytes(1 + chance.below(Math.min(length - at, 1400)));
        const before = Uint8Array.from(source);
        data.writeAt(hostOffset(host + at), guestOffset(guest + at), source);
        assert.deepEqual(source, before, "the caller's bytes stay");
        model.set(source, at);
        const start = chance.below(length);
        const target = new Uint8Array(1 + chance.below(length - start));
        data.readAt(hostOffset(host + start), guestOffset(guest + start), target);
        assert.deepEqual(target, model.subarray(start, start + target.length));
      }
    });
  }

  it('reads as zeroes nowhere unwritten when encrypted', () => {
    assert.equal(encrypted('host').data.zeroesFrom, Infinity);
  });

  it('is out of reach while locked, and nothing is written', () => {
    const { file, data } = encrypted('host');
    data.lock();
    const size = file.size;
    const touch = [
      () => {
        data.readAt(hostOffset(host), guestOffset(guest), new Uint8Array(512));
      },
      () => {
        data.writeAt(hostOffset(host + length), guestOffset(guest), new Uint8Array(512));
      },
    ];
    for (const call of touch) assert.equal(faultCodeOf(call), 'passphrase-required');
    assert.equal(file.size, size);
  });
});
