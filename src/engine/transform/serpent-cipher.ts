// Serpent (Anderson, Biham, Knudsen: "Serpent: A Proposal for the Advanced Encryption Standard"): 32 rounds of a key, an
// S-box and a mixing of the four words. Every round goes over many blocks before the next one begins. No step depends on
// secret bits by a table or a jump.

import { assert, present } from '../../base/assert.ts';
import { bytesOfWords, wordsOf } from './block-cipher.ts';
import type { BlockCipher } from './block-cipher.ts';
import { serpentBoxes } from './serpent-boxes.ts';
import type { KeyedBox } from './serpent-boxes.ts';
import { serpentInverseBoxes } from './serpent-inverse-boxes.ts';

const rounds = 32;
const wordsPerBlock = 4;
const keyWords = 8;
/** The golden ratio, of which the key schedule takes 32 bits. */
const phi = 0x9e3779b9;
/** So many words stay in the processor's nearest cache from round to round. */
const wordsPerPiece = 1024 * wordsPerBlock;

/** One key of 16, 24 or 32 bytes. Words are little-endian, as are those of every machine we run on. */
export class SerpentCipher implements BlockCipher {
  readonly blockLength = 16;
  /** Four words for each round, and four for the end. */
  readonly #keys: Int32Array;

  constructor(key: Uint8Array) {
    this.#keys = scheduleOf(key);
  }

  encrypt(blocks: Uint8Array): Uint8Array {
    return inPieces(blocks, (piece) => {
      encryptPiece(piece, this.#keys);
    });
  }

  decrypt(blocks: Uint8Array): Uint8Array {
    return inPieces(blocks, (piece) => {
      decryptPiece(piece, this.#keys);
    });
  }
}

function inPieces(blocks: Uint8Array, work: (piece: Int32Array) => void): Uint8Array {
  const words = wordsOf(blocks.slice());
  assert(words.length % wordsPerBlock === 0, 'ciphers work on whole blocks');
  for (let at = 0; at < words.length; at += wordsPerPiece) work(words.subarray(at, at + wordsPerPiece));
  return bytesOfWords(words);
}

function encryptPiece(blocks: Int32Array, keys: Int32Array): void {
  for (let round = 0; round < rounds; round += 1) {
    boxOf(serpentBoxes, round)(blocks, keys, round * wordsPerBlock);
    if (round < rounds - 1) mixWords(blocks);
  }
  addKey(blocks, keys);
}

function decryptPiece(blocks: Int32Array, keys: Int32Array): void {
  addKey(blocks, keys);
  for (let round = rounds - 1; round >= 0; round -= 1) {
    if (round < rounds - 1) unmixWords(blocks);
    boxOf(serpentInverseBoxes, round)(blocks, keys, round * wordsPerBlock);
  }
}

/** The last of all keys stands behind those of the rounds. */
function addKey(blocks: Int32Array, keys: Int32Array): void {
  const last = rounds * wordsPerBlock;
  for (let at = 0; at < blocks.length; at += 1)
    blocks[at] = (blocks[at] ?? 0) ^ (keys[last + (at % wordsPerBlock)] ?? 0);
}

/** The linear transformation of every block. */
function mixWords(blocks: Int32Array): void {
  for (let at = 0; at < blocks.length; at += wordsPerBlock) {
    const a = rotateLeft(blocks[at] ?? 0, 13);
    const c = rotateLeft(blocks[at + 2] ?? 0, 3);
    const b = rotateLeft((blocks[at + 1] ?? 0) ^ a ^ c, 1);
    const d = rotateLeft((blocks[at + 3] ?? 0) ^ c ^ (a << 3), 7);
    blocks[at] = rotateLeft(a ^ b ^ d, 5);
    blocks[at + 1] = b;
    blocks[at + 2] = rotateLeft(c ^ d ^ (b << 7), 22);
    blocks[at + 3] = d;
  }
}

function unmixWords(blocks: Int32Array): void {
  for (let at = 0; at < blocks.length; at += wordsPerBlock) {
    const b = blocks[at + 1] ?? 0;
    const d = blocks[at + 3] ?? 0;
    const a = rotateLeft(blocks[at] ?? 0, 27) ^ b ^ d;
    const c = rotateLeft(blocks[at + 2] ?? 0, 10) ^ d ^ (b << 7);
    blocks[at] = rotateLeft(a, 19);
    blocks[at + 1] = rotateLeft(b, 31) ^ a ^ c;
    blocks[at + 2] = rotateLeft(c, 29);
    blocks[at + 3] = rotateLeft(d, 25) ^ c ^ (a << 3);
  }
}

/** 132 words: a shorter key is filled up with one bit and zeroes, stretched, and substituted by the boxes downwards from the fourth. */
function scheduleOf(key: Uint8Array): Int32Array {
  assert(key.length % 8 === 0 && key.length >= 16 && key.length <= 32, 'a key of Serpent has 16, 24 or 32 bytes');
  const bytes = new Uint8Array(keyWords * 4);
  bytes.set(key);
  if (key.length < bytes.length) bytes[key.length] = 1;
  const count = (rounds + 1) * wordsPerBlock;
  const words = new Int32Array(keyWords + count);
  words.set(wordsOf(bytes));
  const wordAt = (at: number): number => words[at] ?? 0;
  for (let at = keyWords; at < words.length; at += 1) {
    const mixed = wordAt(at - 8) ^ wordAt(at - 5) ^ wordAt(at - 3) ^ wordAt(at - 1) ^ phi ^ (at - keyWords);
    words[at] = rotateLeft(mixed, 11);
  }
  bytes.fill(0);
  const keys = words.slice(keyWords);
  words.fill(0);
  const noKey = new Int32Array(wordsPerBlock);
  for (let round = 0; round <= rounds; round += 1) {
    const at = round * wordsPerBlock;
    boxOf(serpentBoxes, rounds + 3 - round)(keys.subarray(at, at + wordsPerBlock), noKey, 0);
  }
  return keys;
}

function boxOf(boxes: readonly KeyedBox[], round: number): KeyedBox {
  return present(boxes[round % boxes.length], 'there are eight boxes');
}

function rotateLeft(word: number, count: number): number {
  return (word << count) | (word >>> (32 - count));
}
