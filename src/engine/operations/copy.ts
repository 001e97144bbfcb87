// Copies what a layer has into a new image file: flattened, zeroes left out, and packed where that was asked for.

import { alignDown, alignUp } from '../../base/integers.ts';
import { MiB } from '../../base/units.ts';
import { writePacked } from '../data/packed-writer.ts';
import { writeZeroRun, zeroRuns } from '../data/zero-detection.ts';
import { write } from '../data/writer.ts';
import { removeFile } from '../file/folder.ts';
import { NodeFile } from '../file/node-file.ts';
import { guestOffset, hostOffset } from '../format/offsets.ts';
import type { GuestOffset } from '../format/offsets.ts';
import type { WriteParts } from '../image-parts.ts';
import type { Layer } from '../layer/layer.ts';
import type { CodecNeed } from '../transform/codec-need.ts';
import { createFile } from './create-file.ts';
import type { CreateSpec } from './create-spec.ts';
import { describe } from './describe.ts';
import type { ImageDescription } from './image-description.ts';
import { ImageSession } from './image-session.ts';
import type { Steps } from './steps.ts';
import { judgePacking, packNeed } from './write-compressed.ts';

export interface CopyWish {
  /** Where the new file is made; nothing is there yet. */
  readonly path: string;
  /** A standalone image, at least as large as the layer. */
  readonly spec: CreateSpec;
  /** Whether clusters are stored packed. */
  readonly compress: boolean;
}

/** How much one piece brings, unless a cluster is longer; a need has as much. */
const pieceLength = 1 * MiB;

/** Needs under way: enough that nobody who packs waits for the next, few enough to hold them all. */
const needsAtOnceMax = 8;

/** What was written goes to the disk while the copy goes on, so that the last flush stays short. */
const writeBackInterval = 8 * MiB;
const flushInterval = 256 * MiB;

/** How many extents one step asks for. */
const stepExtents = 1000;

/**
 * The file is durable at the end; a cancel or a fault removes it. What the layer has must not change meanwhile. Faults of
 * create, layer and file.
 */
export function* copyToFile(layer: Layer, wish: CopyWish): Steps<ImageDescription> {
  const { path, spec, compress } = wish;
  yield* createFile(path, spec);
  let session: ImageSession | undefined;
  let finished = false;
  try {
    // Nobody knows the file yet: it needs no locks.
    const file = NodeFile.open(path, { writable: true, locks: 'none' });
    session = ImageSession.open(file, { writable: true, layer: undefined, openDataFile: undefined });
    yield* session.changeInSteps((parts) => fill(parts, layer, { compress }));
    const description = describe(session.parts);
    const filled = session;
    session = undefined;
    filled.close();
    finished = true;
    // Closing takes its dirty bit away.
    return { ...description, dirty: false };
  } finally {
    if (!finished) {
      session?.release();
      removeFile(path);
    }
  }
}

/** Clusters on their way to being packed; they are written in the order of the disk. */
interface Packing {
  readonly at: GuestOffset;
  readonly need: CodecNeed;
}

function* fill(parts: WriteParts, layer: Layer, form: { readonly compress: boolean }): Steps<void> {
  if (form.compress) judgePacking(parts);
  const total = layer.size;
  const { clusterSize } = parts.geometry;
  const lengthMax = Math.max(pieceLength, clusterSize);
  const pace = new BulkPace(parts);
  const spares = new Spares(lengthMax);
  const packing: Packing[] = [];
  let at = 0;
  let looked = 0;
  while (at < total) {
    const found = dataFrom(layer, at, lengthMax);
    looked += 1;
    if (found.length === 0) {
      at = found.start;
      if (looked % stepExtents === 0) yield { done: at, total };
      continue;
    }
    const start = guestOffset(alignDown(found.start, clusterSize));
    const end = Math.min(total, alignUp(found.start + found.length, clusterSize), start + lengthMax);
    const buffer = spares.take();
    layer.read(start, buffer.subarray(0, end - start));
    if (form.compress) {
      const clusters = buffer.subarray(0, alignUp(end - start, clusterSize));
      // Behind the end of the disk there are zeroes.
      clusters.fill(0, end - start);
      const need = packNeed(parts, clusters, { dropsZeroes: true });
      packing.push({ at: start, need });
      yield { done: at, total, asks: need };
    } else {
      writeRuns(parts, start, buffer.subarray(0, end - start));
      spares.give(buffer);
    }
    at = end;
    for (let oldest = packing[0]; oldest !== undefined && packing.length >= needsAtOnceMax; oldest = packing[0]) {
      spares.give(yield* put(parts, oldest, { done: at, total }));
      packing.shift();
    }
    pace.keep();
    yield { done: at, total };
  }
  for (const one of packing) yield* put(parts, one, { done: total, total });
  parts.order.settle();
}

function writeRuns(parts: WriteParts, start: GuestOffset, bytes: Uint8Array): void {
  for (const run of zeroRuns(bytes, { start, clusterSize: parts.geometry.clusterSize })) {
    const place = guestOffset(start + run.from);
    if (run.isZero) writeZeroRun(parts, place, run.end - run.from);
    else write(parts, place, bytes.subarray(run.from, run.end));
  }
}

/** Writes what was packed; the bytes are not needed any more then. */
function* put(
  parts: WriteParts,
  { at, need }: Packing,
  progress: { readonly done: number; readonly total: number },
): Steps<Uint8Array<ArrayBuffer>> {
  if (!need.isAnswered) yield { ...progress, awaits: need };
  const packed = need.take();
  writePacked(parts, at, packed);
  return packed.bytes;
}

/** Buffers of one length: memory that was touched before costs nothing but its use. */
class Spares {
  readonly #length: number;
  readonly #kept: ArrayBuffer[] = [];

  constructor(length: number) {
    this.#length = length;
  }

  /** With whatever it held before. */
  take(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#kept.pop() ?? new ArrayBuffer(this.#length));
  }

  give({ buffer }: Uint8Array<ArrayBuffer>): void {
    if (buffer.byteLength === this.#length) this.#kept.push(buffer);
  }
}

/** The next bytes at or after `at` that are data, up to `lengthMax` in a row; without length where there are none yet. */
function dataFrom(layer: Layer, at: number, lengthMax: number): { readonly start: number; readonly length: number } {
  let end = at;
  while (end < layer.size && end - at < lengthMax) {
    const extent = layer.extentAt(guestOffset(end), Math.min(layer.size - end, lengthMax - (end - at)));
    if (extent.kind === 'data') end += extent.length;
    else if (end > at) break;
    else return { start: at + skipped(layer, at), length: 0 };
  }
  return { start: at, length: end - at };
}

/** How far what is no data reaches. */
function skipped(layer: Layer, at: number): number {
  return layer.extentAt(guestOffset(at), layer.size - at).length;
}

/** Bulk writing: what the file grew by goes to the disk in between, and the tables with it now and then. */
class BulkPace {
  readonly #parts: WriteParts;
  #writtenBack: number;
  #flushed: number;

  constructor(parts: WriteParts) {
    this.#parts = parts;
    this.#writtenBack = parts.file.size;
    this.#flushed = parts.file.size;
  }

  keep(): void {
    const { file, order } = this.#parts;
    const { size } = file;
    if (size - this.#writtenBack < writeBackInterval) return;
    if (size - this.#flushed >= flushInterval) {
      order.flush();
      this.#flushed = size;
    } else {
      file.startWriteBack(hostOffset(this.#writtenBack), size - this.#writtenBack);
    }
    this.#writtenBack = size;
  }
}
