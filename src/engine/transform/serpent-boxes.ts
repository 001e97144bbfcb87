// The eight S-boxes of Serpent (Anderson, Biham, Knudsen: "Serpent: A Proposal for the Advanced Encryption Standard", §2), as
// gates over whole words: bit n of the four words of a block is one nibble. The gates were found by a search; the test
// holds each box against the table of the paper.

/** One box over all blocks of four words, in place: mixes the round's key in (four words from `at` on), and substitutes. */
export type KeyedBox = (blocks: Int32Array, keys: Int32Array, at: number) => void;

function box0(blocks: Int32Array, keys: Int32Array, at: number): void {
  const [k0, k1, k2, k3] = [keys[at] ?? 0, keys[at + 1] ?? 0, keys[at + 2] ?? 0, keys[at + 3] ?? 0];
  for (let block = 0; block < blocks.length; block += 4) {
    const a = (blocks[block] ?? 0) ^ k0;
    const b = (blocks[block + 1] ?? 0) ^ k1;
    const c = (blocks[block + 2] ?? 0) ^ k2;
    const d = (blocks[block + 3] ?? 0) ^ k3;
    const t1 = a ^ d;
    const t2 = c ^ t1;
    const t3 = b ^ t2;
    const t4 = b & t1;
    const t5 = a & d;
    const t6 = a ^ t4;
    const t7 = t3 ^ t5;
    const t8 = t2 ^ t6;
    const t9 = t7 & t8;
    const t10 = ~t9;
    const t11 = t2 ^ t10;
    const t12 = c | t6;
    const t13 = t6 ^ t10;
    const t14 = t3 ^ t12;
    blocks[block] = t13;
    blocks[block + 1] = t11;
    blocks[block + 2] = t14;
    blocks[block + 3] = t7;
  }
}

function box1(blocks: Int32Array, keys: Int32Array, at: number): void {
  const [k0, k1, k2, k3] = [keys[at] ?? 0, keys[at + 1] ?? 0, keys[at + 2] ?? 0, keys[at + 3] ?? 0];
  for (let block = 0; block < blocks.length; block += 4) {
    const a = (blocks[block] ?? 0) ^ k0;
    const b = (blocks[block + 1] ?? 0) ^ k1;
    const c = (blocks[block + 2] ?? 0) ^ k2;
    const d = (blocks[block + 3] ?? 0) ^ k3;
    const t1 = a ^ b;
    const t2 = b & t1;
    const t3 = c ^ t2;
    const t4 = ~t3;
    const t5 = d ^ t4;
    const t6 = d & t1;
    const t7 = a ^ t6;
    const t8 = d ^ t1;
    const t9 = t4 | t7;
    const t10 = t8 ^ t9;
    const t11 = t3 ^ t7;
    const t12 = t10 ^ t11;
    const t13 = t11 & t12;
    const t14 = t4 ^ t13;
    blocks[block] = t14;
    blocks[block + 1] = t10;
    blocks[block + 2] = t5;
    blocks[block + 3] = t12;
  }
}

function box2(blocks: Int32Array, keys: Int32Array, at: number): void {
  const [k0, k1, k2, k3] = [keys[at] ?? 0, keys[at + 1] ?? 0, keys[at + 2] ?? 0, keys[at + 3] ?? 0];
  for (let block = 0; block < blocks.length; block += 4) {
    const a = (blocks[block] ?? 0) ^ k0;
    const b = (blocks[block + 1] ?? 0) ^ k1;
    const c = (blocks[block + 2] ?? 0) ^ k2;
    const d = (blocks[block + 3] ?? 0) ^ k3;
    const t1 = a & c;
    const t2 = d ^ t1;
    const t3 = b ^ c;
    const t4 = a ^ t3;
    const t5 = a | d;
    const t6 = b ^ t5;
    const t7 = t4 & t6;
    const t8 = t2 ^ t7;
    const t9 = t6 & t8;
    const t10 = t4 ^ t9;
    const t11 = t8 ^ t10;
    const t12 = t2 ^ t3;
    const t13 = t6 ^ t10;
    const t14 = ~t11;
    blocks[block] = t12;
    blocks[block + 1] = t13;
    blocks[block + 2] = t8;
    blocks[block + 3] = t14;
  }
}

function box3(blocks: Int32Array, keys: Int32Array, at: number): void {
  const [k0, k1, k2, k3] = [keys[at] ?? 0, keys[at + 1] ?? 0, keys[at + 2] ?? 0, keys[at + 3] ?? 0];
  for (let block = 0; block < blocks.length; block += 4) {
    const a = (blocks[block] ?? 0) ^ k0;
    const b = (blocks[block + 1] ?? 0) ^ k1;
    const c = (blocks[block + 2] ?? 0) ^ k2;
    const d = (blocks[block + 3] ?? 0) ^ k3;
    const t1 = c ^ d;
    const t2 = a & b;
    const t3 = t1 | t2;
    const t4 = a | d;
    const t5 = t2 ^ t4;
    const t6 = c | t5;
    const t7 = b ^ t6;
    const t8 = a & d;
    const t9 = t7 ^ t8;
    const t10 = t3 ^ t7;
    const t11 = t5 | t9;
    const t12 = a ^ t11;
    const t13 = t10 & t12;
    const t14 = t10 ^ t12;
    const t15 = t5 ^ t13;
    blocks[block] = t15;
    blocks[block + 1] = t10;
    blocks[block + 2] = t14;
    blocks[block + 3] = t9;
  }
}

function box4(blocks: Int32Array, keys: Int32Array, at: number): void {
  const [k0, k1, k2, k3] = [keys[at] ?? 0, keys[at + 1] ?? 0, keys[at + 2] ?? 0, keys[at + 3] ?? 0];
  for (let block = 0; block < blocks.length; block += 4) {
    const a = (blocks[block] ?? 0) ^ k0;
    const b = (blocks[block + 1] ?? 0) ^ k1;
    const c = (blocks[block + 2] ?? 0) ^ k2;
    const d = (blocks[block + 3] ?? 0) ^ k3;
    const t1 = a ^ d;
    const t2 = d & t1;
    const t3 = c ^ t2;
    const t4 = b | t3;
    const t5 = t1 ^ t4;
    const t6 = b & t5;
    const t7 = t3 ^ t6;
    const t8 = d ^ t3;
    const t9 = t7 | t8;
    const t10 = b ^ t1;
    const t11 = t5 | t9;
    const t12 = b ^ t11;
    const t13 = t8 ^ t12;
    const t14 = t9 ^ t10;
    const t15 = ~t7;
    blocks[block] = t15;
    blocks[block + 1] = t13;
    blocks[block + 2] = t14;
    blocks[block + 3] = t5;
  }
}

function box5(blocks: Int32Array, keys: Int32Array, at: number): void {
  const [k0, k1, k2, k3] = [keys[at] ?? 0, keys[at + 1] ?? 0, keys[at + 2] ?? 0, keys[at + 3] ?? 0];
  for (let block = 0; block < blocks.length; block += 4) {
    const a = (blocks[block] ?? 0) ^ k0;
    const b = (blocks[block + 1] ?? 0) ^ k1;
    const c = (blocks[block + 2] ?? 0) ^ k2;
    const d = (blocks[block + 3] ?? 0) ^ k3;
    const t1 = a ^ b;
    const t2 = b & t1;
    const t3 = c ^ t2;
    const t4 = ~d;
    const t5 = t1 | t4;
    const t6 = t3 ^ t5;
    const t7 = a ^ t3;
    const t8 = t1 ^ t4;
    const t9 = t6 & t7;
    const t10 = t8 & t9;
    const t11 = t7 ^ t10;
    const t12 = t3 & t4;
    const t13 = t4 ^ t11;
    const t14 = t8 ^ t9;
    const t15 = t8 ^ t12;
    blocks[block] = t6;
    blocks[block + 1] = t15;
    blocks[block + 2] = t14;
    blocks[block + 3] = t13;
  }
}

function box6(blocks: Int32Array, keys: Int32Array, at: number): void {
  const [k0, k1, k2, k3] = [keys[at] ?? 0, keys[at + 1] ?? 0, keys[at + 2] ?? 0, keys[at + 3] ?? 0];
  for (let block = 0; block < blocks.length; block += 4) {
    const a = (blocks[block] ?? 0) ^ k0;
    const b = (blocks[block + 1] ?? 0) ^ k1;
    const c = (blocks[block + 2] ?? 0) ^ k2;
    const d = (blocks[block + 3] ?? 0) ^ k3;
    const t1 = a & d;
    const t2 = ~t1;
    const t3 = c ^ t2;
    const t4 = b ^ t3;
    const t5 = a ^ d;
    const t6 = t4 & t5;
    const t7 = d ^ t6;
    const t8 = b ^ t5;
    const t9 = t7 ^ t8;
    const t10 = t3 | t9;
    const t11 = t2 ^ t8;
    const t12 = t7 ^ t10;
    const t13 = t7 | t11;
    const t14 = t3 ^ t13;
    const t15 = t8 ^ t10;
    blocks[block] = t15;
    blocks[block + 1] = t4;
    blocks[block + 2] = t12;
    blocks[block + 3] = t14;
  }
}

function box7(blocks: Int32Array, keys: Int32Array, at: number): void {
  const [k0, k1, k2, k3] = [keys[at] ?? 0, keys[at + 1] ?? 0, keys[at + 2] ?? 0, keys[at + 3] ?? 0];
  for (let block = 0; block < blocks.length; block += 4) {
    const a = (blocks[block] ?? 0) ^ k0;
    const b = (blocks[block + 1] ?? 0) ^ k1;
    const c = (blocks[block + 2] ?? 0) ^ k2;
    const d = (blocks[block + 3] ?? 0) ^ k3;
    const t1 = b ^ c;
    const t2 = c & t1;
    const t3 = d ^ t2;
    const t4 = a ^ t3;
    const t5 = a & t4;
    const t6 = t1 ^ t5;
    const t7 = b ^ t4;
    const t8 = t5 & t6;
    const t9 = t7 ^ t8;
    const t10 = t3 | t9;
    const t11 = t4 ^ t10;
    const t12 = t6 & t11;
    const t13 = t3 ^ t12;
    const t14 = t6 & t13;
    const t15 = ~t14;
    const t16 = t11 ^ t15;
    blocks[block] = t16;
    blocks[block + 1] = t9;
    blocks[block + 2] = t13;
    blocks[block + 3] = t6;
  }
}

export const serpentBoxes: readonly KeyedBox[] = [box0, box1, box2, box3, box4, box5, box6, box7];
