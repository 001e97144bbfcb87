// The parts of a new image in memory, for tests that work below the face of the engine.

import { assert } from '../../src/base/assert.ts';
import type { ByteFile } from '../../src/engine/file/byte-file.ts';
import { MemoryFile } from '../../src/engine/file/memory-file.ts';
import { TrackedFile } from '../../src/engine/file/tracked-file.ts';
import { guestOffset, hostOffset } from '../../src/engine/format/offsets.ts';
import type { WriteParts } from '../../src/engine/image-parts.ts';
import { Image } from '../../src/engine/image.ts';
import type { CreateSpec } from '../../src/engine/image.ts';
import type { Layer } from '../../src/engine/layer/layer.ts';
import { HeaderArea } from '../../src/engine/metadata/header-area.ts';
import { check } from '../../src/engine/operations/check.ts';
import { createImage } from '../../src/engine/operations/create.ts';
import { writeParts } from '../../src/engine/operations/open.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { smallSpec } from './plain-spec.ts';

/** A new image file in memory. */
export function newFile(change: Partial<CreateSpec>): MemoryFile {
  const file = MemoryFile.empty();
  runToEnd(createImage(file, { ...smallSpec, ...change }));
  return file;
}

/** The parts of an image, opened for writing. */
export function partsOver(file: ByteFile, backing: Layer | undefined): WriteParts {
  const tracked = new TrackedFile(file);
  return writeParts(tracked, HeaderArea.read(tracked, { forCheck: false }), { backing, dataFile: undefined });
}

/** The face of an image, opened for writing. */
export function imageOver(file: ByteFile, backing: Layer | undefined): Image {
  return Image.openFile(file, { writable: true, backing });
}

/** Guest bytes of an image. */
export function guestBytes(image: Image, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length).fill(0xee);
  image.read(guestOffset(offset), bytes);
  return bytes;
}

/** Writes one value over a span. */
export function fillGuest(image: Image, offset: number, length: number, value: number): void {
  image.write(guestOffset(offset), new Uint8Array(length).fill(value), { detectZeroes: false });
}

/** What a check of the file as it is counts. */
export function countsOf(file: ByteFile): { readonly corruptions: number; readonly leaks: number } {
  const { corruptions, leaks, checkErrors } = runToEnd(check(file));
  assert(checkErrors === 0, 'the check could do its work');
  return { corruptions, leaks };
}

/** All bytes of a file. */
export function fileBytes(file: ByteFile): Uint8Array {
  const bytes = new Uint8Array(file.size);
  file.readAt(hostOffset(0), bytes);
  return bytes;
}

export const clean = { corruptions: 0, leaks: 0 };
