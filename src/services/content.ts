// What images hold: guest bytes in and out, zeroes, discards, flushes and extents.

import type { ByteSpan } from '../base/byte-span.ts';
import type { ExtentPage } from '../pool/protocol.ts';

/** What `read` may be asked for at once, in bytes. */
export declare const chunkLengthMax: number;

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
  /** The expected SHA-256 of the body; short bodies are verified before the first write. */
  readonly sha256: Uint8Array | undefined;
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

/** Which part of the map to list. */
export interface ExtentsOptions {
  readonly snapshot: string | undefined;
  readonly offset: number;
  /** To the end when undefined; cut at the end. */
  readonly length: number | undefined;
  readonly limit: number;
  readonly layer: 'all' | 'top';
  readonly hostOffsets: boolean;
}

/** One page of the map; `nextOffset` is where the rest of the span starts, undefined at its end. */
export interface ImageExtents extends ExtentPage {
  readonly imageId: string;
  readonly virtualSize: number;
  readonly generation: number;
}

/** Faults everywhere: `image-not-found`, `image-not-ready`; for changes `image-has-dependents`. */
export declare class Content {
  /** Of the live image, or of a snapshot by id or name (`snapshot-not-found`). An aborted signal drops what has not started. */
  openRead(
    image: string,
    options: { readonly snapshot: string | undefined; readonly signal: AbortSignal | undefined },
  ): Promise<ReadSession>;
  openWrite(image: string, options: { readonly signal: AbortSignal | undefined }): Promise<WriteSession>;
  /** Any alignment. `range-not-satisfiable` when the span leaves the image. */
  zero(image: string, options: ByteSpan & { readonly unmap: boolean; readonly flush: boolean }): Promise<WriteReceipt>;
  /** Whole clusters inside the span only. */
  discard(image: string, options: ByteSpan & { readonly flush: boolean }): Promise<WriteReceipt>;
  /** Durable when answered. Another epoch than the current one faults `writes-lost` {writeEpoch}. */
  flush(image: string, options: { readonly writeEpoch: string | undefined }): Promise<WriteReceipt>;
  extents(image: string, options: ExtentsOptions): Promise<ImageExtents>;
}
