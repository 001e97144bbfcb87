// Sector ciphers against OpenSSL's own modes, sector by sector, and the anti-forensic splitter.

import assert from 'node:assert/strict';
import { createCipheriv, createHash } from 'node:crypto';
import { describe, it } from 'node:test';

import { mergeStripes, splitIntoStripes } from '../../../src/engine/transform/anti-forensic.ts';
import { chooseCipher } from '../../../src/engine/transform/cipher-choice.ts';
import { faultCodeOf } from '../../support/faults.ts';
import { Prng } from '../../support/prng.ts';

const chance = new Prng(4);

/** The sector number as OpenSSL wants it: little-endian, 16 bytes. */
function plain64(sector: number): Uint8Array {
  const block = Buffer.alloc(16);
  block.writeBigUInt64LE(BigInt(sector));
  return block;
}

function plain(sector: number): Uint8Array {
  return plain64(sector % 2 ** 32);
}

function essiv(key: Uint8Array): (sector: number) => Uint8Array {
  const hashed = createHash('sha256').update(key).digest();
  return (sector) => createCipheriv('aes-256-ecb', hashed, null).setAutoPadding(false).update(plain64(sector));
}

interface Case {
  readonly cipherMode: string;
  readonly keyLength: number;
  readonly openssl: string;
  readonly vector: (key: Uint8Array) => (sector: number) => Uint8Array | null;
}

const cases: readonly Case[] = [
  { cipherMode: 'xts-plain64', keyLength: 64, openssl: 'aes-256-xts', vector: () => plain64 },
  { cipherMode: 'xts-plain', keyLength: 32, openssl: 'aes-128-xts', vector: () => plain },
  { cipherMode: 'xts-essiv:sha256', keyLength: 64, openssl: 'aes-256-xts', vector: essiv },
  { cipherMode: 'cbc-plain64', keyLength: 16, openssl: 'aes-128-cbc', vector: () => plain64 },
  { cipherMode: 'cbc-plain', keyLength: 24, openssl: 'aes-192-cbc', vector: () => plain },
  { cipherMode: 'cbc-essiv:sha256', keyLength: 32, openssl: 'aes-256-cbc', vector: essiv },
  { cipherMode: 'ctr-plain64', keyLength: 32, openssl: 'aes-256-ctr', vector: () => plain64 },
  { cipherMode: 'ctr-essiv:sha256', keyLength: 32, openssl: 'aes-256-ctr', vector: essiv },
  { cipherMode: 'ecb-plain64', keyLength: 24, openssl: 'aes-192-ecb', vector: () => () => null },
];

describe('sector ciphers', () => {
  for (const { cipherMode, keyLength, openssl, vector } of cases) {
    it(`are OpenSSL's: ${cipherMode} with ${String(keyLength)} bytes of key`, () => {
      const key = chance.bytes(keyLength);
      const cipher = chooseCipher({ cipherName: 'aes', cipherMode }, key);
      const vectorOf = vector(key);
      for (const [firstSector, count] of [
        [0, 1],
        [7, 5],
        [2 ** 32 - 2, 4],
        [2 ** 43, 9],
        // More than a piece of any mode.
        [3, 300],
      ] as const) {
        const clear = chance.bytes(count * 512);
        const expected = Buffer.concat(
          Array.from({ length: count }, (_, step) =>
            createCipheriv(openssl, key, vectorOf(firstSector + step))
              .setAutoPadding(false)
              .update(clear.subarray(step * 512, (step + 1) * 512)),
          ),
        );
        // On a word, and one byte off it, as a part of a client's body may be.
        for (const shift of [0, 1]) {
          const sectors = new Uint8Array(shift + clear.length).subarray(shift);
          sectors.set(clear);
          cipher.encrypt(sectors, firstSector);
          assert.equal(Buffer.compare(sectors, expected), 0, `${String(count)} sectors from ${String(firstSector)} on`);
          cipher.decrypt(sectors, firstSector);
          assert.equal(Buffer.compare(sectors, clear), 0, 'back again');
        }
      }
    });
  }

  it('are refused by name where we have none', () => {
    const unknown: readonly (readonly [string, string, number])[] = [
      ['serpent', 'xts-plain64', 64],
      ['aes', 'cfb-plain64', 32],
      ['aes', 'xts-plain64be', 64],
      ['aes', 'xts', 64],
      ['aes', 'xts-plain64', 16],
      ['aes', 'cbc-plain64', 64],
      ['aes', 'cbc-essiv:sha512', 32],
      ['aes', 'cbc-essiv', 32],
    ];
    for (const [cipherName, cipherMode, keyLength] of unknown) {
      const choose = (): unknown => chooseCipher({ cipherName, cipherMode }, new Uint8Array(keyLength));
      assert.equal(faultCodeOf(choose), 'encryption-unsupported', `${cipherName}-${cipherMode}`);
    }
  });
});

describe('the anti-forensic splitter', () => {
  for (const hash of ['sha1', 'ripemd160', 'sha224', 'sha256', 'sha384', 'sha512']) {
    it(`gives the key back from all stripes and from no fewer, with ${hash}`, () => {
      for (const keyLength of [16, 64]) {
        const key = chance.bytes(keyLength);
        const material = chance.bytes(keyLength * 40);
        splitIntoStripes(key, material, hash);
        assert.deepEqual(mergeStripes(material, keyLength, hash), key);
        material.set([(material[0] ?? 0) ^ 1]);
        assert.notDeepEqual(mergeStripes(material, keyLength, hash), key);
      }
    });
  }
});
