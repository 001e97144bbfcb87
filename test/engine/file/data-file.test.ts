// The external data file by itself: what is written, cleared, and made durable.

import assert from 'node:assert/strict';
import { it } from 'node:test';

import { DataFile } from '../../../src/engine/file/data-file.ts';
import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { hostOffset } from '../../../src/engine/format/offsets.ts';
import { fileBytes } from '../../support/memory-parts.ts';

const size = 64 * 1024;

function newDataFile(): { readonly memory: MemoryFile; readonly file: DataFile } {
  const memory = MemoryFile.of(new Uint8Array(size).fill(7));
  return { memory, file: new DataFile(memory) };
}

it('stays as long as the disk when only zeroes would lie behind', () => {
  const { memory, file } = newDataFile();
  const bytes = new Uint8Array(4096);
  bytes.fill(9, 0, 1024);
  file.writeAt(hostOffset(size - 1024), bytes);
  assert.equal(memory.size, size);
  assert.deepEqual(fileBytes(memory).subarray(size - 1025, size - 1023), Uint8Array.of(7, 9));
  file.writeAt(hostOffset(size), new Uint8Array(512));
  assert.equal(memory.size, size);
  file.writeAt(hostOffset(size), Uint8Array.of(1, 0));
  assert.equal(memory.size, size + 1);
});

it('writes zeroes inside as they are', () => {
  const { memory, file } = newDataFile();
  file.writeAt(hostOffset(100), new Uint8Array(50));
  assert.deepEqual([...fileBytes(memory).subarray(99, 151)], [7, ...new Array<number>(50).fill(0), 7]);
});

it('clears a span, and a flush makes that durable', () => {
  const { memory, file } = newDataFile();
  assert.equal(file.unflushed, false);
  file.clear({ offset: 4096, length: 8192 }, { keep: false });
  assert.equal(file.unflushed, true);
  const bytes = fileBytes(memory);
  assert.ok(bytes.subarray(4096, 12_288).every((byte) => byte === 0));
  assert.deepEqual([bytes[4095], bytes[12_288]], [7, 7]);
  file.flush();
  file.clear({ offset: 4096, length: 8192 }, { keep: false });
  assert.equal(file.unflushed, false, 'a hole needs no clearing');
});
