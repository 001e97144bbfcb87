// A file that an image goes out as, while it is sent.

import type { ByteSpan } from '../base/byte-span.ts';
import type { LeaseClaim } from './lease-book.ts';
import type { Passphrases } from './passphrases.ts';

/** Which file goes out. */
export interface ExportOptions {
  readonly format: 'qcow2' | 'raw';
  readonly snapshot: string | undefined;
  /** `top`: this image's own bytes only. */
  readonly layer: 'all' | 'top';
  /** Whether clusters are stored compressed; the file is made first, and waits for nobody afterwards. */
  readonly compress: boolean;
  readonly signal: AbortSignal | undefined;
  readonly claim?: LeaseClaim | undefined;
  readonly passphrases?: Passphrases | undefined;
}

/** A file of one generation. Close it at the end, whatever happens. */
export interface ExportSession extends Disposable {
  readonly imageId: string;
  readonly imageName: string;
  /** The id in the file of the snapshot that is exported; it never comes back. Undefined for the live image. */
  readonly snapshotId: string | undefined;
  /** The exact length of the file in bytes. */
  readonly length: number;
  /** The generation of the guest data in the file; of a snapshot's file: that of its image now, the file never changes. */
  readonly generation: number;
  /** Which of the files that may be made of one content; undefined where there is one only. */
  readonly edition: string | undefined;
  /** At most `chunkLengthMax` bytes inside `length`. Faults `export-stale` when the live image has changed. */
  read(span: ByteSpan): Promise<Uint8Array>;
  /** The whole span in chunks, read when they are asked for. */
  chunks(span: ByteSpan): AsyncIterable<Uint8Array>;
  close(): void;
}
