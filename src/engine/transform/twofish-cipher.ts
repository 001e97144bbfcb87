// Twofish (Schneier, Kelsey, Whiting, Wagner, Hall, Ferguson: "Twofish: A 128-Bit Block Cipher", 1998): 16 rounds whose
// S-boxes depend on the key. Section numbers are those of the paper.

import { assert } from '../../base/assert.ts';
import { bytesOfWords, wordsOf } from './block-cipher.ts';
import type { BlockCipher } from './block-cipher.ts';

const rounds = 16;
const wordsPerBlock = 4;
/** Of the key words, four are laid over what goes in, four over what comes out, and two are of each round. */
const outputKeysAt = 4;
const roundKeysAt = 8;
const keyWords = roundKeysAt + 2 * rounds;
const boxLength = 256;

/** One key of 16, 24 or 32 bytes. Words are little-endian, as are those of every machine we run on. */
export class TwofishCipher implements BlockCipher {
  readonly blockLength = 16;
  readonly #keys: Int32Array;
  /** Four S-boxes with their column of the MDS matrix, one after the other. */
  readonly #boxes: Int32Array;

  constructor(key: Uint8Array) {
    assert(key.length % 8 === 0 && key.length >= 16 && key.length <= 32, 'a key of Twofish has 16, 24 or 32 bytes');
    this.#keys = scheduleOf(key);
    this.#boxes = boxesOf(key);
  }

  encrypt(blocks: Uint8Array): Uint8Array {
    const words = wordsOf(blocks.slice());
    assert(words.length % wordsPerBlock === 0, 'ciphers work on whole blocks');
    encryptWords(words, this.#keys, this.#boxes);
    return bytesOfWords(words);
  }

  decrypt(blocks: Uint8Array): Uint8Array {
    const words = wordsOf(blocks.slice());
    assert(words.length % wordsPerBlock === 0, 'ciphers work on whole blocks');
    decryptWords(words, this.#keys, this.#boxes);
    return bytesOfWords(words);
  }
}

/** Two rounds at a time, so that nothing need be swapped in between (§4). */
function encryptWords(words: Int32Array, keys: Int32Array, boxes: Int32Array): void {
  for (let at = 0; at < words.length; at += wordsPerBlock) {
    let a = (words[at] ?? 0) ^ (keys[0] ?? 0);
    let b = (words[at + 1] ?? 0) ^ (keys[1] ?? 0);
    let c = (words[at + 2] ?? 0) ^ (keys[2] ?? 0);
    let d = (words[at + 3] ?? 0) ^ (keys[3] ?? 0);
    for (let key = roundKeysAt; key < keyWords; key += 4) {
      let first = substitute(boxes, a);
      let second = substituteTurned(boxes, b);
      c = turnRight(c ^ (first + second + (keys[key] ?? 0)));
      d = turnLeft(d) ^ (first + 2 * second + (keys[key + 1] ?? 0));
      first = substitute(boxes, c);
      second = substituteTurned(boxes, d);
      a = turnRight(a ^ (first + second + (keys[key + 2] ?? 0)));
      b = turnLeft(b) ^ (first + 2 * second + (keys[key + 3] ?? 0));
    }
    words[at] = c ^ (keys[outputKeysAt] ?? 0);
    words[at + 1] = d ^ (keys[outputKeysAt + 1] ?? 0);
    words[at + 2] = a ^ (keys[outputKeysAt + 2] ?? 0);
    words[at + 3] = b ^ (keys[outputKeysAt + 3] ?? 0);
  }
}

function decryptWords(words: Int32Array, keys: Int32Array, boxes: Int32Array): void {
  for (let at = 0; at < words.length; at += wordsPerBlock) {
    let c = (words[at] ?? 0) ^ (keys[outputKeysAt] ?? 0);
    let d = (words[at + 1] ?? 0) ^ (keys[outputKeysAt + 1] ?? 0);
    let a = (words[at + 2] ?? 0) ^ (keys[outputKeysAt + 2] ?? 0);
    let b = (words[at + 3] ?? 0) ^ (keys[outputKeysAt + 3] ?? 0);
    for (let key = keyWords - 4; key >= roundKeysAt; key -= 4) {
      let first = substitute(boxes, c);
      let second = substituteTurned(boxes, d);
      a = turnLeft(a) ^ (first + second + (keys[key + 2] ?? 0));
      b = turnRight(b ^ (first + 2 * second + (keys[key + 3] ?? 0)));
      first = substitute(boxes, a);
      second = substituteTurned(boxes, b);
      c = turnLeft(c) ^ (first + second + (keys[key] ?? 0));
      d = turnRight(d ^ (first + 2 * second + (keys[key + 1] ?? 0)));
    }
    words[at] = a ^ (keys[0] ?? 0);
    words[at + 1] = b ^ (keys[1] ?? 0);
    words[at + 2] = c ^ (keys[2] ?? 0);
    words[at + 3] = d ^ (keys[3] ?? 0);
  }
}

/** The function g (§4.1): four S-boxes and the MDS matrix. */
function substitute(boxes: Int32Array, word: number): number {
  return (
    (boxes[word & 0xff] ?? 0) ^
    (boxes[boxLength + ((word >>> 8) & 0xff)] ?? 0) ^
    (boxes[2 * boxLength + ((word >>> 16) & 0xff)] ?? 0) ^
    (boxes[3 * boxLength + (word >>> 24)] ?? 0)
  );
}

/** The same of the word turned left by a byte. */
function substituteTurned(boxes: Int32Array, word: number): number {
  return (
    (boxes[word >>> 24] ?? 0) ^
    (boxes[boxLength + (word & 0xff)] ?? 0) ^
    (boxes[2 * boxLength + ((word >>> 8) & 0xff)] ?? 0) ^
    (boxes[3 * boxLength + ((word >>> 16) & 0xff)] ?? 0)
  );
}

function turnLeft(word: number): number {
  return (word << 1) | (word >>> 31);
}

function turnRight(word: number): number {
  return (word >>> 1) | (word << 31);
}

/** The 40 key words (§4.3.2), from the even and the odd words of the key. */
function scheduleOf(key: Uint8Array): Int32Array {
  const even: number[] = [];
  const odd: number[] = [];
  for (let at = 0; at < key.length; at += 8) {
    even.push(...key.subarray(at, at + 4));
    odd.push(...key.subarray(at + 4, at + 8));
  }
  const keys = new Int32Array(keyWords);
  for (let at = 0; at < keyWords; at += 2) {
    const a = mixed(at, even);
    const b = rotateLeft(mixed(at + 1, odd), 8);
    keys[at] = a + b;
    keys[at + 1] = rotateLeft((a + 2 * b) | 0, 9);
  }
  return keys;
}

/** The function h (§4.3.5) of a word whose four bytes are all `byte`. */
function mixed(byte: number, list: readonly number[]): number {
  let word = 0;
  for (let lane = 0; lane < 4; lane += 1) word ^= mdsColumn(lane, permuted(lane, byte, list));
  return word;
}

/** S-boxes from the key by the RS matrix (§4.3, §4.3.4), multiplied out with the MDS matrix. */
function boxesOf(key: Uint8Array): Int32Array {
  const list: number[] = [];
  for (let at = key.length - 8; at >= 0; at -= 8) {
    for (const row of rsMatrix) {
      list.push(row.reduce((sum, factor, column) => sum ^ multiply(factor, key[at + column] ?? 0, rsPolynomial), 0));
    }
  }
  const boxes = new Int32Array(4 * boxLength);
  for (let lane = 0; lane < 4; lane += 1) {
    for (let byte = 0; byte < boxLength; byte += 1) {
      boxes[lane * boxLength + byte] = mdsColumn(lane, permuted(lane, byte, list));
    }
  }
  return boxes;
}

/** Which permutation each lane passes, from the last list word on: figure 2 of the paper. */
const laneOrder: readonly (readonly [number, number, number, number, number])[] = [
  [1, 1, 0, 0, 1],
  [0, 1, 1, 0, 0],
  [0, 0, 0, 1, 1],
  [1, 0, 1, 1, 0],
];

/** One lane of h before the matrix: permutations, and a byte of each list word in between. `list`: four bytes a word. */
function permuted(lane: number, byte: number, list: readonly number[]): number {
  const order = laneOrder[lane] ?? [];
  let value = byte;
  for (let word = list.length / 4 - 1; word >= 0; word -= 1) {
    value = permute(order[3 - word] ?? 0, value) ^ (list[4 * word + lane] ?? 0);
  }
  return permute(order[4] ?? 0, value);
}

function permute(permutation: number, byte: number): number {
  return permutations[permutation * boxLength + byte] ?? 0;
}

/** The 4-bit tables of q0 and q1 (§4.3.5). */
const nibbleTables = [
  ['817d6f320b59eca4', 'ecb81235f4a6709d', 'ba5e6d90c8f32471', 'd7f4126e9b3085ca'],
  ['28bdf76e31940ac5', '1e2b4c376da5f908', '4c75169a0ed82b3f', 'b951c3de647f208a'],
] as const;

/** q0, then q1. */
const permutations = Uint8Array.from({ length: 2 * boxLength }, (_, at) => {
  const [t0, t1, t2, t3] = nibbleTables[at < boxLength ? 0 : 1];
  const [a, b] = twisted((at >>> 4) & 0xf, at & 0xf);
  const [c, d] = twisted(nibble(t0, a), nibble(t1, b));
  return 16 * nibble(t3, d) + nibble(t2, c);
});

function twisted(a: number, b: number): readonly [number, number] {
  const turned = (b >>> 1) | ((b & 1) << 3);
  return [a ^ b, a ^ turned ^ ((8 * a) & 0xf)];
}

function nibble(table: string, at: number): number {
  return Number.parseInt(table.charAt(at), 16);
}

const rsPolynomial = 0x14d;
const rsMatrix = [
  [0x01, 0xa4, 0x55, 0x87, 0x5a, 0x58, 0xdb, 0x9e],
  [0xa4, 0x56, 0x82, 0xf3, 0x1e, 0xc6, 0x68, 0xe5],
  [0x02, 0xa1, 0xfc, 0xc1, 0x47, 0xae, 0x3d, 0x19],
  [0xa4, 0x55, 0x87, 0x5a, 0x58, 0xdb, 0x9e, 0x03],
] as const;

const mdsPolynomial = 0x169;
const mdsMatrix = [
  [0x01, 0xef, 0x5b, 0x5b],
  [0x5b, 0xef, 0xef, 0x01],
  [0xef, 0x5b, 0x01, 0xef],
  [0xef, 0x01, 0xef, 0x5b],
] as const;

/** Every byte times the four factors of each column. */
const mdsColumns = Int32Array.from({ length: 4 * boxLength }, (_, at) =>
  mdsMatrix.reduce(
    (word, row, byte) =>
      word | (multiply(row[Math.floor(at / boxLength)] ?? 0, at % boxLength, mdsPolynomial) << (8 * byte)),
    0,
  ),
);

function mdsColumn(lane: number, byte: number): number {
  return mdsColumns[lane * boxLength + byte] ?? 0;
}

/** The product in GF(2^8) of this polynomial. */
function multiply(left: number, right: number, polynomial: number): number {
  let product = 0;
  let power = left;
  for (let bit = 0; bit < 8; bit += 1) {
    if (((right >>> bit) & 1) === 1) product ^= power;
    power = power < 0x80 ? power << 1 : (power << 1) ^ polynomial;
  }
  return product;
}

function rotateLeft(word: number, count: number): number {
  return (word << count) | (word >>> (32 - count));
}
