// What every byte file promises, as a suite over a way to make an empty writable one.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { hostOffset } from '../../src/engine/format/offsets.ts';
import type { ByteFile } from '../../src/engine/file/byte-file.ts';
import { Prng } from '../support/prng.ts';

/** Runs the suite; `make` gives an empty file, which the suite closes. */
export function byteFileContract(name: string, make: () => ByteFile): void {
  const on = (use: (file: ByteFile) => void) => () => {
    const file = make();
    try {
      use(file);
    } finally {
      file.close();
    }
  };

  describe(`byte file: ${name}`, () => {
    it(
      'is empty at first',
      on((file) => {
        assert.equal(file.size, 0);
        assert.equal(file.nextData(hostOffset(0)), undefined);
        assert.deepEqual(read(file, 0, 3), new Uint8Array(3));
      }),
    );

    it(
      'reads back what was written and zeroes beyond the end',
      on((file) => {
        file.writeAt(hostOffset(2), Uint8Array.of(1, 2, 3));
        assert.equal(file.size, 5);
        assert.deepEqual(read(file, 0, 8), Uint8Array.of(0, 0, 1, 2, 3, 0, 0, 0));
        assert.deepEqual(read(file, 100, 2), Uint8Array.of(0, 0));
      }),
    );

    it(
      'overwrites stale bytes of the target with zeroes beyond the end',
      on((file) => {
        file.writeAt(hostOffset(0), Uint8Array.of(1));
        const target = new Uint8Array(4).fill(9);
        file.readAt(hostOffset(0), target);
        assert.deepEqual(target, Uint8Array.of(1, 0, 0, 0));
      }),
    );

    it(
      'keeps what it was given, not the array it was given in',
      on((file) => {
        const source = Uint8Array.of(5, 6);
        file.writeAt(hostOffset(0), source);
        source.fill(0);
        assert.deepEqual(read(file, 0, 2), Uint8Array.of(5, 6));
      }),
    );

    it(
      'does not grow by a write of nothing',
      on((file) => {
        file.writeAt(hostOffset(10), new Uint8Array(0));
        assert.equal(file.size, 0);
      }),
    );

    it(
      'writes across many pages at odd offsets',
      on((file) => {
        const bytes = new Prng(1).bytes(300_001);
        file.writeAt(hostOffset(65_535), bytes);
        assert.deepEqual(read(file, 65_535, bytes.length), bytes);
        assert.equal(file.size, 65_535 + bytes.length);
      }),
    );

    it(
      'punches to zeroes and keeps the size',
      on((file) => {
        file.writeAt(hostOffset(0), new Uint8Array(200_000).fill(7));
        file.punch(hostOffset(1_000), 150_000);
        assert.equal(file.size, 200_000);
        assert.deepEqual(read(file, 999, 3), Uint8Array.of(7, 0, 0));
        assert.ok(read(file, 1_000, 150_000).every((byte) => byte === 0));
        assert.deepEqual(read(file, 150_999, 2), Uint8Array.of(0, 7));
      }),
    );

    it(
      'punches past the end without growing',
      on((file) => {
        file.writeAt(hostOffset(0), Uint8Array.of(1, 2, 3));
        file.punch(hostOffset(1), 1_000_000);
        file.punch(hostOffset(5_000), 10);
        assert.equal(file.size, 3);
        assert.deepEqual(read(file, 0, 3), Uint8Array.of(1, 0, 0));
      }),
    );

    it(
      'shows zeroes where a cut file grows again',
      on((file) => {
        file.writeAt(hostOffset(0), new Uint8Array(10_000).fill(7));
        file.resize(5);
        assert.equal(file.size, 5);
        file.resize(20_000);
        assert.equal(file.size, 20_000);
        assert.deepEqual(read(file, 4, 3), Uint8Array.of(7, 0, 0));
        assert.ok(read(file, 5, 19_995).every((byte) => byte === 0));
      }),
    );

    it(
      'grows by a reservation and changes no byte',
      on((file) => {
        file.writeAt(hostOffset(0), Uint8Array.of(1, 2, 3));
        file.preallocate(hostOffset(1), 100_000);
        assert.equal(file.size, 100_001);
        assert.deepEqual(read(file, 0, 5), Uint8Array.of(1, 2, 3, 0, 0));
        file.preallocate(hostOffset(0), 50);
        assert.equal(file.size, 100_001);
      }),
    );

    it(
      'finds data and never skips it',
      on((file) => {
        const far = 1_048_576;
        file.writeAt(hostOffset(far), Uint8Array.of(1));
        const data = file.nextData(hostOffset(0));
        assert.ok(data !== undefined);
        assert.ok(data.offset <= far && data.offset + data.length > far);
        assert.equal(data.offset + data.length, file.size);
        assert.deepEqual(file.nextData(hostOffset(far)), { offset: far, length: 1 });
        assert.equal(file.nextData(hostOffset(far + 1)), undefined);
      }),
    );

    it(
      'occupies space where something was written',
      on((file) => {
        file.writeAt(hostOffset(0), new Uint8Array(65_536).fill(1));
        file.flush();
        assert.ok(file.allocatedSize >= 65_536);
      }),
    );

    it(
      'takes a paced write-back and a flush at any time',
      on((file) => {
        file.writeAt(hostOffset(0), new Uint8Array(65_536).fill(1));
        file.startWriteBack(hostOffset(0), 32_768);
        file.startWriteBack(hostOffset(32_768), 32_768);
        file.flush();
        file.flush();
        assert.deepEqual(read(file, 65_535, 1), Uint8Array.of(1));
      }),
    );

    it(
      'is the same as plain bytes after any list of changes',
      on((file) => {
        const chance = new Prng(7);
        let model = new Uint8Array(0);
        for (let round = 0; round < 400; round += 1) {
          model = changeBoth({ file, model, chance });
          assert.equal(file.size, model.length);
          const at = chance.below(model.length + 10);
          const expected = new Uint8Array(20_000);
          expected.set(model.subarray(at, at + expected.length));
          assert.deepEqual(read(file, at, expected.length), expected);
        }
        assert.deepEqual(read(file, 0, model.length), model);
        assertHolesAreZero(file, model);
      }),
    );
  });
}

function read(file: ByteFile, offset: number, length: number): Uint8Array {
  const target = new Uint8Array(length);
  file.readAt(hostOffset(offset), target);
  return target;
}

function changeBoth(state: { file: ByteFile; model: Uint8Array<ArrayBuffer>; chance: Prng }): Uint8Array<ArrayBuffer> {
  const { file, model, chance } = state;
  const at = chance.below(200_000);
  const length = chance.below(chance.chance(50) ? 600 : 30_000);
  switch (chance.below(5)) {
    case 0:
      file.resize(at);
      return resized(model, at);
    case 1:
      file.punch(hostOffset(at), length);
      model.fill(0, at, at + length);
      return model;
    case 2: {
      file.preallocate(hostOffset(at), length);
      return length === 0 ? model : resized(model, Math.max(model.length, at + length));
    }
    default: {
      const bytes = chance.bytes(length);
      file.writeAt(hostOffset(at), bytes);
      const grown = length === 0 ? model : resized(model, Math.max(model.length, at + length));
      grown.set(bytes, length === 0 ? 0 : at);
      return grown;
    }
  }
}

function resized(bytes: Uint8Array, length: number): Uint8Array<ArrayBuffer> {
  const result = new Uint8Array(length);
  result.set(bytes.subarray(0, length));
  return result;
}

function assertHolesAreZero(file: ByteFile, model: Uint8Array): void {
  let at = 0;
  for (;;) {
    const data = file.nextData(hostOffset(at));
    const holeEnd = data?.offset ?? model.length;
    assert.ok(model.subarray(at, holeEnd).every((byte) => byte === 0));
    if (data === undefined) return;
    assert.ok(data.length > 0);
    at = data.offset + data.length;
  }
}
