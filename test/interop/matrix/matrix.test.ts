// Images in which every two options of the format meet: made by QEMU, read and changed by us, and judged by QEMU again;
// made by us, judged and changed by QEMU, and read by us again.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { guestOffset } from '../../../src/engine/format/offsets.ts';
import type { Image } from '../../../src/engine/image.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { commandsOf, matrixCases, nameOf, storyOf } from './matrix-case.ts';
import type { MatrixCase } from './matrix-case.ts';
import { MatrixImage } from './matrix-tools.ts';
import { changeBoth, tellBoth } from './our-changes.ts';
import type { Span } from './our-changes.ts';

const theirs = 'theirs';
const ours = 'ours';

describe('an image that QEMU made', () => {
  it('comes in enough kinds', () => {
    assert.ok(matrixCases.length >= 12, `${matrixCases.length} cases`);
  });

  for (const choice of matrixCases) {
    it(`is read and changed by us, and sound for QEMU: ${nameOf(choice)}`, async () => {
      using folder = tempFolder();
      const made = new MatrixImage(folder.path, choice);
      makeWithQemu(made, choice);
      const before = made.content();
      readingOurs(made, (image) => made.assertToldAlike(image));
      const changed = changeWithOurs(made, choice, before);

      assert.equal(made.check(), 0, 'qemu-img check finds nothing');
      assertSame(made.content(), changed.end, 'what QEMU reads');
      assertSame(made.dataByItself() ?? changed.end, changed.end, 'the data file by itself');
      if (choice.bitmap) {
        const spans = [...storyOf(choice), ...changed.spans];
        const expected = dirtyAfter(spans, made.granularityOf(theirs), changed.end.length);
        // BMP-08.
        readingOurs(made, (image) => assert.deepEqual(dirtyByUs(image, theirs), expected, "QEMU's bitmap, read by us"));
        const byQemu = await made.dirtyByQemu(theirs);
        assert.deepEqual(byQemu ?? expected, expected, "QEMU's bitmap, read by QEMU");
      }
      if (choice.snapshot) {
        assertSame(made.content(theirs), before, "QEMU's own snapshot");
        assertSame(made.content(ours), changed.atSnapshot, 'our snapshot');
      }
    });
  }
});

describe('an image that we made', () => {
  for (const choice of matrixCases) {
    it(`is sound for QEMU, which reads and changes it: ${nameOf(choice)}`, async () => {
      using folder = tempFolder();
      const made = new MatrixImage(folder.path, choice);
      const bytes = makeWithOurs(made, choice);
      assert.equal(made.check(), 0, 'qemu-img check finds nothing');
      assert.ok(made.readsAs(bytes), 'qemu-img compare finds the same bytes');
      readingOurs(made, (image) => made.assertToldAlike(image));
      assertSame(made.dataByItself() ?? bytes, bytes, 'the data file by itself');
      if (choice.snapshot) assertSame(made.content(ours), bytes, 'our snapshot');
      const spans: Span[] = [...storyOf(choice)];
      if (choice.bitmap) {
        const expected = dirtyAfter(spans, made.granularityOf(ours), bytes.length);
        assert.deepEqual((await made.dirtyByQemu(ours)) ?? expected, expected, 'our bitmap, read by QEMU');
      }

      const cluster = 2 ** choice.clusterBits;
      const changed = [
        { offset: 512, length: cluster },
        { offset: 10 * cluster, length: 4 * cluster },
      ];
      made.io(changed.map(({ offset, length }) => `write -P 77 ${offset} ${length}`));
      for (const { offset, length } of changed) bytes.fill(77, offset, offset + length);
      readingOurs(made, (image) => {
        assertSame(readAll(image), bytes, 'what we read after QEMU has changed it');
        assert.equal(runToEnd(image.check()).clean, true, 'our check finds nothing');
        if (!choice.bitmap) return;
        const expected = dirtyAfter([...spans, ...changed], made.granularityOf(ours), bytes.length);
        assert.deepEqual(dirtyByUs(image, ours), expected, 'our bitmap, in which QEMU has gone on');
      });
    });
  }
});

/** What is dirty after these changes, stretch by stretch. */
function dirtyAfter(spans: readonly Span[], granularity: number, size: number): readonly Span[] {
  const isDirty = new Array<boolean>(Math.ceil(size / granularity)).fill(false);
  for (const { offset, length } of spans) {
    isDirty.fill(true, Math.floor(offset / granularity), Math.ceil((offset + length) / granularity));
  }
  const stretches: Span[] = [];
  for (const [index, dirty] of isDirty.entries()) {
    if (!dirty) continue;
    const offset = index * granularity;
    const length = Math.min(granularity, size - offset);
    const last = stretches.at(-1);
    if (last !== undefined && last.offset + last.length === offset) {
      stretches[stretches.length - 1] = { offset: last.offset, length: last.length + length };
    } else stretches.push({ offset, length });
  }
  return stretches;
}

function dirtyByUs(image: Image, name: string): readonly Span[] {
  const page = image.dirtyExtents(name, { offset: 0, length: image.virtualSize, limit: 100_000 });
  return page.items.filter(({ dirty }) => dirty).map(({ offset, length }) => ({ offset, length }));
}

function readingOurs(made: MatrixImage, work: (image: Image) => void): void {
  const image = made.openOurs({ writable: false });
  try {
    work(image);
  } finally {
    image.close();
  }
}

/** What is in it. */
function makeWithOurs(made: MatrixImage, choice: MatrixCase): Uint8Array {
  made.makeBase();
  made.createWithOurs();
  const image = made.openOurs({ writable: true });
  try {
    const bytes = readAll(image);
    if (choice.bitmap) image.createBitmap({ name: ours, granularity: undefined, enabled: true });
    tellBoth(image, bytes, storyOf(choice));
    if (choice.snapshot) runToEnd(image.createSnapshot({ name: ours, seconds: 1, nanoseconds: 0, idFloor: 1 }));
    image.flush();
    return bytes;
  } finally {
    image.close();
  }
}

function makeWithQemu(made: MatrixImage, choice: MatrixCase): void {
  made.makeBase();
  made.createWithQemu();
  if (choice.bitmap) made.addBitmap(theirs);
  made.io(commandsOf(storyOf(choice)));
  if (choice.snapshot) made.takeSnapshot(theirs);
}

/** Judges what we read of it, then changes it; what its bytes must be at our snapshot and at the end. */
function changeWithOurs(
  made: MatrixImage,
  choice: MatrixCase,
  before: Uint8Array,
): { readonly atSnapshot: Uint8Array; readonly end: Uint8Array; readonly spans: readonly Span[] } {
  const bytes = Uint8Array.from(before);
  const image = made.openOurs({ writable: true });
  try {
    assertSame(readAll(image), before, 'what we read');
    assert.equal(runToEnd(image.check()).clean, true, 'our check finds nothing');
    const spans = changeBoth(image, bytes, choice);
    const atSnapshot = Uint8Array.from(bytes);
    if (choice.snapshot) {
      runToEnd(image.createSnapshot({ name: ours, seconds: 1, nanoseconds: 0, idFloor: 1 }));
      changeBoth(image, bytes, choice);
    }
    assertSame(readAll(image), bytes, 'what we read after changing');
    if (choice.bitmap) {
      assert.deepEqual(
        runToEnd(image.bitmaps({ start: 0, limit: 10 })).items.map(({ name }) => name),
        [theirs],
      );
    }
    image.flush();
    return { atSnapshot, end: bytes, spans };
  } finally {
    image.close();
  }
}

function readAll(image: Image): Uint8Array {
  const bytes = new Uint8Array(image.virtualSize);
  image.read(guestOffset(0), bytes);
  return bytes;
}

/** Tells where the first difference is, not all of the bytes. */
function assertSame(found: Uint8Array, expected: Uint8Array, what: string): void {
  assert.equal(found.length, expected.length, `${what}: the length`);
  if (Buffer.compare(found, expected) === 0) return;
  const at = found.findIndex((value, index) => value !== expected[index]);
  assert.fail(`${what}: at ${at} ${String(found[at])} instead of ${String(expected[at])}`);
}
