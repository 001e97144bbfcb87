import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import type { ByteSpan } from '../../../src/base/byte-span.ts';
import { MiB } from '../../../src/base/units.ts';
import type { ByteFile } from '../../../src/engine/file/byte-file.ts';
import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { TrackedFile } from '../../../src/engine/file/tracked-file.ts';
import { hostOffset } from '../../../src/engine/format/offsets.ts';
import { byteFileContract } from '../../contracts/byte-file.ts';
import { CountingFile } from '../../support/counting-file.ts';
import { FaultyFile } from '../../support/faulty-file.ts';
import { fileBytes } from '../../support/memory-parts.ts';

byteFileContract('a tracked file', () => new TrackedFile(MemoryFile.empty()));

describe('a tracked file', () => {
  test('flushes only when something was written', () => {
    const counted = new CountingFile(MemoryFile.empty());
    const file = new TrackedFile(counted);
    file.flush();
    file.writeAt(hostOffset(0), new Uint8Array(1));
    file.flush();
    file.flush();
    assert.equal(counted.flushCount, 1);
  });

  test('flushes also what came from another file', () => {
    const copying = new FaultyFile(MemoryFile.empty(), {
      observer: undefined,
      ignoresFlush: () => false,
      copyBlock: 512,
    });
    const file = new TrackedFile(copying);
    assert.equal(file.copyBlock, 512);
    assert.equal(file.copyFrom(hostOffset(0), MemoryFile.of(Uint8Array.of(1, 2)), { offset: 1, length: 5 }), 1);
    file.flush();
    assert.equal(copying.flushCount, 1);
    assert.deepEqual(fileBytes(file), Uint8Array.of(2));
    const other = new TrackedFile(new CountingFile(MemoryFile.empty()));
    assert.equal(other.copyBlock, undefined);
    assert.equal(other.copyFrom(hostOffset(0), MemoryFile.of(Uint8Array.of(1)), { offset: 0, length: 1 }), 0);
  });

  test('starts the way to the disk for every 8 MiB in a row', () => {
    const starts: ByteSpan[] = [];
    const file = new TrackedFile(withWriteBack(MemoryFile.empty(), starts));
    for (let index = 0; index < 20; index += 1) file.writeAt(hostOffset(index * MiB), new Uint8Array(MiB));
    file.writeAt(hostOffset(100 * MiB), new Uint8Array(7 * MiB));
    assert.deepEqual(starts, [
      { offset: 0, length: 8 * MiB },
      { offset: 8 * MiB, length: 8 * MiB },
    ]);
  });
});

/** A file that tells where write-back was started. */
function withWriteBack(file: MemoryFile, starts: ByteSpan[]): ByteFile {
  const counted = new CountingFile(file);
  counted.startWriteBack = (offset, length) => {
    starts.push({ offset, length });
  };
  return counted;
}
