// Sector ciphers against OpenSSL's own modes, sector by sector, or the modes' definitions; and the anti-forensic splitter.

import assert from 'node:assert/strict';
import { createCipheriv, createHash } from 'node:crypto';
import { describe, it } from 'node:test';

import type { BlockCipher } from '../../../src/engine/transform/block-cipher.ts';
import { Cast5Cipher } from '../../../src/engine/transform/cast5-cipher.ts';
import { mergeStripes, splitIntoStripes } from '../../../src/engine/transform/anti-forensic.ts';
import { chooseCipher } from '../../../src/engine/transform/cipher-choice.ts';
import { SerpentCipher } from '../../../src/engine/transform/serpent-cipher.ts';
import { TwofishCipher } from '../../../src/engine/transform/twofish-cipher.ts';
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

function essiv(hash: 'md5' | 'sha256' | 'sm3'): (key: Uint8Array) => (sector: number) => Uint8Array {
  return (key) => {
    const hashed = createHash(hash).update(key).digest();
    const name = `aes-${String(hashed.length * 8)}-ecb`;
    return (sector) => createCipheriv(name, hashed, null).setAutoPadding(false).update(plain64(sector));
  };
}

interface Case {
  readonly cipherName?: string;
  readonly cipherMode: string;
  readonly keyLength: number;
  readonly openssl: string;
  readonly vector: (key: Uint8Array) => (sector: number) => Uint8Array | null;
}

const cases: readonly Case[] = [
  { cipherMode: 'xts-plain64', keyLength: 64, openssl: 'aes-256-xts', vector: () => plain64 },
  { cipherMode: 'xts-plain', keyLength: 32, openssl: 'aes-128-xts', vector: () => plain },
  { cipherMode: 'xts-essiv:sha256', keyLength: 64, openssl: 'aes-256-xts', vector: essiv('sha256') },
  // A hash that means nothing to the generator, as QEMU writes it when it is told to.
  { cipherMode: 'xts-plain64:sha1', keyLength: 32, openssl: 'aes-128-xts', vector: () => plain64 },
  { cipherMode: 'cbc-essiv:md5', keyLength: 24, openssl: 'aes-192-cbc', vector: essiv('md5') },
  { cipherMode: 'cbc-plain64', keyLength: 16, openssl: 'aes-128-cbc', vector: () => plain64 },
  { cipherMode: 'cbc-plain', keyLength: 24, openssl: 'aes-192-cbc', vector: () => plain },
  { cipherMode: 'cbc-essiv:sha256', keyLength: 32, openssl: 'aes-256-cbc', vector: essiv('sha256') },
  { cipherMode: 'ctr-plain64', keyLength: 32, openssl: 'aes-256-ctr', vector: () => plain64 },
  { cipherMode: 'ctr-essiv:sha256', keyLength: 32, openssl: 'aes-256-ctr', vector: essiv('sha256') },
  { cipherMode: 'ecb-plain64', keyLength: 24, openssl: 'aes-192-ecb', vector: () => () => null },
  // QEMU has SM4 from 9.0 on, and SM3 from 9.2.
  { cipherName: 'sm4', cipherMode: 'cbc-plain64', keyLength: 16, openssl: 'sm4-cbc', vector: () => plain64 },
  { cipherName: 'sm4', cipherMode: 'ctr-plain', keyLength: 16, openssl: 'sm4-ctr', vector: () => plain },
  { cipherMode: 'cbc-essiv:sm3', keyLength: 32, openssl: 'aes-256-cbc', vector: essiv('sm3') },
];

type Mode = (cipher: BlockCipher, vector: Uint8Array, sector: Uint8Array) => Uint8Array;

/** The modes of NIST SP 800-38A, block by block. */
const defined: Readonly<Record<'cbc' | 'ctr' | 'ecb', Mode>> = {
  cbc: (cipher, vector, sector) => {
    let last = vector;
    return eachBlock(cipher, sector, (block) => {
      last = cipher.encrypt(mixed(block, last));
      return last;
    });
  },
  ctr: (cipher, vector, sector) => {
    const bits = cipher.blockLength * 8;
    let counter = BigInt(`0x${Buffer.from(vector).toString('hex')}`);
    return eachBlock(cipher, sector, (block) => {
      const digits = counter.toString(16).padStart(bits / 4, '0');
      counter = BigInt.asUintN(bits, counter + 1n);
      return mixed(block, cipher.encrypt(Buffer.from(digits, 'hex')));
    });
  },
  ecb: (cipher, _vector, sector) => eachBlock(cipher, sector, (block) => cipher.encrypt(block)),
};

function eachBlock(
  { blockLength }: BlockCipher,
  sector: Uint8Array,
  work: (block: Uint8Array) => Uint8Array,
): Uint8Array {
  const done = new Uint8Array(sector.length);
  for (let at = 0; at < sector.length; at += blockLength) done.set(work(sector.subarray(at, at + blockLength)), at);
  return done;
}

function mixed(left: Uint8Array, right: Uint8Array): Uint8Array {
  return left.map((byte, at) => byte ^ (right[at] ?? 0));
}

describe('sector ciphers', () => {
  for (const { cipherName = 'aes', cipherMode, keyLength, openssl, vector } of cases) {
    it(`are OpenSSL's: ${cipherName} ${cipherMode} with ${String(keyLength)} bytes of key`, () => {
      const key = chance.bytes(keyLength);
      const cipher = chooseCipher({ cipherName, cipherMode }, key);
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

  for (const [cipherName, underKey] of [
    ['cast5', (key: Uint8Array): BlockCipher => new Cast5Cipher(key)],
    ['serpent', (key: Uint8Array): BlockCipher => new SerpentCipher(key)],
    ['twofish', (key: Uint8Array): BlockCipher => new TwofishCipher(key)],
  ] as const) {
    it(`are the modes by their definition: ${cipherName}`, () => {
      for (const mode of ['cbc', 'ctr', 'ecb'] as const) {
        const key = chance.bytes(16);
        const cipher = chooseCipher({ cipherName, cipherMode: `${mode}-essiv:md5` }, key);
        const block = underKey(key);
        const vectors = underKey(createHash('md5').update(key).digest());
        const firstSector = 2 ** 32 - 1;
        // More than a piece, and on no word.
        const sectors = chance.bytes(258 * 512 + 1).subarray(1);
        const clear = Uint8Array.from(sectors);
        cipher.encrypt(sectors, firstSector);
        for (const sector of [0, 1, 255, 256, 257]) {
          const vector = vectors.encrypt(plain64(firstSector + sector).subarray(0, block.blockLength));
          assert.deepEqual(
            Uint8Array.from(sectors.subarray(sector * 512, (sector + 1) * 512)),
            defined[mode](block, vector, clear.subarray(sector * 512, (sector + 1) * 512)),
            `${mode}, sector ${String(sector)}`,
          );
        }
        cipher.decrypt(sectors, firstSector);
        assert.equal(Buffer.compare(sectors, clear), 0, `${mode} back again`);
      }
    });
  }

  it('are refused by name where we have none', () => {
    const unknown: readonly (readonly [string, string, number])[] = [
      ['camellia', 'xts-plain64', 64],
      ['serpent', 'xts-plain64', 16],
      ['twofish', 'cbc-plain64', 20],
      ['cast5', 'cbc-plain64', 32],
      ['cast5', 'xts-plain64', 32],
      ['cast5', 'cbc-essiv:sha256', 16],
      ['sm4', 'cbc-essiv:sm3', 16],
      ['serpent', 'cbc-essiv:sha1', 32],
      ['twofish', 'cbc-essiv:whirlpool', 32],
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
  for (const hash of ['md5', 'sha1', 'ripemd160', 'sha224', 'sha256', 'sha384', 'sha512', 'sm3']) {
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
