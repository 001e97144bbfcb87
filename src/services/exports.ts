// Images that go out as one standalone file, flattened and never stored.

import type { ByteSpan } from '../base/byte-span.ts';

/** Which file to lay out. */
export interface ExportOptions {
  readonly format: 'qcow2' | 'raw';
  readonly snapshot: string | undefined;
  /** `top`: this image's own bytes only. */
  readonly layer: 'all' | 'top';
  readonly signal: AbortSignal | undefined;
}

/** A file laid out at one generation. Close it at the end, whatever happens. */
export interface ExportSession extends Disposable {
  readonly imageId: string;
  readonly imageName: string;
  /** The id in the file of the snapshot that is exported; it never comes back. Undefined for the live image. */
  readonly snapshotId: string | undefined;
  /** The exact length of the file in bytes. */
  readonly length: number;
  /** The generation of the guest data in the file; of a snapshot's file: that of its image now, the file never changes. */
  readonly generation: number;
  /** At most `chunkLengthMax` bytes inside `length`. Faults `export-stale` when the live image has changed. */
  read(span: ByteSpan): Promise<Uint8Array>;
  /** The whole span in chunks, read when they are asked for. */
  chunks(span: ByteSpan): AsyncIterable<Uint8Array>;
  close(): void;
}

export declare class Exports {
  /** Faults `image-not-found`, `image-not-ready`, `snapshot-not-found`. */
  openExport(image: string, options: ExportOptions): Promise<ExportSession>;
}
