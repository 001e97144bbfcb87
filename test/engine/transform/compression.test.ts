// Compressed clusters: what unpacks, what is ignored behind them, and what is refused.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { constants, deflateRawSync, deflateSync, zstdCompressSync } from 'node:zlib';

import { unpackCluster } from '../../../src/engine/transform/compression.ts';
import type { CompressionType } from '../../../src/engine/transform/compression.ts';
import { Prng } from '../../support/prng.ts';
import { faultCodeOf } from '../../support/faults.ts';

const chance = new Prng(20);

/** Bytes that compress to about a third. */
function text(length: number): Uint8Array {
  const words = Array.from({ length: 200 }, () => chance.bytes(1 + chance.below(9)));
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length;) {
    const word = chance.pick(words);
    bytes.set(word.subarray(0, length - at), at);
    at += word.length;
  }
  return bytes;
}

function deflate(bytes: Uint8Array): Uint8Array {
  return deflateRawSync(bytes, { windowBits: 12, memLevel: 9 });
}

function join(...parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(parts));
}

function unpacked(type: CompressionType, packed: Uint8Array, length: number): Uint8Array {
  const target = new Uint8Array(length).fill(0xee);
  unpackCluster(type, packed, target);
  return target;
}

function refusal(type: CompressionType, packed: Uint8Array, length: number): string | undefined {
  return faultCodeOf(() => {
    unpackCluster(type, packed, new Uint8Array(length));
  });
}

const invalid = 'compressed-data-invalid';
const methods = [
  { name: 'deflate', type: 0, pack: deflate },
  { name: 'zstd', type: 1, pack: (bytes: Uint8Array) => Uint8Array.from(zstdCompressSync(bytes)) },
] as const;

for (const { name, type, pack } of methods) {
  describe(`a ${name} cluster`, () => {
    for (const length of [512, 4_096, 65_536, 2_097_152]) {
      it(`of ${String(length)} bytes unpacks with nothing, padding or another blob behind it (CMP-02, T32)`, () => {
        const cluster = text(length);
        const packed = pack(cluster);
        assert.deepEqual(unpacked(type, packed, length), cluster);
        assert.deepEqual(unpacked(type, join(packed, new Uint8Array(700)), length), cluster);
        assert.deepEqual(unpacked(type, join(packed, pack(text(length))), length), cluster);
        assert.deepEqual(unpacked(type, join(packed, pack(text(length)).subarray(0, 30)), length), cluster);
        assert.deepEqual(unpacked(type, join(packed, chance.bytes(511)), length), cluster);
      });
    }

    it('unpacks from the middle of a larger array', () => {
      const cluster = text(4_096);
      const packed = pack(cluster);
      const around = join(chance.bytes(13), packed, chance.bytes(99));
      assert.deepEqual(unpacked(type, around.subarray(13), 4_096), cluster);
    });

    it('unpacks zeroes, noise and every length of repeated bytes', () => {
      for (const cluster of [new Uint8Array(65_536), chance.bytes(65_536), new Uint8Array(512).fill(7)]) {
        assert.deepEqual(unpacked(type, pack(cluster), cluster.length), cluster);
      }
    });

    it('is refused when it holds less than a cluster', () => {
      assert.equal(refusal(type, pack(text(4_095)), 4_096), invalid);
      assert.equal(refusal(type, new Uint8Array(0), 4_096), invalid);
      assert.equal(refusal(type, new Uint8Array(1_024).fill(0xff), 4_096), invalid);
    });

    it('is refused when it is cut off before the cluster is full', () => {
      const packed = pack(text(4_096));
      for (const keep of [1, 5, 9, 30, Math.floor(packed.length / 2)]) {
        assert.equal(refusal(type, packed.subarray(0, keep), 4_096), invalid, String(keep));
      }
    });

    it('is a cluster or a fault, whatever bytes are changed', () => {
      const cluster = text(2_048);
      const packed = pack(cluster);
      for (let round = 0; round < 2_000; round += 1) {
        const changed = packed.slice();
        for (let change = 0; change <= chance.below(3); change += 1) {
          changed[chance.below(changed.length)] = chance.below(256);
        }
        const code = refusal(type, changed, 2_048);
        assert.ok(code === undefined || code === invalid, String(code));
      }
    });

    it('makes no more than a cluster out of a bomb', () => {
      const bomb = pack(new Uint8Array(512 * 1_048_576));
      const before = process.memoryUsage().rss;
      const code = refusal(type, bomb, 65_536);
      assert.ok(code === undefined || code === invalid);
      assert.ok(process.memoryUsage().rss - before < 64 * 1_048_576);
    });
  });
}

describe('a deflate stream', () => {
  it('counts as far as the cluster when it goes on behind it (CMP-03)', () => {
    const longer = text(20_000);
    for (const length of [512, 4_096, 16_384, 19_999]) {
      assert.deepEqual(unpacked(0, deflate(longer), length), longer.subarray(0, length));
    }
    assert.deepEqual(unpacked(0, deflate(new Uint8Array(1_000_000)), 65_536), new Uint8Array(65_536));
  });

  it('counts when its end marker is missing or damaged behind the full cluster', () => {
    const cluster = text(30_000);
    const unfinished = deflateRawSync(cluster, { finishFlush: constants.Z_SYNC_FLUSH });
    assert.deepEqual(unpacked(0, unfinished, cluster.length), cluster);
    const invalidBlock = Uint8Array.of(0b111, 0xff, 0xff);
    assert.deepEqual(unpacked(0, join(unfinished, invalidBlock), cluster.length), cluster);
  });

  it('may use the window of 32 KiB that other writers use (CMP-04)', () => {
    const noise = chance.bytes(32_000);
    const cluster = join(noise, noise, new Uint8Array(1_536));
    const packed = deflateRawSync(cluster, { windowBits: 15, level: 9 });
    assert.ok(packed.length < 40_000);
    assert.deepEqual(unpacked(0, packed, 65_536), cluster);
  });

  it('is refused with the wrapper of zlib around it (T37)', () => {
    assert.equal(refusal(0, deflateSync(text(4_096)), 4_096), invalid);
  });
});

describe('zstd frames', () => {
  const pack = (bytes: Uint8Array, params: Readonly<Record<number, number>>): Uint8Array =>
    Uint8Array.from(zstdCompressSync(bytes, { params }));
  const checksum = { [constants.ZSTD_c_checksumFlag]: 1 };
  const skippable = (length: number): Uint8Array => {
    const frame = new Uint8Array(8 + length).fill(0x28);
    new DataView(frame.buffer).setUint32(0, 0x184d2a53, true);
    new DataView(frame.buffer).setUint32(4, length, true);
    return frame;
  };

  it('follow each other until the cluster is full (CMP-05)', () => {
    const parts = [text(10_000), text(1), text(50_000), text(5_535)];
    const packed = join(...parts.map((part) => pack(part, checksum)), pack(text(500), {}));
    assert.deepEqual(unpacked(1, packed, 65_536), join(...parts));
  });

  it('end with the cluster, or the cluster is refused (CMP-05)', () => {
    const packed = join(pack(text(40_000), {}), pack(text(40_000), {}));
    assert.equal(refusal(1, packed, 65_536), invalid);
    assert.equal(refusal(1, pack(text(65_537), {}), 65_536), invalid);
  });

  it('may be empty or skippable between others', () => {
    const parts = [text(2_048), text(2_048)] as const;
    const packed = join(
      skippable(0),
      pack(parts[0], {}),
      skippable(77),
      pack(new Uint8Array(0), {}),
      pack(parts[1], {}),
    );
    assert.deepEqual(unpacked(1, packed, 4_096), join(...parts));
    assert.equal(refusal(1, skippable(77), 4_096), invalid);
    assert.equal(refusal(1, skippable(77).subarray(0, 60), 4_096), invalid);
  });

  it('show a damaged checksum', () => {
    const packed = pack(text(4_096), checksum);
    const last = packed.length - 1;
    packed[last] = (packed[last] ?? 0) ^ 1;
    assert.equal(refusal(1, packed, 4_096), invalid);
  });

  it('of every level, size header and content end where the walk says', () => {
    for (let round = 0; round < 200; round += 1) {
      const length = 1 + chance.below(60_000);
      const cluster = chance.chance(30) ? chance.bytes(length) : text(length);
      const packed = pack(cluster, {
        [constants.ZSTD_c_compressionLevel]: 1 + chance.below(12),
        [constants.ZSTD_c_checksumFlag]: chance.below(2),
        [constants.ZSTD_c_contentSizeFlag]: chance.below(2),
        [constants.ZSTD_c_windowLog]: 10 + chance.below(13),
      });
      assert.deepEqual(unpacked(1, join(packed, chance.bytes(chance.below(600))), length), cluster);
    }
  });

  it('do not ask for windows beyond 8 MiB', () => {
    const packed = pack(text(4_096), { [constants.ZSTD_c_contentSizeFlag]: 0 });
    // Byte 5 is the window descriptor: exponent 2^(10 + 17) without mantissa is 128 MiB.
    packed[5] = 17 << 3;
    assert.equal(refusal(1, packed, 4_096), invalid);
  });
});
