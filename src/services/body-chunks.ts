// Bodies in pieces of any size, gathered into chunks that the engine writes best.

import { assert } from '../base/assert.ts';
import { Fault } from '../base/fault.ts';
import { alignDown } from '../base/integers.ts';
import { releaseBytes } from '../base/spent-bytes.ts';

/** A chunk of a body, and where its first byte goes. */
export interface BodyChunk {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** How to cut a body. All in bytes. */
export interface ChunkRule {
  /** Where the first byte of the body goes. */
  readonly offset: number;
  /** How long a chunk may be; at least `alignment`. */
  readonly lengthMax: number;
  /** Chunks end at a multiple of this, all but the last one. */
  readonly alignment: number;
  /** How long the body is, when that is known: nothing larger is made room for. */
  readonly length: number | undefined;
}

/**
 * Holds at most one chunk. A piece that is a whole chunk goes through as it is; all others are copied into a buffer of
 * their own, so that a body in tiny pieces costs no more memory than any other; they may be empty
 * afterwards (see {@link releaseBytes}).
 */
export async function* bodyChunks(body: AsyncIterable<Uint8Array>, rule: ChunkRule): AsyncGenerator<BodyChunk> {
  assert(rule.lengthMax >= rule.alignment, 'a chunk holds at least one aligned unit');
  let offset = rule.offset;
  let gathered: { readonly bytes: Uint8Array; length: number } | undefined;
  for await (const piece of body) {
    let copied = true;
    const { length } = piece;
    for (let at = 0; at < length;) {
      const target = gathered?.bytes.length ?? nextLength(rule, offset);
      const part = piece.subarray(at, at + target - (gathered?.length ?? 0));
      at += part.length;
      if (gathered === undefined && part.length === target) {
        copied = false;
        yield { offset, bytes: part };
        offset += target;
        continue;
      }
      gathered ??= { bytes: Buffer.allocUnsafeSlow(target), length: 0 };
      gathered.bytes.set(part, gathered.length);
      gathered.length += part.length;
      if (gathered.length < target) continue;
      yield { offset, bytes: gathered.bytes };
      offset += target;
      gathered = undefined;
    }
    if (copied) releaseBytes(piece);
  }
  if (gathered !== undefined) yield { offset, bytes: gathered.bytes.subarray(0, gathered.length) };
}

/** The body as it is, if it is exactly so long. Faults `content-range-mismatch` {expected, received}. */
export async function* exactly(body: AsyncIterable<Uint8Array>, length: number): AsyncGenerator<Uint8Array> {
  let received = 0;
  for await (const piece of body) {
    received += piece.length;
    if (received > length) throw lengthMismatch({ expected: length, received });
    yield piece;
  }
  if (received < length) throw lengthMismatch({ expected: length, received });
}

/** The body, held to its length where that was said. */
export function expectedOf(incoming: {
  readonly body: AsyncIterable<Uint8Array>;
  readonly bodyLength: number | undefined;
}): AsyncIterable<Uint8Array> {
  return incoming.bodyLength === undefined ? incoming.body : exactly(incoming.body, incoming.bodyLength);
}

export function lengthMismatch(lengths: { readonly expected: number; readonly received: number }): Fault {
  return new Fault('content-range-mismatch', lengths);
}

/**
 * A whole body at once: its one piece as it is, or all pieces in a buffer of their own; they may be empty afterwards. Faults
 * `content-range-mismatch` {expected, received} unless it is exactly as long as `length` says.
 */
export async function gatherAll(body: AsyncIterable<Uint8Array>, length: number): Promise<Uint8Array> {
  let whole: Uint8Array | undefined;
  let received = 0;
  for await (const piece of body) {
    const at = received;
    received += piece.length;
    if (received > length) throw lengthMismatch({ expected: length, received });
    if (piece.length === length) {
      whole = piece;
      continue;
    }
    whole ??= Buffer.allocUnsafeSlow(length);
    whole.set(piece, at);
    releaseBytes(piece);
  }
  if (received < length) throw lengthMismatch({ expected: length, received });
  return whole ?? Buffer.alloc(0);
}

/** Whether {@link bodyChunks} makes one chunk of a body. */
export function isOneChunk(rule: ChunkRule & { readonly length: number }): boolean {
  return rule.length > 0 && nextLength(rule, rule.offset) === rule.length;
}

/** One buffer as a body. */
export async function* bodyOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** The body as it is; every piece is shown on its way. */
export async function* watched(
  body: AsyncIterable<Uint8Array>,
  watch: (piece: Uint8Array) => void,
): AsyncGenerator<Uint8Array> {
  for await (const piece of body) {
    watch(piece);
    yield piece;
  }
}

/** Stops between two pieces once the signal is aborted. */
export async function* whileWanted(
  body: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  for await (const piece of body) {
    signal?.throwIfAborted();
    yield piece;
  }
  signal?.throwIfAborted();
}

function nextLength(rule: ChunkRule, offset: number): number {
  const end = alignDown(offset + rule.lengthMax, rule.alignment);
  if (rule.length === undefined) return end - offset;
  const left = rule.offset + rule.length - offset;
  assert(left > 0, 'a body is not longer than it was said to be');
  return Math.min(end - offset, left);
}
