// An image being written: a body is judged, gathered into chunks, written in order and made durable.

import { createHash, hash as hashOf } from 'node:crypto';

import { endOf } from '../base/byte-span.ts';
import type { ByteSpan } from '../base/byte-span.ts';
import { Fault } from '../base/fault.ts';
import { KiB, MiB } from '../base/units.ts';
import type { ExpectedGeneration } from '../pool/protocol.ts';
import { bodyChunks, bodyOf, exactly, gatherAll, isOneChunk, lengthMismatch, watched } from './body-chunks.ts';
import type { BodyPlace, BodyRoom } from './body-room.ts';
import { requireFacts } from './image-facts.ts';
import { WriteWindow } from './write-window.ts';
import type { Visit } from './visit.ts';

/** The state after a change. */
export interface WriteReceipt {
  readonly generation: number;
  /** Opaque: a flush that answers with the same one has made the change durable. */
  readonly writeEpoch: string;
}

/** How a body is written. */
export interface WriteOptions {
  /** What the client says the body's length is, or undefined when it does not. */
  readonly bodyLength: number | undefined;
  /** Whether to answer only when everything is durable. */
  readonly flush: boolean;
  /** Whether runs of zeroes become zero clusters. */
  readonly detectZeroes: boolean;
  /** Whether clusters are stored packed: whole clusters only, or `unsupported-option` {option: compress, reason}. */
  readonly compress: boolean;
  /** The expected SHA-256 of the body; short bodies are verified before the first write. */
  readonly sha256: Uint8Array | undefined;
  /** What the first write is to find; judged by the image's thread (`precondition-failed`). Undefined for anything. */
  readonly expected: ExpectedGeneration | undefined;
}

/** An image being written. Nothing is taken from a body before everything is judged. */
export interface WriteSession extends Disposable {
  readonly imageId: string;
  readonly size: number;
  readonly generation: number;
  /**
   * Writes a body of exactly `span.length` bytes. Faults `range-not-satisfiable` {size}; `content-range-mismatch`
   * {expected, received, written}; `digest-mismatch` {written}; faults after the first byte carry `written`, the bytes
   * from the start of the span that are there.
   */
  write(span: ByteSpan, body: AsyncIterable<Uint8Array>, options: WriteOptions): Promise<WriteReceipt>;
  /** Replaces everything; faults `size-mismatch` unless the body is as long as the image. */
  replace(body: AsyncIterable<Uint8Array>, options: WriteOptions): Promise<WriteReceipt>;
  close(): void;
}

/** Bodies up to this length, in bytes, are verified before the first write. */
export const verifiedFirstMax = 8 * MiB;

/** How long a chunk is, unless a cluster is longer. */
export const writeChunkLength = 1 * MiB;

/** One whose clusters are packed is longer, so that there is something to do for several threads. */
const packedChunkLength = 2 * MiB;

/** One for which there is no room; a body of this length needs none. */
const shortChunkLength = 64 * KiB;

/** How many chunks are under way at a time: enough for the thread to never wait, few enough to hold them all. */
export const writesAtOnceMax = 4;

/** Writes by visiting the image; closing it ends the visit. */
export class ImageWriteSession implements WriteSession {
  readonly imageId: string;
  readonly size: number;
  readonly generation: number;
  readonly #visit: Visit;
  readonly #clusterSize: number;
  readonly #receiptOf: (visit: Visit) => WriteReceipt;
  readonly #requireRoom: () => Promise<void> | undefined;
  readonly #bodies: BodyRoom;

  constructor(
    visit: Visit,
    options: {
      readonly clusterSize: number;
      readonly receiptOf: (visit: Visit) => WriteReceipt;
      /** Faults `quota-exceeded` once there is no room for more. */
      readonly requireRoom: () => Promise<void> | undefined;
      /** Where bodies are held that are not written yet. */
      readonly bodies: BodyRoom;
    },
  ) {
    this.imageId = visit.imageId;
    this.size = visit.pulse.virtualSize;
    this.generation = visit.pulse.generation;
    this.#visit = visit;
    this.#clusterSize = options.clusterSize;
    this.#receiptOf = options.receiptOf;
    this.#requireRoom = options.requireRoom;
    this.#bodies = options.bodies;
  }

  async write(span: ByteSpan, body: AsyncIterable<Uint8Array>, options: WriteOptions): Promise<WriteReceipt> {
    requireInside(span, this.size);
    if (options.bodyLength !== undefined && options.bodyLength !== span.length) {
      throw withWritten(lengthMismatch({ expected: span.length, received: options.bodyLength }), 0);
    }
    if (options.compress) this.#requirePackable(span);
    const window = new WriteWindow({ widthMax: writesAtOnceMax });
    try {
      return await keepingAll(this.#visit, async () => {
        await this.#writeAll(span, { window, body, options });
        if (options.flush) await this.#visit.flush();
        return this.#receiptOf(this.#visit);
      });
    } catch (error) {
      await window.end();
      throw withWritten(error, window.written);
    }
  }

  async replace(body: AsyncIterable<Uint8Array>, options: WriteOptions): Promise<WriteReceipt> {
    const { bodyLength } = options;
    if (bodyLength !== undefined && bodyLength !== this.size) throw sizeMismatch(this.size, { received: bodyLength });
    try {
      return await this.write({ offset: 0, length: this.size }, body, options);
    } catch (error) {
      if (!(error instanceof Fault) || error.code !== 'content-range-mismatch') throw error;
      throw sizeMismatch(this.size, error.context);
    }
  }

  close(): void {
    this.#visit.leave();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Before a byte is taken; the engine judges once more. Only whole clusters are packed, or what the disk has of its last. */
  #requirePackable(span: ByteSpan): void {
    const { encrypted, clusterSize } = requireFacts(this.#visit.record);
    const end = endOf(span);
    const isWhole = span.offset % clusterSize === 0 && (end % clusterSize === 0 || end === this.size);
    if (isWhole && !encrypted) return;
    const reason = encrypted
      ? 'the image is encrypted, and compressed clusters would be stored in clear text'
      : `only whole clusters of ${clusterSize} bytes are stored compressed`;
    throw new Fault('unsupported-option', { option: 'compress', value: true, reason });
  }

  /**
   * Where the body is held while it comes in. What is verified first needs its place, and faults `engine-busy` when it
   * gets none; all else goes in shorter chunks without one.
   */
  #placeOf(
    length: number,
    how: { readonly verifiedFirst: boolean; readonly chunkLength: number },
  ): Promise<BodyPlace> | BodyPlace | undefined {
    if (length <= shortChunkLength) return undefined;
    return how.verifiedFirst ? this.#bodies.take(length) : this.#bodies.tryTake(Math.min(length, how.chunkLength));
  }

  async #writeAll(
    span: ByteSpan,
    work: {
      readonly window: WriteWindow;
      readonly body: AsyncIterable<Uint8Array>;
      readonly options: WriteOptions;
    },
  ): Promise<void> {
    const { window, options } = work;
    const expected = options.sha256;
    const verifiedFirst = expected !== undefined && span.length <= verifiedFirstMax;
    const hash = expected === undefined || verifiedFirst ? undefined : createHash('sha256');
    let body: AsyncIterable<Uint8Array> = exactly(work.body, span.length);
    const usual = Math.max(options.compress ? packedChunkLength : writeChunkLength, this.#clusterSize);
    using place = await this.#placeOf(span.length, { verifiedFirst, chunkLength: usual });
    if (verifiedFirst) {
      const whole = await gatherAll(work.body, span.length);
      requireDigest(hashOf('sha256', whole, 'buffer'), expected);
      body = bodyOf(whole);
    } else if (hash !== undefined) {
      body = watched(body, (piece) => hash.update(piece));
    }

    const needsClusters = options.compress || options.detectZeroes;
    const short = needsClusters ? this.#clusterSize : Math.min(shortChunkLength, this.#clusterSize);
    const lengthMax = place === undefined && span.length > shortChunkLength ? short : usual;
    const alignment = Math.min(this.#clusterSize, lengthMax);
    const rule = { offset: span.offset, lengthMax, alignment, length: span.length };
    let { expected: expectedGeneration } = options;
    // Most bodies are one short chunk. The general way would cost their requests a twentieth more.
    const isShort = expected === undefined && span.length <= shortChunkLength && isOneChunk(rule);
    const chunks = isShort
      ? [{ offset: span.offset, bytes: await gatherAll(work.body, span.length) }]
      : bodyChunks(body, rule);
    for await (const { offset, bytes } of chunks) {
      // The first was let in; a long body must not get far beyond the quota.
      const room = offset === span.offset ? undefined : this.#requireRoom();
      if (room !== undefined) await room;
      const plain = { offset, bytes, detectZeroes: options.detectZeroes };
      const args = expectedGeneration === undefined ? plain : { ...plain, expected: expectedGeneration };
      await window.add(bytes.length, () =>
        options.compress ? this.#visit.run('writeCompressed', args) : this.#visit.call('write', args),
      );
      // Nothing goes after a write that may yet be refused.
      if (expectedGeneration !== undefined) await window.finish();
      expectedGeneration = undefined;
    }
    await window.finish();
    if (expected !== undefined && hash !== undefined) requireDigest(hash.digest(), expected);
  }
}

/** Faults `range-not-satisfiable` {size}. */
export function requireInside(span: ByteSpan, size: number): void {
  if (endOf(span) > size) throw new Fault('range-not-satisfiable', { size });
}

/**
 * Does changes that are to be there all together afterwards: when the image was lost on the way, those of before the
 * loss may be gone although they were answered.
 */
export async function keepingAll<Result>(visit: Visit, work: () => Promise<Result>): Promise<Result> {
  const { lossCount } = visit.pulse;
  const result = await work();
  if (visit.pulse.lossCount !== lossCount) throw new Fault('engine-lost', { imageId: visit.imageId });
  return result;
}

/** Faults `digest-mismatch`. */
export function requireDigest(actual: Uint8Array, expected: Uint8Array): void {
  if (Buffer.compare(actual, expected) === 0) return;
  throw new Fault('digest-mismatch', {
    expected: Buffer.from(expected).toString('hex'),
    actual: Buffer.from(actual).toString('hex'),
  });
}

function sizeMismatch(size: number, facts: Readonly<Record<string, unknown>>): Fault {
  return new Fault('size-mismatch', { ...facts, size, expected: size });
}

/** Only faults carry facts; whatever else ended the body is its own explanation. */
function withWritten(error: unknown, written: number): unknown {
  return error instanceof Fault ? new Fault(error.code, { ...error.context, written }) : error;
}
