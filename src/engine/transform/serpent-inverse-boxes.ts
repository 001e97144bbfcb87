// The eight S-boxes of Serpent backwards, as serpent-boxes.ts has them forwards.

import type { KeyedBox } from './serpent-boxes.ts';

function inverseBox0(blocks: Int32Array, keys: Int32Array, at: number): void {
  const [k0, k1, k2, k3] = [keys[at] ?? 0, keys[at + 1] ?? 0, keys[at + 2] ?? 0, keys[at + 3] ?? 0];
  for (let block = 0; block < blocks.length; block += 4) {
    const a = blocks[block] ?? 0;
    const b = blocks[block + 1] ?? 0;
    const c = blocks[block + 2] ?? 0;
    const d = blocks[block + 3] ?? 0;
    const t1 = a | b;
    const t2 = ~d;
    const t3 = c ^ t1;
    const t4 = t2 ^ t3;
    const t5 = a ^ b;
    const t6 = a ^ t4;
    const t7 = t2 & t5;
    const t8 = t6 ^ t7;
    const t9 = t3 | t8;
    const t10 = t4 ^ t5;
    const t11 = t9 ^ t10;
    const t12 = t8 & t11;
    const t13 = t3 ^ t12;
    const t14 = ~t11;
    const t15 = t8 ^ t11;
    blocks[block] = t14 ^ k0;
    blocks[block + 1] = t13 ^ k1;
    blocks[block + 2] = t4 ^ k2;
    blocks[block + 3] = t15 ^ k3;
  }
}

function inverseBox1(blocks: Int32Array, keys: Int32Array, at: number): void {
  const [k0, k1, k2, k3] = [keys[at] ?? 0, keys[at + 1] ?? 0, keys[at + 2] ?? 0, keys[at + 3] ?? 0];
  for (let block = 0; block < blocks.length; block += 4) {
    const a = blocks[block] ?? 0;
    const b = blocks[block + 1] ?? 0;
    const c = blocks[block + 2] ?? 0;
    const d = blocks[block + 3] ?? 0;
    const t1 = b ^ d;
    const t2 = d & t1;
    const t3 = a ^ t2;
    const t4 = c ^ t3;
    const t5 = t1 & t3;
    const t6 = d ^ t5;
    const t7 = t4 & t6;
    const t8 = t1 ^ t7;
    const t9 = ~t3;
    const t10 = t8 ^ t9;
    const t11 = c ^ t6;
    const t12 = t8 ^ t11;
    const t13 = t10 | t12;
    const t14 = t8 ^ t13;
    blocks[block] = t10 ^ k0;
    blocks[block + 1] = t12 ^ k1;
    blocks[block + 2] = t14 ^ k2;
    blocks[block + 3] = t4 ^ k3;
  }
}

function inverseBox2(blocks: Int32Array, keys: Int32Array, at: number): void {
  const [k0, k1, k2, k3] = [keys[at] ?? 0, keys[at + 1] ?? 0, keys[at + 2] ?? 0, keys[at + 3] ?? 0];
  for (let block = 0; block < blocks.length; block += 4) {
    const a = blocks[block] ?? 0;
    const b = blocks[block + 1] ?? 0;
    const c = blocks[block + 2] ?? 0;
    const d = blocks[block + 3] ?? 0;
    const t1 = b ^ c;
    const t2 = d ^ t1;
    const t3 = a ^ d;
    const t4 = d & t2;
    const t5 = b ^ t4;
    const t6 = ~t5;
    const t7 = t3 & t6;
    const t8 = t1 ^ t7;
    const t9 = b | t2;
    const t10 = t3 ^ t9;
    const t11 = t6 ^ t8;
    const t12 = t10 & t11;
    const t13 = a ^ t8;
    const t14 = t6 ^ t12;
    blocks[block] = t10 ^ k0;
    blocks[block + 1] = t13 ^ k1;
    blocks[block + 2] = t11 ^ k2;
    blocks[block + 3] = t14 ^ k3;
  }
}

function inverseBox3(blocks: Int32Array, keys: Int32Array, at: number): void {
  const [k0, k1, k2, k3] = [keys[at] ?? 0, keys[at + 1] ?? 0, keys[at + 2] ?? 0, keys[at + 3] ?? 0];
  for (let block = 0; block < blocks.length; block += 4) {
    const a = blocks[block] ?? 0;
    const b = blocks[block + 1] ?? 0;
    const c = blocks[block + 2] ?? 0;
    const d = blocks[block + 3] ?? 0;
    const t1 = b ^ c;
    const t2 = b & t1;
    const t3 = a ^ t2;
    const t4 = d | t3;
    const t5 = c ^ d;
    const t6 = t1 ^ t4;
    const t7 = t5 & t6;
    const t8 = t3 | t7;
    const t9 = d | t6;
    const t10 = t3 & t9;
    const t11 = t5 ^ t9;
    const t12 = d & t6;
    const t13 = t8 ^ t12;
    const t14 = b | t8;
    const t15 = t10 ^ t11;
    const t16 = t10 ^ t14;
    blocks[block] = t6 ^ k0;
    blocks[block + 1] = t16 ^ k1;
    blocks[block + 2] = t15 ^ k2;
    blocks[block + 3] = t13 ^ k3;
  }
}

function inverseBox4(blocks: Int32Array, keys: Int32Array, at: number): void {
  const [k0, k1, k2, k3] = [keys[at] ?? 0, keys[at + 1] ?? 0, keys[at + 2] ?? 0, keys[at + 3] ?? 0];
  for (let block = 0; block < blocks.length; block += 4) {
    const a = blocks[block] ?? 0;
    const b = blocks[block + 1] ?? 0;
    const c = blocks[block + 2] ?? 0;
    const d = blocks[block + 3] ?? 0;
    const t1 = c | d;
    const t2 = a & t1;
    const t3 = b ^ t2;
    const t4 = a & t3;
    const t5 = c ^ t4;
    const t6 = d ^ t5;
    const t7 = ~a;
    const t8 = t6 | t7;
    const t9 = t5 & t6;
    const t10 = d ^ t8;
    const t11 = t3 ^ t9;
    const t12 = t3 & t10;
    const t13 = t6 ^ t7;
    const t14 = t10 ^ t11;
    const t15 = t12 ^ t13;
    blocks[block] = t14 ^ k0;
    blocks[block + 1] = t6 ^ k1;
    blocks[block + 2] = t15 ^ k2;
    blocks[block + 3] = t11 ^ k3;
  }
}

function inverseBox5(blocks: Int32Array, keys: Int32Array, at: number): void {
  const [k0, k1, k2, k3] = [keys[at] ?? 0, keys[at + 1] ?? 0, keys[at + 2] ?? 0, keys[at + 3] ?? 0];
  for (let block = 0; block < blocks.length; block += 4) {
    const a = blocks[block] ?? 0;
    const b = blocks[block + 1] ?? 0;
    const c = blocks[block + 2] ?? 0;
    const d = blocks[block + 3] ?? 0;
    const t1 = b & c;
    const t2 = d ^ t1;
    const t3 = c ^ t2;
    const t4 = a & t3;
    const t5 = b | t4;
    const t6 = t2 ^ t5;
    const t7 = a ^ t6;
    const t8 = a & t7;
    const t9 = t3 ^ t8;
    const t10 = b ^ t4;
    const t11 = t9 | t10;
    const t12 = ~t9;
    const t13 = t6 ^ t11;
    const t14 = t7 ^ t12;
    const t15 = t7 ^ t10;
    blocks[block] = t15 ^ k0;
    blocks[block + 1] = t7 ^ k1;
    blocks[block + 2] = t13 ^ k2;
    blocks[block + 3] = t14 ^ k3;
  }
}

function inverseBox6(blocks: Int32Array, keys: Int32Array, at: number): void {
  const [k0, k1, k2, k3] = [keys[at] ?? 0, keys[at + 1] ?? 0, keys[at + 2] ?? 0, keys[at + 3] ?? 0];
  for (let block = 0; block < blocks.length; block += 4) {
    const a = blocks[block] ?? 0;
    const b = blocks[block + 1] ?? 0;
    const c = blocks[block + 2] ?? 0;
    const d = blocks[block + 3] ?? 0;
    const t1 = a ^ c;
    const t2 = c & t1;
    const t3 = d ^ t2;
    const t4 = ~b;
    const t5 = t3 ^ t4;
    const t7 = t1 & t3;
    const t8 = t1 ^ t5;
    const t9 = a ^ t7;
    const t10 = b ^ t9;
    const t11 = t4 & t9;
    const t12 = t8 ^ t11;
    const t13 = t10 ^ t12;
    const t14 = t12 & t13;
    const t15 = t3 ^ t14;
    blocks[block] = t13 ^ k0;
    blocks[block + 1] = t5 ^ k1;
    blocks[block + 2] = t15 ^ k2;
    blocks[block + 3] = t12 ^ k3;
  }
}

function inverseBox7(blocks: Int32Array, keys: Int32Array, at: number): void {
  const [k0, k1, k2, k3] = [keys[at] ?? 0, keys[at + 1] ?? 0, keys[at + 2] ?? 0, keys[at + 3] ?? 0];
  for (let block = 0; block < blocks.length; block += 4) {
    const a = blocks[block] ?? 0;
    const b = blocks[block + 1] ?? 0;
    const c = blocks[block + 2] ?? 0;
    const d = blocks[block + 3] ?? 0;
    const t1 = c | d;
    const t2 = ~c;
    const t3 = a & d;
    const t4 = a ^ t2;
    const t5 = b ^ d;
    const t6 = t1 ^ t3;
    const t7 = t5 | t6;
    const t8 = t4 ^ t7;
    const t9 = t6 ^ t8;
    const t10 = t1 & t9;
    const t11 = t3 | t9;
    const t12 = t5 ^ t11;
    const t13 = b ^ t10;
    const t14 = t12 & t13;
    const t15 = t6 ^ t13;
    const t16 = t14 ^ t15;
    const t17 = d ^ t8;
    blocks[block] = t17 ^ k0;
    blocks[block + 1] = t12 ^ k1;
    blocks[block + 2] = t13 ^ k2;
    blocks[block + 3] = t16 ^ k3;
  }
}

/** Substituting comes first here, the key last. */
export const serpentInverseBoxes: readonly KeyedBox[] = [
  inverseBox0,
  inverseBox1,
  inverseBox2,
  inverseBox3,
  inverseBox4,
  inverseBox5,
  inverseBox6,
  inverseBox7,
];
