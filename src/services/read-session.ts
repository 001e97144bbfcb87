// An image or a snapshot being read, chunk by chunk.

import { assert } from '../base/assert.ts';
import { endOf } from '../base/byte-span.ts';
import type { ByteSpan } from '../base/byte-span.ts';
import { readLengthMax } from '../pool/protocol.ts';
import type { SnapshotDescription } from '../pool/protocol.ts';
import type { ReadAhead } from './read-ahead.ts';
import type { Visit } from './visit.ts';

/** What `read` may be asked for at once, in bytes. */
export const chunkLengthMax = readLengthMax;

/** Guest bytes with the generation they belong to. */
export interface ReadChunk {
  readonly bytes: Uint8Array;
  /** Of a snapshot: the generation of its image when the session was opened. */
  readonly generation: number;
  /** Of the bytes, in base64; only when it was asked for. */
  readonly sha256?: string;
}

/** How a chunk is read. */
export interface ChunkOptions {
  /** Whether the chunk is to come with its SHA-256: the engine thread takes it. */
  readonly digest: boolean;
}

/**
 * An image or snapshot being read. Judge the request by `size` and `generation`, then pull; close it at the end, whatever
 * happens (`using session = …` does).
 */
export interface ReadSession extends Disposable {
  readonly imageId: string;
  /** The id in the file of the snapshot that is read; it never comes back. Undefined for the live image. */
  readonly snapshotId: string | undefined;
  /** Guest-visible bytes; those of the live image as far as is known now. */
  readonly size: number;
  /** The generation of the guest data when the session was opened. */
  readonly generation: number;
  /** At most {@link chunkLengthMax} bytes. Faults `range-not-satisfiable` {size} when the image is shorter by now. */
  read(span: ByteSpan, options?: ChunkOptions): Promise<ReadChunk>;
  /** The whole span in chunks of at most {@link chunkLengthMax}, read when they are asked for. */
  chunks(span: ByteSpan): AsyncIterable<Uint8Array>;
  close(): void;
}

/** Reads by visiting the image; closing it ends the visit. */
export class ImageReadSession implements ReadSession {
  readonly imageId: string;
  readonly snapshotId: string | undefined;
  readonly generation: number;
  readonly #visit: Visit;
  readonly #snapshotSize: number | undefined;
  readonly #ahead: ReadAhead;

  constructor(
    visit: Visit,
    options: { readonly snapshot: SnapshotDescription | undefined; readonly ahead: ReadAhead },
  ) {
    const { snapshot } = options;
    this.imageId = visit.imageId;
    this.snapshotId = snapshot?.id;
    this.#snapshotSize = snapshot?.virtualSize;
    this.generation = visit.pulse.generation;
    this.#visit = visit;
    this.#ahead = options.ahead;
  }

  get size(): number {
    return this.#snapshotSize ?? this.#visit.pulse.virtualSize;
  }

  read({ offset, length }: ByteSpan, options?: ChunkOptions): Promise<ReadChunk> {
    assert(length <= chunkLengthMax, 'a chunk is not longer than a chunk may be');
    const wanted = options?.digest === true ? { offset, length, digest: true } : { offset, length };
    const { snapshotId } = this;
    return snapshotId === undefined ? this.#visit.call('read', wanted) : this.#readSnapshot(snapshotId, wanted);
  }

  chunks(span: ByteSpan): AsyncIterable<Uint8Array> {
    return inChunks(span, { read: async (part) => (await this.read(part)).bytes, ahead: this.#ahead });
  }

  close(): void {
    this.#visit.leave();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async #readSnapshot(snapshot: string, wanted: ByteSpan & Partial<ChunkOptions>): Promise<ReadChunk> {
    const chunk = await this.#visit.call('readSnapshot', { snapshot, ...wanted });
    return { ...chunk, generation: this.generation };
  }
}

/** While one chunk is used the next one is read, as far as `ahead` allows: the consumer and the thread work side by side. */
export async function* inChunks(
  span: ByteSpan,
  options: { readonly read: (part: ByteSpan) => Promise<Uint8Array>; readonly ahead: ReadAhead },
): AsyncGenerator<Uint8Array> {
  const { read, ahead } = options;
  let early: Promise<Uint8Array> | undefined;
  let earlyLength = 0;
  const giveBack = (): void => {
    ahead.give(earlyLength);
    earlyLength = 0;
  };
  try {
    for (const part of chunksOf(span)) {
      const bytes = await (early ?? read(part));
      giveBack();
      const nextOffset = endOf(part);
      const nextLength = Math.min(chunkLengthMax, endOf(span) - nextOffset);
      early = undefined;
      if (nextLength > 0 && ahead.take(nextLength)) {
        earlyLength = nextLength;
        early = read({ offset: nextOffset, length: nextLength });
        // Whoever asks for the chunk gets its failure; when nobody does, it concerns nobody.
        early.catch(() => undefined);
      }
      yield bytes;
    }
  } finally {
    giveBack();
  }
}

function* chunksOf(span: ByteSpan): Generator<ByteSpan> {
  for (let { offset } = span; offset < endOf(span); offset += chunkLengthMax) {
    yield { offset, length: Math.min(chunkLengthMax, endOf(span) - offset) };
  }
}
