// Content whose SHA-256 goes ahead of it: read once to digest it and once more to send it, never held as a whole.

import { createHash } from 'node:crypto';

import { endOf } from '../base/byte-span.ts';
import type { ByteSpan } from '../base/byte-span.ts';
import { Fault } from '../base/fault.ts';
import { MiB } from '../base/units.ts';

/** What is read for it. */
export interface DigestedSource {
  readonly read: (span: ByteSpan) => Promise<{ readonly bytes: Uint8Array; readonly generation: number }>;
  /** Told when nobody looks at what was read any more. */
  readonly recycle: (bytes: Uint8Array) => void;
}

/** Longer content goes out without a digest: it would be read twice in full. In bytes. */
export const digestLengthMax = 64 * MiB;

/** The digest, in base64, of content that stayed of one generation, or the generation that came in between. */
export type DigestOutcome = { readonly sha256: string } | { readonly changedTo: number };

export async function digestContent(
  source: DigestedSource,
  span: ByteSpan,
  options: { readonly generation: number; readonly pieceLength: number },
): Promise<DigestOutcome> {
  const hash = createHash('sha256');
  for (const piece of piecesOf(span, options.pieceLength)) {
    const { bytes, generation } = await source.read(piece);
    if (generation !== options.generation) return { changedTo: generation };
    hash.update(bytes);
    source.recycle(bytes);
  }
  return { sha256: hash.digest('base64') };
}

/** The content once more; faults `precondition-failed` when it is not what was digested any more. */
export async function* digestedContent(
  source: DigestedSource,
  span: ByteSpan,
  options: { readonly generation: number; readonly pieceLength: number },
): AsyncGenerator<Uint8Array> {
  for (const piece of piecesOf(span, options.pieceLength)) {
    const { bytes, generation } = await source.read(piece);
    if (generation !== options.generation) throw new Fault('precondition-failed', { generation });
    yield bytes;
  }
}

function* piecesOf(span: ByteSpan, pieceLength: number): Generator<ByteSpan> {
  for (let { offset } = span; offset < endOf(span); offset += pieceLength) {
    yield { offset, length: Math.min(pieceLength, endOf(span) - offset) };
  }
}
