// Fills a new image with what a layer has: zeroes left out, clusters packed where that was asked for, or passed on packed.

import { alignUp } from '../../base/integers.ts';
import { MiB } from '../../base/units.ts';
import { copyParts } from '../data/copy-parts.ts';
import { writePacked } from '../data/packed-writer.ts';
import { write } from '../data/writer.ts';
import { writeZeroRun, zeroRuns } from '../data/zero-detection.ts';
import { zero } from '../data/zeroing.ts';
import type { FileSpan } from '../file/file-span.ts';
import { guestOffset } from '../format/offsets.ts';
import type { GuestOffset } from '../format/offsets.ts';
import type { WriteParts } from '../image-parts.ts';
import type { Layer, StoredCluster } from '../layer/layer.ts';
import { CodecNeed } from '../transform/codec-need.ts';
import { broken } from '../transform/codec-task.ts';
import type { CodecResult } from '../transform/codec-task.ts';
import { BulkPace } from './bulk-pace.ts';
import { copyPieces } from './copy-pieces.ts';
import { ExtentPace } from './extent-pace.ts';
import type { Steps } from './steps.ts';
import { judgePacking, packNeed } from './write-compressed.ts';

/** How a copy is stored. */
export interface FillForm {
  /** Whether clusters are stored packed. */
  readonly compress: boolean;
  /** Whether zeroes are stored as such: what is to stand on something else must not show it through. */
  readonly keepsZeroes: boolean;
}

/** How much one piece brings, unless a cluster is longer; a need has as much. */
const pieceLength = 1 * MiB;

/** Needs under way: on a busy machine an answer takes its time, and with eight of them a copy took half as long again. */
const needsAtOnceMax = 24;

/** Into an image that is empty and at least as large as the layer. Faults of layer, mapper and file. */
export function* fill(parts: WriteParts, layer: Layer, form: FillForm): Steps<void> {
  if (form.compress) judgePacking(parts);
  yield* new Filling(parts, layer, form).run();
}

/** A piece on its way to being packed; what was packed is written in the order of the disk. */
interface Packing {
  readonly at: GuestOffset;
  readonly need: CodecNeed;
}

class Filling {
  readonly #parts: WriteParts;
  readonly #layer: Layer;
  readonly #form: FillForm;
  readonly #clusterSize: number;
  readonly #lengthMax: number;
  readonly #spares: Spares;
  readonly #packing: Packing[] = [];
  #done = 0;

  constructor(parts: WriteParts, layer: Layer, form: FillForm) {
    this.#parts = parts;
    this.#layer = layer;
    this.#form = form;
    this.#clusterSize = parts.geometry.clusterSize;
    this.#lengthMax = Math.max(pieceLength, this.#clusterSize);
    this.#spares = new Spares(this.#lengthMax);
  }

  *run(): Steps<void> {
    const { compress, keepsZeroes } = this.#form;
    const pace = new BulkPace(this.#parts);
    const compressionType = compress ? this.#parts.header.header.compressionType : undefined;
    const passed = new ExtentPace();
    const pieces = copyPieces(this.#layer, {
      clusterSize: this.#clusterSize,
      lengthMax: this.#lengthMax,
      compressionType,
    });
    for (const piece of pieces) {
      if (piece.kind === 'absent' || piece.kind === 'zero') {
        if (piece.kind === 'zero' && keepsZeroes) yield* this.#zero(piece.at, piece.end);
        this.#done = piece.end;
        if (passed.isFullWith(0)) yield this.#progress;
        continue;
      }
      if (piece.kind === 'stored') yield* this.#ask(piece.at, this.#trimNeed(piece.blobs));
      else if (compress) yield* this.#ask(piece.at, this.#packNeed(piece.at, piece.end));
      else this.#writePlain(piece.at, piece.end);
      this.#done = piece.end;
      if (this.#packing.length >= needsAtOnceMax) yield* this.#putOldest();
      pace.keep();
      yield this.#progress;
    }
    while (this.#packing.length > 0) yield* this.#putOldest();
    this.#parts.order.settle();
  }

  get #progress(): { readonly done: number; readonly total: number } {
    return { done: this.#done, total: this.#layer.size };
  }

  *#zero(at: GuestOffset, end: number): Steps<void> {
    for (const done of zero(this.#parts, { offset: at, length: end - at }, { unmap: true })) {
      this.#done = done;
      yield this.#progress;
    }
  }

  #writePlain(start: GuestOffset, end: number): void {
    const span = { offset: start, length: end - start };
    const spanAt = (at: GuestOffset, lengthMax: number): FileSpan | undefined => this.#layer.spanAt?.(at, lengthMax);
    for (const { at, length, source } of copyParts(this.#parts, span, spanAt)) {
      if (source === undefined) this.#writeRead(at, length);
      else write(this.#parts, at, source);
    }
  }

  #writeRead(at: GuestOffset, length: number): void {
    const buffer = this.#spares.take(length);
    this.#layer.read(at, buffer);
    for (const run of zeroRuns(buffer, { start: at, clusterSize: this.#clusterSize })) {
      const place = guestOffset(at + run.from);
      if (run.isZero && !this.#form.keepsZeroes) writeZeroRun(this.#parts, place, run.end - run.from);
      else write(this.#parts, place, buffer.subarray(run.from, run.end));
    }
    this.#spares.give(buffer);
  }

  #packNeed(at: GuestOffset, end: number): CodecNeed {
    const clusters = this.#spares.take(alignUp(end - at, this.#clusterSize));
    this.#layer.read(at, clusters.subarray(0, end - at));
    // Behind the end of the disk there are zeroes.
    clusters.fill(0, end - at);
    return packNeed(this.#parts, clusters, { dropsZeroes: !this.#form.keepsZeroes });
  }

  /** For blobs that are stored as they are, once it is known where they end and that they unpack. */
  #trimNeed(blobs: readonly StoredCluster[]): CodecNeed {
    const lengths = blobs.map(({ packedLength }) => packedLength);
    const bytes = this.#spares.take(lengths.reduce((sum, length) => sum + length, 0));
    let from = 0;
    for (const { packedLength, read } of blobs) {
      read(bytes.subarray(from, from + packedLength));
      from += packedLength;
    }
    const { compressionType: type } = this.#parts.header.header;
    const dropsZeroes = !this.#form.keepsZeroes;
    return new CodecNeed({ kind: 'trim', type, clusterSize: this.#clusterSize, bytes, lengths, dropsZeroes });
  }

  *#ask(at: GuestOffset, need: CodecNeed): Steps<void> {
    this.#packing.push({ at, need });
    yield { ...this.#progress, asks: need };
  }

  *#putOldest(): Steps<void> {
    const [oldest] = this.#packing;
    if (oldest === undefined) return;
    const { at, need } = oldest;
    if (!need.isAnswered) yield { ...this.#progress, awaits: need };
    this.#packing.shift();
    const packed = need.take();
    this.#put(at, packed);
    this.#spares.give(packed.bytes);
  }

  /** A blob that could not be passed on is read as the guest reads it: that packs it anew, or tells what is wrong with it. */
  #put(at: GuestOffset, { bytes, lengths }: CodecResult): void {
    let from = 0;
    let index = 0;
    while (index < lengths.length) {
      const place = guestOffset(at + index * this.#clusterSize);
      if (lengths[index] === broken) {
        writePacked(this.#parts, place, this.#packNeed(place, place + this.#clusterSize).take());
        index += 1;
        continue;
      }
      const nextBroken = lengths.indexOf(broken, index);
      const run = lengths.slice(index, nextBroken < 0 ? lengths.length : nextBroken);
      const end = run.reduce((sum, length) => sum + length, from);
      writePacked(this.#parts, place, { bytes: bytes.subarray(from, end), lengths: run });
      from = end;
      index += run.length;
    }
  }
}

/** Buffers of one length: memory that was touched before costs nothing but its use. */
class Spares {
  readonly #length: number;
  readonly #kept: ArrayBuffer[] = [];

  constructor(length: number) {
    this.#length = length;
  }

  /** So many bytes, with whatever was there before. */
  take(length: number): Uint8Array<ArrayBuffer> {
    if (length > this.#length) return new Uint8Array(length);
    return new Uint8Array(this.#kept.pop() ?? new ArrayBuffer(this.#length), 0, length);
  }

  give({ buffer }: Uint8Array<ArrayBuffer>): void {
    if (buffer.byteLength === this.#length) this.#kept.push(buffer);
  }
}
