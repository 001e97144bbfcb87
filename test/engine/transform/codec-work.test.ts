// What codecs make of clusters and blobs: packed, left out, cut to their length, or told to be of no use.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { deflateRawSync, inflateRawSync, zstdCompressSync, zstdDecompressSync } from 'node:zlib';

import { broken } from '../../../src/engine/transform/codec-task.ts';
import { performTask } from '../../../src/engine/transform/codec-work.ts';
import { Prng } from '../../support/prng.ts';

const clusterSize = 4096;
const chance = new Prng(31);
const zeroes = new Uint8Array(clusterSize);
const noise = chance.bytes(clusterSize);
const striped = new Uint8Array(clusterSize).map((_, index) => (index % 64 === 0 ? chance.below(256) : 7));
const other = new Uint8Array(clusterSize).fill(9);

const methods = [
  {
    name: 'deflate',
    type: 0,
    pack: (bytes: Uint8Array) => deflateRawSync(bytes, { windowBits: 12 }),
    unpack: inflateRawSync,
  },
  { name: 'zstd', type: 1, pack: (bytes: Uint8Array) => zstdCompressSync(bytes), unpack: zstdDecompressSync },
] as const;

function joined(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(Buffer.concat(parts));
}

for (const { name, type, pack, unpack } of methods) {
  describe(`${name} work`, () => {
    /** Blobs, each with what its last sector has behind it. */
    function inFile(blobs: readonly Uint8Array[]) {
      const padded = blobs.map((blob) => joined(blob, chance.bytes(chance.below(511))));
      return { type, clusterSize, bytes: joined(...padded), lengths: padded.map(({ length }) => length) } as const;
    }

    it('packs clusters, keeps what does not shrink, and tells zeroes only where it was asked to', () => {
      const clusters = [zeroes, striped, noise, zeroes];
      const task = { kind: 'pack', type, clusterSize } as const;
      const told = performTask({ ...task, bytes: joined(...clusters), dropsZeroes: true });
      const [first, packedLength = 0, plain, last] = told.lengths;
      assert.deepEqual([first, plain, last], [0, clusterSize, 0]);
      assert.deepEqual(Uint8Array.from(unpack(told.bytes.subarray(0, packedLength))), striped);
      assert.deepEqual(told.bytes.subarray(packedLength), noise);
      const kept = performTask({ ...task, bytes: joined(...clusters), dropsZeroes: false });
      assert.ok((kept.lengths[0] ?? 0) > 0 && (kept.lengths[3] ?? 0) > 0);
    });

    it('cuts blobs to the byte, and tells which are of no use, and which are zeroes where it was asked to', () => {
      const blobs = [
        pack(striped),
        pack(zeroes),
        chance.bytes(50),
        pack(noise.subarray(0, 100)),
        pack(other),
        pack(noise),
      ];
      const { bytes, lengths } = performTask({ ...inFile(blobs), kind: 'trim', dropsZeroes: true });
      assert.deepEqual(lengths, [blobs[0]?.length, 0, broken, broken, blobs[4]?.length, broken]);
      assert.deepEqual(bytes, joined(pack(striped), pack(other)));
      const kept = performTask({ ...inFile([pack(zeroes)]), kind: 'trim', dropsZeroes: false });
      assert.deepEqual(kept.bytes, joined(pack(zeroes)));
    });
  });
}

describe('a packed deflate cluster', () => {
  it('names nothing that lies more than 4 KiB back, and has no wrapper (CMP-03, CMP-04, T37)', () => {
    const length = 65_536;
    const repeated = (distance: number): Uint8Array<ArrayBuffer> => {
      const part = chance.bytes(distance);
      return Uint8Array.from({ length }, (_, index) => part[index % distance] ?? 0);
    };
    const pack = (bytes: Uint8Array<ArrayBuffer>): number =>
      performTask({ kind: 'pack', type: 0, clusterSize: length, bytes, dropsZeroes: false }).lengths[0] ?? 0;
    assert.ok(pack(repeated(3_500)) < length / 8);
    assert.equal(pack(repeated(5_000)), length, 'a larger window would find the repetition');
    const task = { kind: 'pack', type: 0, clusterSize, bytes: striped.slice(), dropsZeroes: false } as const;
    const { bytes, lengths } = performTask(task);
    assert.deepEqual(Uint8Array.from(inflateRawSync(bytes.subarray(0, lengths[0]), { windowBits: 12 })), striped);
  });
});

describe('a deflate stream that goes on behind its cluster', () => {
  it('is not passed on: nobody knows where the cluster ends in it', () => {
    const bytes = Uint8Array.from(deflateRawSync(joined(striped, other), { windowBits: 12 }));
    const task = { type: 0, clusterSize, lengths: [bytes.length] } as const;
    assert.deepEqual(performTask({ ...task, kind: 'trim', bytes: bytes.slice(), dropsZeroes: true }).lengths, [broken]);
  });
});
