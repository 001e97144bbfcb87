// An image or a snapshot being read, chunk by chunk.

import { assert } from '../base/assert.ts';
import { endOf } from '../base/byte-span.ts';
import type { ByteSpan } from '../base/byte-span.ts';
import { readLengthMax } from '../pool/protocol.ts';
import type { SnapshotDescription } from '../pool/protocol.ts';
import type { Visit } from './visit.ts';

/** What `read` may be asked for at once, in bytes. */
export const chunkLengthMax = readLengthMax;

/** Guest bytes with the generation they belong to. */
export interface ReadChunk {
  readonly bytes: Uint8Array;
  /** Of a snapshot: the generation of its image when the session was opened. */
  readonly generation: number;
}

/**
 * An image or snapshot being read. Judge the request by `size` and `generation`, then pull; close it at the end, whatever
 * happens (`using session = …` does).
 */
export interface ReadSession extends Disposable {
  readonly imageId: string;
  /** The id in the file of the snapshot that is read; it never comes back. Undefined for the live image. */
  readonly snapshotId: string | undefined;
  /** Guest-visible bytes. */
  readonly size: number;
  /** The generation of the guest data when the session was opened. */
  readonly generation: number;
  /** The span lies inside `size` and is at most {@link chunkLengthMax} long. */
  read(span: ByteSpan): Promise<ReadChunk>;
  /** The whole span in chunks of at most {@link chunkLengthMax}, read when they are asked for. */
  chunks(span: ByteSpan): AsyncIterable<Uint8Array>;
  close(): void;
}

/** Reads by visiting the image; closing it ends the visit. */
export class ImageReadSession implements ReadSession {
  readonly imageId: string;
  readonly snapshotId: string | undefined;
  readonly size: number;
  readonly generation: number;
  readonly #visit: Visit;

  constructor(visit: Visit, snapshot: SnapshotDescription | undefined) {
    this.imageId = visit.imageId;
    this.snapshotId = snapshot?.id;
    this.size = snapshot?.virtualSize ?? visit.pulse.virtualSize;
    this.generation = visit.pulse.generation;
    this.#visit = visit;
  }

  async read({ offset, length }: ByteSpan): Promise<ReadChunk> {
    assert(length <= chunkLengthMax, 'a chunk is not longer than a chunk may be');
    assert(offset + length <= this.size, 'a chunk lies inside what is read');
    if (this.snapshotId === undefined) return this.#visit.call('read', { offset, length });
    const { bytes } = await this.#visit.call('readSnapshot', { snapshot: this.snapshotId, offset, length });
    return { bytes, generation: this.generation };
  }

  chunks(span: ByteSpan): AsyncIterable<Uint8Array> {
    return inChunks(span, async (part) => (await this.read(part)).bytes);
  }

  close(): void {
    this.#visit.leave();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** While one chunk is used the next one is read: the consumer and the image's thread work side by side. */
export async function* inChunks(
  span: ByteSpan,
  read: (part: ByteSpan) => Promise<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const begin = (offset: number): Promise<Uint8Array> | undefined => {
    if (offset >= endOf(span)) return undefined;
    const started = read({ offset, length: Math.min(chunkLengthMax, endOf(span) - offset) });
    // Whoever asks for the chunk gets its failure; when nobody does, it concerns nobody.
    started.catch(() => undefined);
    return started;
  };
  let next = begin(span.offset);
  for (let offset = span.offset + chunkLengthMax; next !== undefined; offset += chunkLengthMax) {
    const bytes = await next;
    next = begin(offset);
    yield bytes;
  }
}
