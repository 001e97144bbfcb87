// The simulated file itself: what a crash may leave of its changes, and how it fails.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { Fault } from '../../src/base/fault.ts';
import { MemoryFile } from '../../src/engine/file/memory-file.ts';
import { hostOffset } from '../../src/engine/format/offsets.ts';
import { byteFileContract } from '../contracts/byte-file.ts';
import { contentAfterCrash, FaultyFile, prefixSurvival, survivals } from '../support/faulty-file.ts';
import type { FaultyFileOptions, Survival } from '../support/faulty-file.ts';
import { faultCodeOf } from '../support/faults.ts';
import { Prng } from '../support/prng.ts';

const plain: FaultyFileOptions = { observer: undefined, ignoresFlush: () => false };

byteFileContract('FaultyFile', () => new FaultyFile(MemoryFile.empty(), plain));

function bytesOf(content: MemoryFile): Uint8Array {
  const bytes = new Uint8Array(content.size);
  content.readAt(hostOffset(0), bytes);
  return bytes;
}

function filled(length: number, value: number): Uint8Array {
  return new Uint8Array(length).fill(value);
}

const whole = { grown: [], tornAfterSectors: undefined };

describe('a crash', () => {
  it('leaves what was flushed and any subset of the rest, in order', () => {
    const file = new FaultyFile(MemoryFile.of(filled(4, 1)), plain);
    file.writeAt(hostOffset(0), filled(2, 2));
    file.flush();
    file.writeAt(hostOffset(1), filled(2, 3));
    file.writeAt(hostOffset(2), filled(4, 4));
    const after = (survival: Survival): number[] => [...bytesOf(contentAfterCrash(file.epoch, survival))];
    assert.deepEqual(after({ kept: [], ...whole }), [2, 2, 1, 1]);
    assert.deepEqual(after({ kept: [0], ...whole }), [2, 3, 3, 1]);
    assert.deepEqual(after({ kept: [1], ...whole }), [2, 2, 4, 4, 4, 4]);
    assert.deepEqual(after(prefixSurvival(2)), [2, 3, 4, 4, 4, 4]);
    assert.deepEqual(after({ kept: [0], grown: [1], tornAfterSectors: undefined }), [2, 3, 3, 1, 0, 0]);
    assert.deepEqual(after({ kept: [], ...whole }), [2, 2, 1, 1]);
  });

  it('takes punches and new sizes away like writes', () => {
    const file = new FaultyFile(MemoryFile.of(filled(6, 1)), plain);
    file.punch(hostOffset(1), 2);
    file.resize(4);
    const after = (kept: readonly number[]): number[] => [
      ...bytesOf(contentAfterCrash(file.epoch, { kept, ...whole })),
    ];
    assert.deepEqual(after([]), [1, 1, 1, 1, 1, 1]);
    assert.deepEqual(after([0]), [1, 0, 0, 1, 1, 1]);
    assert.deepEqual(after([1]), [1, 1, 1, 1]);
    assert.deepEqual(after([0, 1]), [1, 0, 0, 1]);
  });

  it('tears the last write at a sector of the file', () => {
    const file = new FaultyFile(MemoryFile.of(filled(2_048, 1)), plain);
    file.writeAt(hostOffset(500), filled(1_000, 2));
    const tear = { kept: [0], grown: [], tornAfterSectors: 2 };
    const content = bytesOf(contentAfterCrash(file.epoch, tear));
    assert.deepEqual(content.subarray(500, 1_024), filled(524, 2));
    assert.deepEqual(content.subarray(1_024), filled(1_024, 1));
  });

  it('has many different ends, all of them made of the changes before it', () => {
    const file = new FaultyFile(MemoryFile.of(filled(8_192, 1)), plain);
    for (let index = 0; index < 8; index += 1) file.writeAt(hostOffset(index * 1_024), filled(1_024, 2 + index));
    const found = survivals(file.epoch, 6, { samples: 60, chance: new Prng(1) });
    const contents = new Set(
      found.map((survival) => Buffer.from(bytesOf(contentAfterCrash(file.epoch, survival))).toString('latin1')),
    );
    assert.ok(contents.size > 25, String(contents.size));
    for (const content of contents) assert.match(content, /\x01{2048}$/);
    for (let lost = 0; lost < 6; lost += 1) {
      assert.ok(found.some(({ kept }) => kept.length === 5 && !kept.includes(lost)));
    }
  });
});

describe('a flush', () => {
  it('is counted, and asked about with the places that want it, only when there is something to flush', () => {
    const asked: (readonly string[])[] = [];
    const ignoresFlush = (places: readonly string[]): boolean => {
      asked.push(places);
      return false;
    };
    const file = new FaultyFile(MemoryFile.empty(), { ...plain, ignoresFlush });
    const flushTwice = (): void => {
      file.flush();
      file.flush();
    };
    flushTwice();
    assert.equal(file.flushCount, 0);
    for (let round = 0; round < 3; round += 1) {
      file.writeAt(hostOffset(0), filled(1, 1));
      flushTwice();
    }
    assert.equal(file.flushCount, 3);
    assert.equal(asked.length, 3);
    for (const places of asked) {
      assert.equal(places.length, 2);
      for (const place of places) assert.match(place, /^faulty-file\.test\.ts:\d+$/);
    }
  });

  it('that is ignored makes nothing durable', () => {
    const file = new FaultyFile(MemoryFile.empty(), { ...plain, ignoresFlush: () => true });
    file.writeAt(hostOffset(0), filled(1, 1));
    file.flush();
    assert.equal(file.epoch.changes.length, 1);
    assert.equal(file.epoch.base.size, 0);
  });

  it('that fails makes the file read-only', () => {
    const file = new FaultyFile(MemoryFile.empty(), plain);
    file.failLater({ call: 'flush', after: 0, fault: new Fault('io-error', {}) });
    file.writeAt(hostOffset(0), filled(1, 1));
    const flushed = (): void => {
      file.flush();
    };
    assert.equal(faultCodeOf(flushed), 'io-error');
    assert.equal(faultCodeOf(flushed), 'image-read-only');
    assert.equal(
      faultCodeOf(() => {
        file.resize(0);
      }),
      'image-read-only',
    );
    assert.equal(file.epoch.changes.length, 1);
  });
});

it('fails the write that it was told to fail, halfway', () => {
  const file = new FaultyFile(MemoryFile.empty(), plain);
  file.failLater({ call: 'write', after: 1, fault: new Fault('insufficient-storage', {}) });
  file.writeAt(hostOffset(0), filled(2_048, 1));
  const second = (): void => {
    file.writeAt(hostOffset(0), filled(2_048, 2));
  };
  assert.equal(faultCodeOf(second), 'insufficient-storage');
  const target = new Uint8Array(2_048);
  file.readAt(hostOffset(0), target);
  assert.deepEqual([target[1_023], target[1_024]], [2, 1]);
  assert.equal(file.takeFailureBack(), true);
  second();
});
