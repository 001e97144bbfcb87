// A file in memory: the contract, its sparseness, and its copies.

import assert from 'node:assert/strict';
import { it } from 'node:test';

import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { hostOffset } from '../../../src/engine/format/offsets.ts';
import { byteFileContract } from '../../contracts/byte-file.ts';

byteFileContract('MemoryFile', () => MemoryFile.empty());

it('holds a few bytes just below 2^53 at the price of a few pages', () => {
  const file = MemoryFile.empty();
  const far = Number.MAX_SAFE_INTEGER - 10;
  file.writeAt(hostOffset(far), Uint8Array.of(1, 2, 3));
  file.writeAt(hostOffset(0), Uint8Array.of(9));
  assert.equal(file.size, far + 3);
  assert.equal(file.allocatedSize, 2 * 4096);
  assert.deepEqual(file.nextData(hostOffset(1_000_000)), { offset: far - (far % 4096), length: (far % 4096) + 3 });
  file.punch(hostOffset(0), far);
  assert.equal(file.allocatedSize, 4096);
  file.resize(1);
  assert.equal(file.allocatedSize, 0);
});

it('merges neighbouring pages into one stretch of data', () => {
  const file = MemoryFile.empty();
  file.writeAt(hostOffset(8_192), new Uint8Array(8_192).fill(1));
  file.writeAt(hostOffset(4_096), new Uint8Array(4_096).fill(1));
  file.resize(100_000);
  assert.deepEqual(file.nextData(hostOffset(0)), { offset: 4_096, length: 12_288 });
  assert.deepEqual(file.nextData(hostOffset(5_000)), { offset: 5_000, length: 11_384 });
});

it('forks into files that change each for itself', () => {
  const file = MemoryFile.of(new Uint8Array(10_000).fill(1));
  const fork = file.fork();
  const grandchild = fork.fork();
  file.writeAt(hostOffset(0), Uint8Array.of(2));
  fork.writeAt(hostOffset(0), Uint8Array.of(3));
  fork.writeAt(hostOffset(1), Uint8Array.of(3));
  grandchild.punch(hostOffset(0), 5);
  grandchild.resize(20);
  const firstOf = (one: MemoryFile): Uint8Array => {
    const target = new Uint8Array(3);
    one.readAt(hostOffset(0), target);
    return target;
  };
  assert.deepEqual(firstOf(file), Uint8Array.of(2, 1, 1));
  assert.deepEqual(firstOf(fork), Uint8Array.of(3, 3, 1));
  assert.deepEqual(firstOf(grandchild), Uint8Array.of(0, 0, 0));
  assert.deepEqual([file.size, fork.size, grandchild.size], [10_000, 10_000, 20]);
});
