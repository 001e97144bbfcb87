// A small QCOW2 file as bytes that a test may damage: finds tables and refcounts by its own few lines, not by the engine's.

import { readFileSync, writeFileSync } from 'node:fs';

/** Offsets in bytes, 64-bit values as bigints: nothing here needs to be fast. */
export class ImageBytes {
  readonly clusterSize: number;
  readonly version: number;
  readonly extended: boolean;
  #bytes: Buffer;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes);
    this.clusterSize = 2 ** this.u32(20);
    this.version = this.u32(4);
    this.extended = this.version === 3 && (this.u32(76) & 16) !== 0;
  }

  static of(bytes: Uint8Array): ImageBytes {
    return new ImageBytes(bytes);
  }

  static read(path: string): ImageBytes {
    return new ImageBytes(readFileSync(path));
  }

  write(path: string): void {
    writeFileSync(path, this.#bytes);
  }

  get bytes(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }

  get length(): number {
    return this.#bytes.length;
  }

  u32(at: number): number {
    return this.#bytes.readUInt32BE(at);
  }

  setU32(at: number, value: number): void {
    this.#reach(at + 4);
    this.#bytes.writeUInt32BE(value >>> 0, at);
  }

  u64(at: number): bigint {
    return at + 8 <= this.length ? this.#bytes.readBigUInt64BE(at) : 0n;
  }

  setU64(at: number, value: bigint): void {
    this.#reach(at + 8);
    this.#bytes.writeBigUInt64BE(value, at);
  }

  fill(at: number, length: number, value: number): void {
    this.#reach(at + length);
    this.#bytes.fill(value, at, at + length);
  }

  copy(from: number, length: number, to: number): void {
    this.#reach(Math.max(from, to) + length);
    this.#bytes.copy(this.#bytes, to, from, from + length);
  }

  /** Cuts the file, or makes it longer with zeroes. */
  resize(length: number): void {
    const bytes = Buffer.alloc(length);
    this.#bytes.copy(bytes, 0, 0, Math.min(length, this.length));
    this.#bytes = bytes;
  }

  /** The first cluster that begins at or behind the end of the file. */
  get endCluster(): number {
    return Math.ceil(this.length / this.clusterSize);
  }

  get l1Offset(): number {
    return Number(this.u64(40));
  }

  l1At(index: number): number {
    return this.l1Offset + index * 8;
  }

  /** The host offset of an L1 or L2 entry at `at`. */
  target(at: number): number {
    return Number(this.u64(at) & 0x00ff_ffff_ffff_fe00n);
  }

  /** Where the L2 entry of guest cluster `cluster` lies (all disks here fit one L2 table unless said otherwise). */
  l2At(cluster: number): number {
    const size = this.extended ? 16 : 8;
    const perTable = this.clusterSize / size;
    const table = this.target(this.l1At(Math.floor(cluster / perTable)));
    if (table === 0) throw new Error(`guest cluster ${cluster} has no L2 table`);
    return table + (cluster % perTable) * size;
  }

  get tableOffset(): number {
    return Number(this.u64(48));
  }

  /** Where the refcount of a host cluster lies. */
  #refcountPlace(cluster: number): { readonly block: number; readonly slot: number; readonly bits: number } {
    const bits = this.version === 3 ? 2 ** this.u32(96) : 16;
    const perBlock = (this.clusterSize * 8) / bits;
    const block = Number(this.u64(this.tableOffset + Math.floor(cluster / perBlock) * 8) & ~0x1ffn);
    return { block, slot: cluster % perBlock, bits };
  }

  /** The refcount block that covers a cluster. */
  blockOf(cluster: number): number {
    return this.#refcountPlace(cluster).block;
  }

  refcount(cluster: number): number {
    const { block, slot, bits } = this.#refcountPlace(cluster);
    if (bits < 8) {
      const byte = this.#bytes.readUInt8(block + Math.floor((slot * bits) / 8));
      return (byte >> ((slot * bits) % 8)) & (2 ** bits - 1);
    }
    return Number(
      `0x${this.#bytes.subarray(block + (slot * bits) / 8, block + ((slot + 1) * bits) / 8).toString('hex')}`,
    );
  }

  setRefcount(cluster: number, value: number): void {
    const { block, slot, bits } = this.#refcountPlace(cluster);
    if (bits < 8) {
      const at = block + Math.floor((slot * bits) / 8);
      const shift = (slot * bits) % 8;
      const rest = this.#bytes.readUInt8(at) & ~((2 ** bits - 1) << shift);
      this.#bytes.writeUInt8(rest | (value << shift), at);
      return;
    }
    const hex = value.toString(16).padStart(bits / 4, '0');
    Buffer.from(hex, 'hex').copy(this.#bytes, block + (slot * bits) / 8);
  }

  /** The cluster of a host offset. */
  cluster(offset: number): number {
    return Math.floor(offset / this.clusterSize);
  }

  /** Where snapshot table entry `index` lies. */
  snapshotAt(index: number): number {
    let at = Number(this.u64(64));
    for (let entry = 0; entry < index; entry += 1) {
      const texts = this.u32(at + 12);
      at = Math.ceil((at + 40 + this.u32(at + 36) + Math.floor(texts / 65_536) + (texts % 65_536)) / 8) * 8;
    }
    return at;
  }

  /** Where the data of the header extension `type` lies. */
  extensionAt(type: number): number {
    let at = this.version === 3 ? this.u32(100) : 72;
    for (;;) {
      const found = this.u32(at);
      if (found === 0) throw new Error(`the header has no extension ${type.toString(16)}`);
      if (found === type) return at + 8;
      at += 8 + Math.ceil(this.u32(at + 4) / 8) * 8;
    }
  }

  #reach(end: number): void {
    if (end > this.length) this.resize(end);
  }
}
