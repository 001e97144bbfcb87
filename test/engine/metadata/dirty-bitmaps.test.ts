// Bitmaps while the disk changes: none may claim to know every change before it is stored with all of them.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { Fault } from '../../../src/base/fault.ts';
import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { guestOffset } from '../../../src/engine/format/offsets.ts';
import { Image } from '../../../src/engine/image.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { CountingFile } from '../../support/counting-file.ts';
import { faultCodeOf } from '../../support/faults.ts';
import { FaultyFile } from '../../support/faulty-file.ts';
import { at, commonChoice, place, setUint32, soundImage } from '../../support/hostile-image.ts';
import type { DraftImage } from '../../support/hostile-image.ts';
import { ImageBytes } from '../../support/image-bytes.ts';
import { fileBytes, fillGuest, guestBytes, imageOver } from '../../support/memory-parts.ts';

/** The bitmaps extension, EXT-03. */
const extensionType = 0x2385_2875;
const autoclearAt = 88;
/** BMP-02: bit 0 in use, bit 1 auto. */
const inUse = 1;
const auto = 2;

/** An image with two bitmaps, "b" and "c", with these flags. */
function withBitmaps(flags: readonly [number, number]): DraftImage {
  const draft = soundImage(commonChoice);
  const entry = at(draft, place.bitmapDirectory, 0);
  draft.bytes.copyWithin(entry + 32, entry, entry + 32);
  draft.bytes[entry + 32 + 24] = 'c'.charCodeAt(0);
  setUint32(draft, entry + 12, flags[0]);
  setUint32(draft, entry + 32 + 12, flags[1]);
  const extension = ImageBytes.of(draft.bytes).extensionAt(extensionType);
  setUint32(draft, extension, 2);
  setUint32(draft, extension + 12, 64);
  return draft;
}

/** Where the flags of both bitmaps lie. */
function flagPlaces(draft: DraftImage): readonly [number, number] {
  const entry = at(draft, place.bitmapDirectory, 0);
  return [entry + 12, entry + 32 + 12];
}

function flagsOf(file: MemoryFile, draft: DraftImage): readonly number[] {
  const bytes = ImageBytes.of(fileBytes(file));
  return flagPlaces(draft).map((offset) => bytes.u32(offset));
}

function write(image: Image): void {
  fillGuest(image, 0, 512, 1);
}

describe('the first change of an image with bitmaps', () => {
  it('marks those that record, durably, before anything else is written (BMP-06, ORD-14)', () => {
    const draft = withBitmaps([auto, 0]);
    const memory = MemoryFile.of(draft.bytes);
    const file = new CountingFile(memory);
    const image = imageOver(file, undefined);
    assert.equal(file.log.length, 0, 'opening writes nothing');
    guestBytes(image, 0, 4096);
    image.flush();
    assert.deepEqual(flagsOf(memory, draft), [auto, 0], 'reading and flushing are no changes');
    write(image);
    const [first] = flagPlaces(draft);
    assert.deepEqual(file.log.slice(0, 2), [{ offset: first, length: 4 }, undefined]);
    assert.deepEqual(flagsOf(memory, draft), [auto | inUse, 0], 'one that does not record stays true');
    const before = file.log.length;
    write(image);
    const again = file.log.slice(before).filter((entry) => flagPlaces(draft).some((one) => one === entry?.offset));
    assert.deepEqual(again, [], 'they are marked once');
    image.close();
    const bytes = ImageBytes.of(fileBytes(memory));
    assert.equal(bytes.u32(autoclearAt + 4), 1, 'the extension stays consistent');
    assert.equal(imageOver(memory, undefined).describe().bitmapCount, 2);
  });

  it('leaves a bitmap as it is that is marked already', () => {
    const draft = withBitmaps([inUse, auto | inUse]);
    const file = new CountingFile(MemoryFile.of(draft.bytes));
    write(imageOver(file, undefined));
    const places: readonly number[] = flagPlaces(draft);
    assert.deepEqual(
      file.log.filter((entry) => entry !== undefined && places.includes(entry.offset)),
      [],
    );
  });

  it('is every kind of change', () => {
    const verbs: readonly (readonly [string, (image: Image) => unknown])[] = [
      ['a write', write],
      ['a write of zeroes', (image) => image.write(guestOffset(0), new Uint8Array(4096), { detectZeroes: true })],
      [
        'zeroes where nothing is (BMP-08)',
        (image) => image.write(guestOffset(image.virtualSize - 4096), new Uint8Array(4096), { detectZeroes: true }),
      ],
      ['zeroing', (image) => runToEnd(image.zero(guestOffset(0), 4096, { unmap: true }))],
      ['a discard', (image) => runToEnd(image.discard(guestOffset(0), 4096))],
      ['a snapshot', (image) => runToEnd(image.createSnapshot({ name: 'n', seconds: 0, nanoseconds: 0, idFloor: 1 }))],
      ['deleting a snapshot', (image) => runToEnd(image.deleteSnapshot('abc'))],
    ];
    for (const [name, change] of verbs) {
      const draft = withBitmaps([auto, 0]);
      const file = MemoryFile.of(draft.bytes);
      change(imageOver(file, undefined));
      assert.deepEqual(flagsOf(file, draft), [auto | inUse, 0], name);
    }
  });

  it('does not happen when a mark cannot be written, and marks all of them when it is tried again', () => {
    for (const call of ['write', 'flush'] as const) {
      const draft = withBitmaps([auto, auto]);
      const file = new FaultyFile(MemoryFile.of(draft.bytes), { observer: undefined, ignoresFlush: () => false });
      const image = imageOver(file, undefined);
      const before = guestBytes(image, 0, 4096);
      file.failLater({ call, after: call === 'write' ? 1 : 0, fault: new Fault('io-error', {}) });
      const told = faultCodeOf(() => {
        write(image);
      });
      assert.equal(told, 'io-error');
      assert.deepEqual(guestBytes(image, 0, 4096), before);
      if (call === 'flush') continue;
      write(image);
      image.flush();
      assert.deepEqual(flagsOf(file.content, draft), [auto | inUse, auto | inUse]);
    }
  });

  it('is refused where the directory breaks its rules, and the image is marked', () => {
    const ways: readonly (readonly [string, (draft: DraftImage) => void])[] = [
      [
        'it reaches past the end of the file',
        (draft) => {
          setUint32(draft, ImageBytes.of(draft.bytes).extensionAt(extensionType) + 12, 0x10_0000);
        },
      ],
      [
        'an entry is of an unknown type',
        (draft) => {
          draft.bytes[at(draft, place.bitmapDirectory, 16)] = 2;
        },
      ],
    ];
    for (const [name, damage] of ways) {
      const draft = withBitmaps([auto, 0]);
      damage(draft);
      const file = MemoryFile.of(draft.bytes);
      const image = imageOver(file, undefined);
      const told = faultCodeOf(() => {
        write(image);
      });
      assert.equal(told, 'bitmap-directory-invalid', name);
      assert.equal(fileBytes(file)[79], 2, `${name}: the corrupt bit`);
      assert.equal(guestBytes(image, 0, 1)[0], 0x11, `${name}: what is sound can be read`);
    }
  });
});

describe('a bitmap whose table names what is not there', () => {
  it('is inconsistent, harms nobody, and can be removed', () => {
    for (const entry of [0x0080_0000_0000_0000n, 0x1000_0000n, 0x2n]) {
      const draft = withBitmaps([auto, 0]);
      new DataView(draft.bytes.buffer).setBigUint64(at(draft, place.bitmapTable, 0), entry);
      const image = imageOver(MemoryFile.of(draft.bytes), undefined);
      write(image);
      const [first] = runToEnd(image.bitmaps({ start: 0, limit: 9 })).items;
      assert.deepEqual([first?.name, first?.inconsistent, first?.dirtyBytes], ['b', true, undefined]);
      image.deleteBitmap('b');
      assert.equal(image.describe().bitmapCount, 1);
      image.flush();
    }
  });
});

describe('bitmaps whose autoclear bit is clear', () => {
  it('are lost already, and nothing of them is read or touched (BIT-A0)', () => {
    const draft = withBitmaps([auto, 0]);
    draft.bytes[autoclearAt + 7] = 0;
    // Whatever the directory holds by now, it is nobody's business.
    draft.bytes.fill(0xff, at(draft, place.bitmapDirectory, 0), at(draft, place.bitmapTable, 0));
    const file = MemoryFile.of(draft.bytes);
    const image = imageOver(file, undefined);
    assert.equal(image.describe().bitmapCount, 0);
    write(image);
    image.close();
    const start = at(draft, place.bitmapDirectory, 0);
    assert.ok(
      fileBytes(file)
        .subarray(start, start + 64)
        .every((byte) => byte === 0xff),
    );
  });
});

describe('autoclear bits that are unknown here', () => {
  /** Bits 0, 5 and 40. */
  const bits = 0x0000_0100_0000_0021n;

  function withBits(): DraftImage {
    const draft = withBitmaps([auto, 0]);
    new DataView(draft.bytes.buffer).setBigUint64(autoclearAt, bits);
    return draft;
  }

  it('are cleared by the first change, and the bit of the bitmaps stays (BIT-A2, T66)', () => {
    const file = MemoryFile.of(withBits().bytes);
    const image = imageOver(file, undefined);
    assert.equal(ImageBytes.of(fileBytes(file)).u64(autoclearAt), bits, 'opening for writing is no change');
    write(image);
    assert.equal(ImageBytes.of(fileBytes(file)).u64(autoclearAt), 1n);
  });

  it('are left alone by a reader', () => {
    const file = MemoryFile.of(withBits().bytes);
    const image = Image.openFile(file, { writable: false, backing: undefined });
    guestBytes(image, 0, 4096);
    image.close();
    assert.equal(ImageBytes.of(fileBytes(file)).u64(autoclearAt), bits);
  });
});
