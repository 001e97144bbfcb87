import assert from 'node:assert/strict';
import { test } from 'node:test';

import { FileWindow } from '../../../src/engine/file/file-window.ts';
import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { hostOffset } from '../../../src/engine/format/offsets.ts';
import { Prng } from '../../support/prng.ts';

test('shows what the file holds wherever it is asked, and zeroes behind its end', () => {
  const bytes = new Prng(5).bytes(200_001);
  const file = MemoryFile.empty();
  file.writeAt(hostOffset(0), bytes);
  const window = new FileWindow(file);
  for (const [offset, length] of [
    [0, 40],
    [65_500, 40],
    [65_510, 64],
    [100, 65_536],
    [199_990, 40],
    [200_001, 16],
    [2 ** 50, 16],
    [0, 150_000],
  ] as const) {
    const target = new Uint8Array(length).fill(1);
    window.copy(offset, target);
    const expected = new Uint8Array(length);
    expected.set(bytes.subarray(Math.min(offset, bytes.length), Math.min(offset + length, bytes.length)));
    assert.deepEqual(target, expected);
  }
});

test('asks the file once for many small pieces', () => {
  const file = MemoryFile.empty();
  file.writeAt(hostOffset(0), new Uint8Array(70_000).fill(7));
  let reads = 0;
  const readAt = file.readAt.bind(file);
  file.readAt = (offset, target): void => {
    reads += 1;
    readAt(offset, target);
  };
  const window = new FileWindow(file);
  for (let at = 0; at + 64 <= 65_536; at += 64) assert.equal(window.view.getUint8(window.seek(at, 64)), 7);
  assert.equal(reads, 1);
});
