// CAST-128, in OpenPGP and QEMU cast5 (RFC 2144): 16 rounds of three kinds on blocks of 8 bytes.

import { assert } from '../../base/assert.ts';
import { viewOf } from '../format/big-endian.ts';
import type { BlockCipher } from './block-cipher.ts';
import { castBoxes } from './cast5-boxes.ts';

const rounds = 16;
const keyLength = 16;
const boxLength = 256;

/** One key of 16 bytes. */
export class Cast5Cipher implements BlockCipher {
  readonly blockLength = 8;
  /** What each round mixes its word with, and then how far it turns it (§2.2). */
  readonly #masks: Int32Array;
  readonly #turns: Int32Array;

  constructor(key: Uint8Array) {
    assert(key.length === keyLength, 'a key of CAST-128 has 16 bytes here');
    const words = scheduleOf(key);
    this.#masks = words.subarray(0, rounds);
    this.#turns = words.subarray(rounds).map((word) => word & 31);
  }

  encrypt(blocks: Uint8Array): Uint8Array {
    return eachBlock(blocks, (view) => {
      encryptBlocks(view, this.#masks, this.#turns);
    });
  }

  decrypt(blocks: Uint8Array): Uint8Array {
    return eachBlock(blocks, (view) => {
      decryptBlocks(view, this.#masks, this.#turns);
    });
  }
}

function eachBlock(blocks: Uint8Array, work: (view: DataView) => void): Uint8Array {
  assert(blocks.length % 8 === 0, 'ciphers work on whole blocks');
  const done = blocks.slice();
  work(viewOf(done));
  return done;
}

/** Fifteen rounds by threes, and the sixteenth; after three rounds the halves have changed places. */
function encryptBlocks(view: DataView, masks: Int32Array, turns: Int32Array): void {
  for (let at = 0; at < view.byteLength; at += 8) {
    let left = view.getInt32(at);
    let right = view.getInt32(at + 4);
    for (let round = 0; round < rounds - 1; round += 3) {
      left ^= first(masks[round] ?? 0, turns[round] ?? 0, right);
      right ^= second(masks[round + 1] ?? 0, turns[round + 1] ?? 0, left);
      const last = left ^ third(masks[round + 2] ?? 0, turns[round + 2] ?? 0, right);
      left = right;
      right = last;
    }
    view.setInt32(at, left ^ first(masks[rounds - 1] ?? 0, turns[rounds - 1] ?? 0, right));
    view.setInt32(at + 4, right);
  }
}

function decryptBlocks(view: DataView, masks: Int32Array, turns: Int32Array): void {
  for (let at = 0; at < view.byteLength; at += 8) {
    let right = view.getInt32(at + 4);
    let left = view.getInt32(at) ^ first(masks[rounds - 1] ?? 0, turns[rounds - 1] ?? 0, right);
    for (let round = rounds - 4; round >= 0; round -= 3) {
      const before = right ^ third(masks[round + 2] ?? 0, turns[round + 2] ?? 0, left);
      right = left ^ second(masks[round + 1] ?? 0, turns[round + 1] ?? 0, before);
      left = before ^ first(masks[round] ?? 0, turns[round] ?? 0, right);
    }
    view.setInt32(at, left);
    view.setInt32(at + 4, right);
  }
}

/** The three kinds of rounds (§2.2). */
function first(mask: number, turn: number, word: number): number {
  const mixed = rotateLeft((mask + word) | 0, turn);
  return (
    ((box(0, mixed >>> 24) ^ box(1, (mixed >>> 16) & 0xff)) - box(2, (mixed >>> 8) & 0xff) + box(3, mixed & 0xff)) | 0
  );
}

function second(mask: number, turn: number, word: number): number {
  const mixed = rotateLeft(mask ^ word, turn);
  return (box(0, mixed >>> 24) - box(1, (mixed >>> 16) & 0xff) + box(2, (mixed >>> 8) & 0xff)) ^ box(3, mixed & 0xff);
}

function third(mask: number, turn: number, word: number): number {
  const mixed = rotateLeft((mask - word) | 0, turn);
  return (
    (((box(0, mixed >>> 24) + box(1, (mixed >>> 16) & 0xff)) ^ box(2, (mixed >>> 8) & 0xff)) - box(3, mixed & 0xff)) | 0
  );
}

/** `index` counts S1 to S8 from zero. */
function box(index: number, byte: number): number {
  return castBoxes[index * boxLength + byte] ?? 0;
}

function rotateLeft(word: number, count: number): number {
  return (word << count) | (word >>> (32 - count));
}

/**
 * The steps that make 16 bytes of others (§2.4): a word of the old bytes, four bytes for S5 to S8 and one for a box of its
 * own. The four are of the old bytes in the first step and of the new ones after it; the last is always of the old ones.
 */
type Step = readonly [word: number, bytes: readonly [number, number, number, number], extra: number, extraBox: number];

const stepsToZ: readonly Step[] = [
  [0, [0xd, 0xf, 0xc, 0xe], 0x8, 6],
  [2, [0x0, 0x2, 0x1, 0x3], 0xa, 7],
  [3, [0x7, 0x6, 0x5, 0x4], 0x9, 4],
  [1, [0xa, 0x9, 0xb, 0x8], 0xb, 5],
];

const stepsToX: readonly Step[] = [
  [2, [0x5, 0x7, 0x4, 0x6], 0x0, 6],
  [0, [0x0, 0x2, 0x1, 0x3], 0x2, 7],
  [1, [0x7, 0x6, 0x5, 0x4], 0x1, 4],
  [3, [0xa, 0x9, 0xb, 0x8], 0x3, 5],
];

/** Which bytes go through S5, S6, S7, S8 and once more through S5 to S8 for the four words of each of the four quarters. */
type Quarter = readonly (readonly [number, number, number, number, number])[];

const quarters: readonly Quarter[] = [
  [
    [0x8, 0x9, 0x7, 0x6, 0x2],
    [0xa, 0xb, 0x5, 0x4, 0x6],
    [0xc, 0xd, 0x3, 0x2, 0x9],
    [0xe, 0xf, 0x1, 0x0, 0xc],
  ],
  [
    [0x3, 0x2, 0xc, 0xd, 0x8],
    [0x1, 0x0, 0xe, 0xf, 0xd],
    [0x7, 0x6, 0x8, 0x9, 0x3],
    [0x5, 0x4, 0xa, 0xb, 0x7],
  ],
  [
    [0x3, 0x2, 0xc, 0xd, 0x9],
    [0x1, 0x0, 0xe, 0xf, 0xc],
    [0x7, 0x6, 0x8, 0x9, 0x2],
    [0x5, 0x4, 0xa, 0xb, 0x6],
  ],
  [
    [0x8, 0x9, 0x7, 0x6, 0x3],
    [0xa, 0xb, 0x5, 0x4, 0x7],
    [0xc, 0xd, 0x3, 0x2, 0x8],
    [0xe, 0xf, 0x1, 0x0, 0xd],
  ],
];

/** K1 to K32 (§2.4): each half by four quarters, each of which goes on with the bytes that the one before has left. */
function scheduleOf(key: Uint8Array): Int32Array {
  const words: number[] = [];
  let bytes = key;
  for (let quarter = 0; quarter < 2 * quarters.length; quarter += 1) {
    bytes = stepped(bytes, quarter % 2 === 0 ? stepsToZ : stepsToX);
    for (const [index, [b5, b6, b7, b8, extra]] of (quarters[quarter % quarters.length] ?? []).entries()) {
      words.push(fourBoxes(bytes, [b5, b6, b7, b8]) ^ box(4 + index, bytes[extra] ?? 0));
    }
  }
  return Int32Array.from(words);
}

function stepped(old: Uint8Array, steps: readonly Step[]): Uint8Array {
  const fresh = new Uint8Array(keyLength);
  const view = viewOf(fresh);
  for (const [index, [word, four, extra, extraBox]] of steps.entries()) {
    const mixed = fourBoxes(index === 0 ? old : fresh, four) ^ box(extraBox, old[extra] ?? 0);
    view.setInt32(4 * index, viewOf(old).getInt32(4 * word) ^ mixed);
  }
  return fresh;
}

function fourBoxes(bytes: Uint8Array, [b5, b6, b7, b8]: readonly [number, number, number, number]): number {
  return box(4, bytes[b5] ?? 0) ^ box(5, bytes[b6] ?? 0) ^ box(6, bytes[b7] ?? 0) ^ box(7, bytes[b8] ?? 0);
}
